// The blend loops: one tile of 16x16 pixels, Gaussians front to back, pixels of a row in lanes.
//
// With X, Y relative to the tile's centre, log2 alpha of a Gaussian on one row is a parabola a X^2 + b(row) X + c(row).
// Its coefficients for all 16 rows come from a few vector operations, and so does the mask of the rows on which it
// reaches alpha_min at all: a pair that cannot be seen costs nothing. What is left for each row of pixels is two
// multiply-adds, a short exp2, and the blend, with the tile's state in the first-level cache.
//
// Source: Kerbl et al. 2023, eq. 2-3; the backward pass runs front to back as well, from what is still to come at a
// pixel, so that it sees the forward pass's transmittances and leaves a tile as early.
#include "../kernels.h"
#include "../prefetch.h"
#include "../simd.h"

namespace n3d {
namespace N3D_ISA {

// Row masks keep a little more than alpha_min (in log2 units): each pixel is still tested by itself.
constexpr double kRowSlack = 1e-2;
constexpr int kRefresh = 16;  // Gaussians between two looks for rows whose pixels are all opaque

template <class V>
struct TileGeometry {
  static constexpr int chunks = kTile / V::lanes;
  typename V::scalar center_x, center_y;
  V x[chunks];  // pixel centres of a row, relative to the tile's centre
  V y[chunks];  // the same numbers, for rows
  typename V::scalar left[chunks], right[chunks];

  N3D_INLINE TileGeometry(int tile, int tiles_x) {
    using S = typename V::scalar;
    center_x = S((tile % tiles_x) * kTile + kTile / 2);
    center_y = S((tile / tiles_x) * kTile + kTile / 2);
    for (int j = 0; j < chunks; ++j) {
      left[j] = S(j * V::lanes) - S(7.5);
      right[j] = left[j] + S(V::lanes - 1);
      x[j] = y[j] = iota<V>() + V(left[j]);
    }
  }
};

// Coefficients of the 16 rows of one Gaussian in one tile, and the rows it reaches in each chunk of columns.
template <class V>
struct Rows {
  N3D_ALIGN64 typename V::scalar linear[kTile], constant[kTile];
  typename V::scalar square;
  uint32_t mask[TileGeometry<V>::chunks];

  N3D_INLINE void set(const BlendRecord<typename V::scalar>& g, const TileGeometry<V>& t,
                      typename V::scalar threshold) {
    using S = typename V::scalar;
    const S u = g.x - t.center_x, v = g.y - t.center_y;
    square = g.a;
    const V linear0(S(-2) * g.a * u), constant0(g.a * u * u + g.top), cross(-g.b * u), b(g.b), c(g.c);
    const V peak(g.peak_scale), a(g.a), limit(threshold);
    for (int j = 0; j < t.chunks; ++j) mask[j] = 0;
    for (int i = 0; i < t.chunks; ++i) {
      const V dy = t.y[i] - V(v);
      const V lin = fma(b, dy, linear0), con = fma(dy, fma(c, dy, cross), constant0);
      lin.store(linear + i * V::lanes);
      con.store(constant + i * V::lanes);
      const V top = lin * peak;
      for (int j = 0; j < t.chunks; ++j) {
        const V best = min(max(top, V(t.left[j])), V(t.right[j]));
        mask[j] |= bits(fma(fma(a, best, lin), best, con) >= limit) << (i * V::lanes);
      }
    }
  }
};

// Prepares the next Gaussian's rows while this one's are blended. How many rows there are cannot be predicted, so a
// branch goes wrong for nearly every Gaussian; with the mask at hand early that costs only the branch.
template <class V>
struct RowPipeline {
  using S = typename V::scalar;
  Rows<V> rows[2];

  N3D_INLINE RowPipeline(const BlendArgs<S>& a, int begin, int end, const TileGeometry<V>& geometry) {
    if (begin < end) prepare(a, begin, geometry);
  }
  N3D_INLINE void prepare(const BlendArgs<S>& a, int i, const TileGeometry<V>& geometry) {
    rows[i & 1].set(a.records[a.gaussian_from_intersection[i]], geometry, a.log2_alpha_min - S(kRowSlack));
  }
  N3D_INLINE const Rows<V>& advance(const BlendArgs<S>& a, int i, int end, const TileGeometry<V>& geometry) {
    if (i + 8 < end) prefetch(a.records + a.gaussian_from_intersection[i + 8]);
    if (i + 1 < end) prepare(a, i + 1, geometry);
    return rows[i & 1];
  }
};

template <class V>
static N3D_INLINE uint32_t rows_alive(const typename V::scalar* transmittance, int chunk, typename V::scalar least) {
  uint32_t alive = 0;
  for (int r = 0; r < kTile; ++r) {
    const V t = V::load(transmittance + r * kTile + chunk * V::lanes);
    alive |= uint32_t(bits(t >= V(least)) != 0) << r;
  }
  return alive;
}

static N3D_INLINE int lowest(uint32_t mask) {
#if defined(_MSC_VER) && !defined(__clang__)
  unsigned long i;
  _BitScanForward(&i, mask);
  return int(i);
#else
  return __builtin_ctz(mask);
#endif
}

template <class V, int D>
static void blend_tile(const BlendArgs<typename V::scalar>& a, int tile) {
  using S = typename V::scalar;
  constexpr int chunks = TileGeometry<V>::chunks;
  N3D_ALIGN64 S transmittance[kTile * kTile], color[D][kTile * kTile];
  for (int i = 0; i < kTile * kTile; ++i) transmittance[i] = S(1);
  memset(color, 0, sizeof(color));
  const TileGeometry<V> geometry(tile, a.tiles_x);
  const int begin = a.tile_offsets[tile], end = a.tile_offsets[tile + 1];
  const V least(a.transmittance_min), alpha_max{S(kAlphaMax)}, cut(a.log2_alpha_min);
  // Rows below the image are never blended; columns beyond its border are, and are not written.
  const int rows = a.height - (tile / a.tiles_x) * kTile;
  const uint32_t inside = rows >= kTile ? 0xffffu : (1u << rows) - 1;
  uint32_t alive[chunks];
  for (int j = 0; j < chunks; ++j) alive[j] = inside;
  RowPipeline<V> pipeline(a, begin, end, geometry);
  for (int i = begin; i < end; ++i) {
    if ((i - begin) % kRefresh == kRefresh - 1) {
      uint32_t any = 0;
      for (int j = 0; j < chunks; ++j) any |= alive[j] = inside & rows_alive<V>(transmittance, j, a.transmittance_min);
      if (!any) break;
    }
    const BlendRecord<S>& g = a.records[a.gaussian_from_intersection[i]];
    const Rows<V>& row = pipeline.advance(a, i, end, geometry);
    const V square(row.square);
    V channel[D];
    for (int c = 0; c < D; ++c) channel[c] = V(g.color[c]);
    for (int j = 0; j < chunks; ++j) {
      const V x = geometry.x[j];
      for (uint32_t left = row.mask[j] & alive[j]; left; left &= left - 1) {
        const int r = lowest(left), at = r * kTile + j * V::lanes;
        const V power = fma(fma(square, x, V(row.linear[r])), x, V(row.constant[r]));
        const V t = V::load(transmittance + at);
        const V alpha = zero_unless((power >= cut) & (t >= least), min(exp2_blend(power), alpha_max));
        const V weight = alpha * t;
        (t - weight).store(transmittance + at);
        for (int c = 0; c < D; ++c) fma(weight, channel[c], V::load(color[c] + at)).store(color[c] + at);
      }
    }
  }

  const int x0 = (tile % a.tiles_x) * kTile, y0 = (tile / a.tiles_x) * kTile;
  const int columns = a.width - x0 < kTile ? a.width - x0 : kTile;
  const int64_t plane = int64_t(a.width) * a.height;
  for (int r = 0; r < (rows < kTile ? rows : kTile); ++r) {
    const int64_t out = int64_t(y0 + r) * a.width + x0;
    for (int c = 0; c < D; ++c)
      for (int x = 0; x < columns; ++x)
        a.image[c * plane + out + x] = color[c][r * kTile + x] + transmittance[r * kTile + x] * a.background[c];
    if (a.alphas)
      for (int x = 0; x < columns; ++x) a.alphas[out + x] = S(1) - transmittance[r * kTile + x];
  }
}

// What the backward pass keeps of a tile: the transmittance so far, the light still to come times the gradient that
// waits for it (g . (image - blended so far), with the final transmittance's share), and the gradients.
template <class S, int D>
struct TileGradient {
  N3D_ALIGN64 S transmittance[kTile * kTile];
  S pending[kTile * kTile], grad[D][kTile * kTile];
};

template <class S, int D>
static void load_tile_gradient(const BlendArgs<S>& a, int tile, TileGradient<S, D>& t) {
  memset(&t, 0, sizeof(t));  // beyond the border T is 0, so nothing is blended there
  const int x0 = (tile % a.tiles_x) * kTile, y0 = (tile / a.tiles_x) * kTile;
  const int rows = a.height - y0 < kTile ? a.height - y0 : kTile;
  const int columns = a.width - x0 < kTile ? a.width - x0 : kTile;
  const int64_t plane = int64_t(a.width) * a.height;
  for (int r = 0; r < rows; ++r) {
    const int64_t in = int64_t(y0 + r) * a.width + x0;
    for (int x = 0; x < columns; ++x) t.transmittance[r * kTile + x] = S(1);
    if (a.d_alphas)
      for (int x = 0; x < columns; ++x) t.pending[r * kTile + x] = (a.alphas[in + x] - S(1)) * a.d_alphas[in + x];
    for (int c = 0; c < D; ++c)
      for (int x = 0; x < columns; ++x) {
        const S g = a.d_image[c * plane + in + x];
        t.grad[c][r * kTile + x] = g;
        t.pending[r * kTile + x] += g * a.image[c * plane + in + x];
      }
  }
}

template <class V, int D>
static void blend_tile_vjp(const BlendArgs<typename V::scalar>& a, int tile) {
  using S = typename V::scalar;
  constexpr int chunks = TileGeometry<V>::chunks, count = kMomentCount + D;
  const int begin = a.tile_offsets[tile], end = a.tile_offsets[tile + 1];
  TileGradient<S, D> state;
  load_tile_gradient<S, D>(a, tile, state);
  const TileGeometry<V> geometry(tile, a.tiles_x);
  const V least(a.transmittance_min), alpha_max{S(kAlphaMax)}, cut(a.log2_alpha_min), one(S(1));
  N3D_ALIGN64 S row_y[kTile], row_y2[kTile];
  for (int i = 0; i < chunks; ++i) {
    geometry.y[i].store(row_y + i * V::lanes);
    (geometry.y[i] * geometry.y[i]).store(row_y2 + i * V::lanes);
  }
  uint32_t alive[chunks];
  for (int j = 0; j < chunks; ++j) alive[j] = 0xffffu;
  RowPipeline<V> pipeline(a, begin, end, geometry);
  int i = begin;
  for (; i < end; ++i) {
    if ((i - begin) % kRefresh == 0) {
      uint32_t any = 0;
      for (int j = 0; j < chunks; ++j) any |= alive[j] = rows_alive<V>(state.transmittance, j, a.transmittance_min);
      if (!any) break;
    }
    const BlendRecord<S>& g = a.records[a.gaussian_from_intersection[i]];
    const Rows<V>& row = pipeline.advance(a, i, end, geometry);
    const V square(row.square);
    V channel[D], acc[count];
    for (int c = 0; c < D; ++c) channel[c] = V(g.color[c]);
    for (int k = 0; k < count; ++k) acc[k] = V(S(0));
    for (int j = 0; j < chunks; ++j) {
      const V x = geometry.x[j];
      // A column is a lane, so its x is multiplied in when all rows have been added up.
      V column = V(S(0)), column_y = V(S(0)), column_y2 = V(S(0));
      for (uint32_t left = row.mask[j] & alive[j]; left; left &= left - 1) {
        const int r = lowest(left), at = r * kTile + j * V::lanes;
        const V power = fma(fma(square, x, V(row.linear[r])), x, V(row.constant[r]));
        const V t = V::load(state.transmittance + at);
        const V e = exp2_blend(power);
        // Where nothing is blended exp2 may be denormal, and one such operand costs Intel's multipliers 100 cycles.
        const V alpha = zero_unless((power >= cut) & (t >= least), min(e, alpha_max));
        const V weight = alpha * t;
        (t - weight).store(state.transmittance + at);
        V lit(S(0));
        for (int c = 0; c < D; ++c) {
          const V grad = V::load(state.grad[c] + at);
          lit = fma(grad, channel[c], lit);
          acc[kMomentCount + c] = fma(weight, grad, acc[kMomentCount + c]);
        }
        const V shown = weight * lit, pending = V::load(state.pending + at) - shown;
        pending.store(state.pending + at);
        // d alpha = T lit - pending / (1 - alpha); times alpha it is the gradient of log alpha.
        const V d_log = zero_unless(e <= alpha_max, shown - pending * (alpha * reciprocal(one - alpha)));
        column = column + d_log;
        column_y = fma(d_log, V(row_y[r]), column_y);
        column_y2 = fma(d_log, V(row_y2[r]), column_y2);
      }
      const V column_x = column * x;
      acc[0] = acc[0] + column;
      acc[1] = acc[1] + column_x;
      acc[2] = acc[2] + column_y;
      acc[3] = fma(column_x, x, acc[3]);
      acc[4] = fma(column_y, x, acc[4]);
      acc[5] = acc[5] + column_y2;
    }
    // Moments about the tile's centre become moments about the Gaussian's mean.
    S* slot = a.slots + int64_t(a.slot_from_intersection[i]) * kSlot;
    sums<count>(acc, slot);
    const S u = g.x - geometry.center_x, v = g.y - geometry.center_y, m = slot[0], mx = slot[1], my = slot[2];
    slot[1] = mx - u * m;
    slot[2] = my - v * m;
    slot[3] += u * (u * m - S(2) * mx);
    slot[4] += u * v * m - u * my - v * mx;
    slot[5] += v * (v * m - S(2) * my);
  }
  for (; i < end; ++i) memset(a.slots + int64_t(a.slot_from_intersection[i]) * kSlot, 0, count * sizeof(S));
}

template <class V>
static void blend_any(const BlendArgs<typename V::scalar>& a, int tile) {
  switch (a.channels) {
    case 1:
      return blend_tile<V, 1>(a, tile);
    case 2:
      return blend_tile<V, 2>(a, tile);
    case 3:
      return blend_tile<V, 3>(a, tile);
    default:
      return blend_tile<V, 4>(a, tile);
  }
}

template <class V>
static void blend_any_vjp(const BlendArgs<typename V::scalar>& a, int tile) {
  switch (a.channels) {
    case 1:
      return blend_tile_vjp<V, 1>(a, tile);
    case 2:
      return blend_tile_vjp<V, 2>(a, tile);
    case 3:
      return blend_tile_vjp<V, 3>(a, tile);
    default:
      return blend_tile_vjp<V, 4>(a, tile);
  }
}

void blend(const BlendArgs<float>& a, int tile) { blend_any<VectorF>(a, tile); }
void blend(const BlendArgs<double>& a, int tile) { blend_any<VectorD>(a, tile); }
void blend_vjp(const BlendArgs<float>& a, int tile) { blend_any_vjp<VectorF>(a, tile); }
void blend_vjp(const BlendArgs<double>& a, int tile) { blend_any_vjp<VectorD>(a, tile); }

}  // namespace N3D_ISA
}  // namespace n3d
