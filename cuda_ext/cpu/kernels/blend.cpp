// The blend loops: one tile of 16x16 pixels, Gaussians front to back, a block of 4 columns of pixels in lanes.
//
// Blocks are as square as registers allow, so that few of them meet a Gaussian. Around a block's centre log2 alpha is a
// parabola of two variables. Its coefficients for all blocks come from a few vector operations, and so does the mask of
// the blocks in which it reaches alpha_min at all: a pair that cannot be seen costs nothing. What is left for each
// block is two multiply-adds, a short exp2, and the blend, with the tile's state in the first-level cache.
//
// How many blocks a Gaussian meets cannot be predicted, and a branch that goes wrong costs as much as two blocks: so
// Gaussians are prepared in batches, and the forward pass walks one list of a batch's blocks.
//
// Source: Kerbl et al. 2023, eq. 2-3; the backward pass runs front to back as well, from what is still to come at a
// pixel, so that it sees the forward pass's transmittances and leaves a tile as early.
#include "../kernels.h"
#include "../prefetch.h"
#include "../simd.h"

namespace n3d {
namespace N3D_ISA {

// Masks keep a little more than alpha_min (in log2 units): each pixel is still tested by itself.
constexpr double kMaskSlack = 1e-2;
constexpr int kColumns = 4;  // pixels of a block's row

// A tile's blocks and a block's lanes, in pixels: the blocks' centres from the tile's, the lanes' from their block's.
template <class S, int LANES>
struct TileLayout {
  static constexpr int rows = LANES / kColumns, blocks = kTile * kTile / LANES, across = kTile / kColumns;
  static constexpr S half_width = S(kColumns - 1) / 2, half_height = S(rows - 1) / 2;
  N3D_ALIGN64 S x[blocks] = {}, y[blocks] = {}, xx[blocks] = {}, xy[blocks] = {}, yy[blocks] = {};
  N3D_ALIGN64 S lane_x[LANES] = {}, lane_y[LANES] = {};
  N3D_ALIGN64 S half_xx[LANES] = {}, lane_xy[LANES] = {}, half_yy[LANES] = {};  // halves: of the squares

  constexpr TileLayout() {
    for (int i = 0; i < blocks; ++i) {
      x[i] = S(i % across * kColumns) + half_width - S(kTile - 1) / 2;
      y[i] = S(i / across * rows) + half_height - S(kTile - 1) / 2;
      xx[i] = x[i] * x[i], xy[i] = x[i] * y[i], yy[i] = y[i] * y[i];
    }
    for (int i = 0; i < LANES; ++i) {
      const S dx = S(i % kColumns) - half_width, dy = S(i / kColumns) - half_height;
      lane_x[i] = dx, lane_y[i] = dy;
      half_xx[i] = dx * dx / 2, lane_xy[i] = dx * dy, half_yy[i] = dy * dy / 2;
    }
  }
  // Where the pixels of a row's four columns begin in the tile's state.
  static N3D_INLINE int place(int row, int columns) {
    return (row / rows * across + columns) * LANES + row % rows * kColumns;
  }
};
template <class V>
using LayoutOf = TileLayout<typename V::scalar, V::lanes>;
template <class V>
static constexpr LayoutOf<V> layout{};

// For each byte the places of its set bits, and how many they are.
struct BitPlaces {
  uint8_t places[256][8] = {}, count[256] = {};

  constexpr BitPlaces() {
    for (int byte = 0; byte < 256; ++byte)
      for (int bit = 0; bit < 8; ++bit)
        if (byte >> bit & 1) places[byte][count[byte]++] = uint8_t(bit);
  }
};
static constexpr BitPlaces kBits;

// As many Gaussians as make 256 with a tile's blocks, so that a byte names a Gaussian and a block. On a block
// log2 alpha = constant + x X + y Y + square, with X and Y from the block's centre.
template <class V>
struct Batch {
  using S = typename V::scalar;
  static constexpr int blocks = LayoutOf<V>::blocks, size = kTile * kTile / blocks, room = size * blocks;
  N3D_ALIGN64 S constant[room], x[room], y[room], square[size * V::lanes];
  N3D_ALIGN64 S block_x[blocks], block_y[blocks];  // centres in the image
  S color[size * kMaxChannels];
  S center_x, center_y;  // of the tile, in the image
  uint8_t listed[room + 8];
  int ends[size];  // of each Gaussian's blocks in the list

  N3D_INLINE Batch(int tile, int tiles_x)
      : center_x(S((tile % tiles_x) * kTile + kTile / 2)), center_y(S((tile / tiles_x) * kTile + kTile / 2)) {
    for (int i = 0; i < blocks; i += V::lanes) {
      (V::load(layout<V>.x + i) + V(center_x)).store(block_x + i);
      (V::load(layout<V>.y + i) + V(center_y)).store(block_y + i);
    }
  }
  // Lists the blocks among `alive` that the Gaussians first to last - 1 of a list up to `end` meet.
  N3D_INLINE void list(const BlendArgs<S>& a, int first, int last, int end, uint64_t alive) {
    int count = 0;
    for (int i = first; i < last; ++i) {
      if (i + size < end) prefetch(a.records + a.gaussian_from_intersection[i + size]);
      const BlendRecord<S>& g = a.records[a.gaussian_from_intersection[i]];
      count = ends[i - first] =
          append(count, i - first, alive & prepare(i - first, g, a.log2_alpha_min - S(kMaskSlack)));
    }
  }
  // The bytes of the blocks in the mask; branches on how many there are would be taken wrongly.
  N3D_INLINE int append(int count, int k, uint64_t mask) {
    for (int i = 0; i < blocks; i += 8) {
      const unsigned byte = unsigned(mask >> i) & 255;
      uint64_t places;
      memcpy(&places, kBits.places[byte], 8);
      places += uint64_t(0x0101010101010101) * unsigned(k * blocks + i);
      memcpy(listed + count, &places, 8);
      count += kBits.count[byte];
    }
    return count;
  }
  // Coefficients of Gaussian k, and the blocks in which it reaches the threshold. The highest point of a concave
  // parabola over a box lies on one of the two sides that face its peak.
  N3D_INLINE uint64_t prepare(int k, const BlendRecord<S>& g, S threshold) {
    const V a(g.a), b(g.b), c(g.c), twice_a(g.twice_a);
    const V twice_c(g.twice_c), top(g.top), u(g.x), v(g.y);
    const V peak_x(g.peak_x), peak_y(g.peak_y), half(S(0.5)), limit(threshold);
    const V wide(layout<V>.half_width), high(layout<V>.half_height);
    const V minus_wide(-layout<V>.half_width), minus_high(-layout<V>.half_height);
    for (int i = 0; i < kMaxChannels; ++i) color[k * kMaxChannels + i] = g.color[i];
    fma(twice_a, V::load(layout<V>.half_xx), fma(b, V::load(layout<V>.lane_xy), twice_c * V::load(layout<V>.half_yy)))
        .store(square + k * V::lanes);
    uint64_t mask = 0;
    for (int i = 0; i < blocks; i += V::lanes) {
      const int at = k * blocks + i;
      const V dx = V::load(block_x + i) - u, dy = V::load(block_y + i) - v;
      const V slope_x = fma(twice_a, dx, b * dy), slope_y = fma(twice_c, dy, b * dx);
      const V center = fma(half, fma(dx, slope_x, dy * slope_y), top);
      center.store(constant + at), slope_x.store(x + at), slope_y.store(y + at);
      // How far the block's centre lies beyond the facing sides, seen from the peak.
      const V side = min(max(dx, minus_wide), wide), end = min(max(dy, minus_high), high);
      const V along_y = fnma(b, side, slope_y), along_x = fnma(b, end, slope_x);
      const V best_y = min(max(along_y * peak_y, minus_high), high);
      const V best_x = min(max(along_x * peak_x, minus_wide), wide);
      const V on_side = fnma(side, fnma(a, side, slope_x), center), on_end = fnma(end, fnma(c, end, slope_y), center);
      const V highest =
          max(fma(best_y, fma(c, best_y, along_y), on_side), fma(best_x, fma(a, best_x, along_x), on_end));
      mask |= uint64_t(bits(highest >= limit)) << i;
    }
    return mask;
  }
  N3D_INLINE V power(unsigned at) const {
    const V even = V::load(square + at / blocks * V::lanes) + V(constant[at]);
    return fma(V(x[at]), V::load(layout<V>.lane_x), fma(V(y[at]), V::load(layout<V>.lane_y), even));
  }
};

// Of `among` the blocks with a pixel that still lets light through.
template <class V>
static N3D_INLINE uint64_t blocks_alive(const typename V::scalar* transmittance, uint64_t among,
                                        typename V::scalar least) {
  uint64_t alive = 0;
  for (int i = 0; i < LayoutOf<V>::blocks; ++i)
    alive |= uint64_t(bits(V::load(transmittance + i * V::lanes) >= V(least)) != 0) << i;
  return alive & among;
}

// The part of a tile that lies in the image, a block's row at a time.
struct TileWindow {
  int x0, y0, width, height;
  int64_t plane;

  template <class S>
  N3D_INLINE TileWindow(const BlendArgs<S>& a, int tile)
      : x0(tile % a.tiles_x * kTile),
        y0(tile / a.tiles_x * kTile),
        width(a.width),
        height(a.height),
        plane(int64_t(a.width) * a.height) {}
  // Calls f(row, block's column, place in the image's plane, how many of the columns lie in the image).
  template <class F>
  N3D_INLINE void each_row(const F& f) const {
    for (int row = 0; row < kTile; ++row)
      for (int column = 0; column < kTile / kColumns; ++column) {
        const int x = x0 + column * kColumns, left = y0 + row < height ? width - x : 0;
        const int64_t out = int64_t(y0 + row) * width + x;
        if (left >= kColumns)
          f(row, column, out, kColumns);
        else
          f(row, column, out, left > 0 ? left : 0);
      }
  }
};

template <class V, int D>
static void blend_tile(const BlendArgs<typename V::scalar>& a, int tile) {
  using S = typename V::scalar;
  constexpr int blocks = LayoutOf<V>::blocks;
  N3D_ALIGN64 S transmittance[kTile * kTile], color[D][kTile * kTile];
  memset(color, 0, sizeof(color));
  const TileWindow window(a, tile);
  window.each_row([&](int row, int columns, int64_t, int count) {
    S* t = transmittance + LayoutOf<V>::place(row, columns);
    for (int x = 0; x < kColumns; ++x) t[x] = S(x < count);  // what lies beyond the border is never blended
  });
  const int begin = a.tile_offsets[tile], end = a.tile_offsets[tile + 1];
  const V least(a.transmittance_min), alpha_max{S(kAlphaMax)}, cut(a.log2_alpha_min);
  Batch<V> batch(tile, a.tiles_x);
  uint64_t alive = ~uint64_t(0);
  for (int first = begin; first < end; first += batch.size) {
    alive = blocks_alive<V>(transmittance, alive, a.transmittance_min);
    if (!alive) break;
    const int last = end - first < batch.size ? end : first + batch.size;
    batch.list(a, first, last, end, alive);
    for (int i = 0; i < batch.ends[last - first - 1]; ++i) {
      const unsigned at = batch.listed[i], pixels = at % blocks * V::lanes;
      const S* channel = batch.color + at / blocks * kMaxChannels;
      const V power = batch.power(at), t = V::load(transmittance + pixels);
      const V weight = zero_unless((power >= cut) & (t >= least), min(exp2_blend(power), alpha_max)) * t;
      (t - weight).store(transmittance + pixels);
      for (int c = 0; c < D; ++c) fma(weight, V(channel[c]), V::load(color[c] + pixels)).store(color[c] + pixels);
    }
  }

  const S* background = a.background;
  S *image = a.image, *alphas = a.alphas;
  window.each_row([&](int row, int columns, int64_t out, int count) {
    const int in = LayoutOf<V>::place(row, columns);
    S light[kColumns], made[kColumns];  // four at a time, so that compilers take them together
    memcpy(light, transmittance + in, sizeof(light));
    for (int c = 0; c < D; ++c) {
      for (int x = 0; x < kColumns; ++x) made[x] = color[c][in + x] + light[x] * background[c];
      memcpy(image + c * window.plane + out, made, size_t(count) * sizeof(S));
    }
    for (int x = 0; x < kColumns; ++x) made[x] = S(1) - light[x];
    if (alphas) memcpy(alphas + out, made, size_t(count) * sizeof(S));
  });
}

// What the backward pass keeps of a tile: the transmittance so far, the light still to come times the gradient that
// waits for it (g . (image - blended so far), with the final transmittance's share), and the gradients.
template <class S, int D>
struct TileGradient {
  N3D_ALIGN64 S transmittance[kTile * kTile];
  S pending[kTile * kTile], grad[D][kTile * kTile];
};

// Beyond the border T is 0, so nothing is blended there.
template <class V, int D>
static void load_tile_gradient(const BlendArgs<typename V::scalar>& a, int tile,
                               TileGradient<typename V::scalar, D>& t) {
  const TileWindow window(a, tile);
  window.each_row([&](int row, int column, int64_t in, int count) {
    using S = typename V::scalar;
    const int out = LayoutOf<V>::place(row, column);
    S pending[kColumns] = {}, image[kColumns] = {}, grad[kColumns] = {};
    if (a.d_alphas) {
      memcpy(image, a.alphas + in, size_t(count) * sizeof(S));
      memcpy(grad, a.d_alphas + in, size_t(count) * sizeof(S));
      for (int x = 0; x < kColumns; ++x) pending[x] = (image[x] - 1) * grad[x];
    }
    for (int c = 0; c < D; ++c) {
      memcpy(image, a.image + c * window.plane + in, size_t(count) * sizeof(S));
      memcpy(grad, a.d_image + c * window.plane + in, size_t(count) * sizeof(S));
      for (int x = 0; x < kColumns; ++x) pending[x] += grad[x] * image[x];
      memcpy(t.grad[c] + out, grad, sizeof(grad));
    }
    memcpy(t.pending + out, pending, sizeof(pending));
    for (int x = 0; x < kColumns; ++x) t.transmittance[out + x] = S(x < count);
  });
}

// Sums over blocks, each lane by itself: of d, and of d times the block's x, y, x^2, x y, y^2.
template <class V>
struct Moments {
  V m, x, y, xx, xy, yy;

  N3D_INLINE Moments() : m(0), x(0), y(0), xx(0), xy(0), yy(0) {}
  N3D_INLINE void add(const V& d, int block) {
    m = m + d;
    x = fma(d, V(layout<V>.x[block]), x), y = fma(d, V(layout<V>.y[block]), y);
    xx = fma(d, V(layout<V>.xx[block]), xx), xy = fma(d, V(layout<V>.xy[block]), xy),
    yy = fma(d, V(layout<V>.yy[block]), yy);
  }
  // The same with the pixels' places: (block + lane)^2 = block^2 + lane (block + (block + lane)).
  N3D_INLINE void store(V* out) const {
    const V lane_x = V::load(layout<V>.lane_x), lane_y = V::load(layout<V>.lane_y);
    const V at_x = fma(m, lane_x, x), at_y = fma(m, lane_y, y);
    out[0] = m, out[1] = at_x, out[2] = at_y;
    out[3] = fma(lane_x, x + at_x, xx);
    out[4] = fma(lane_x, y, fma(lane_y, at_x, xy));
    out[5] = fma(lane_y, y + at_y, yy);
  }
};

// Moments about the tile's centre become moments about the Gaussian's mean at (u, v).
template <class S>
static N3D_INLINE void move_moments(S* slot, S u, S v) {
  const S m = slot[0], mx = slot[1], my = slot[2];
  slot[1] = mx - u * m;
  slot[2] = my - v * m;
  slot[3] += u * (u * m - S(2) * mx);
  slot[4] += u * v * m - u * my - v * mx;
  slot[5] += v * (v * m - S(2) * my);
}

// Alpha, not clamped, of the pixels of a batch's listed blocks; 0 below alpha_min. Nothing here waits for anything
// else, while the rest of the backward pass goes from one state of a pixel to the next: a processor that looks ahead
// over both at once runs out of room.
template <class V>
static N3D_INLINE void find_alphas(const Batch<V>& batch, int count, typename V::scalar log2_alpha_min,
                                   typename V::scalar* alphas) {
  const V cut(log2_alpha_min);
  for (int i = 0; i < count; ++i) {
    const V power = batch.power(batch.listed[i]);
    // What exp2 gives far below may be denormal, and one such operand costs Intel's multipliers 100 cycles.
    zero_unless(power >= cut, exp2_blend(power)).store(alphas + i * V::lanes);
  }
}

// Gaussian k of a batch on the blocks that it meets: blends it, and leaves the sums of its gradients.
template <class V, int D>
static N3D_INLINE void pull_back(const Batch<V>& batch, int k, const typename V::scalar* alphas,
                                 typename V::scalar transmittance_min, TileGradient<typename V::scalar, D>& state,
                                 typename V::scalar* slot) {
  using S = typename V::scalar;
  const V least(transmittance_min), alpha_max{S(kAlphaMax)}, one(S(1));
  V channel[D], acc[kMomentCount + D];
  for (int c = 0; c < D; ++c) channel[c] = V(batch.color[k * kMaxChannels + c]), acc[kMomentCount + c] = V(S(0));
  Moments<V> moments;
  for (int i = k > 0 ? batch.ends[k - 1] : 0; i < batch.ends[k]; ++i) {
    const int block = batch.listed[i] % batch.blocks, at = block * V::lanes;
    const V t = V::load(state.transmittance + at), alpha = V::load(alphas + i * V::lanes);
    const V clamped = min(alpha, alpha_max), odds = clamped * reciprocal(one - clamped);
    const V weight = zero_unless(t >= least, clamped) * t;
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
    moments.add(zero_unless((t >= least) & (alpha <= alpha_max), fnma(pending, odds, shown)), block);
  }
  moments.store(acc);
  sums<kMomentCount + D>(acc, slot);
}

template <class V, int D>
static void blend_tile_vjp(const BlendArgs<typename V::scalar>& a, int tile) {
  using S = typename V::scalar;
  const int begin = a.tile_offsets[tile], end = a.tile_offsets[tile + 1];
  TileGradient<S, D> state;
  load_tile_gradient<V, D>(a, tile, state);
  Batch<V> batch(tile, a.tiles_x);
  N3D_ALIGN64 S alphas[batch.room * V::lanes];
  uint64_t alive = ~uint64_t(0);
  int first = begin;
  for (; first < end; first += batch.size) {
    alive = blocks_alive<V>(state.transmittance, alive, a.transmittance_min);
    if (!alive) break;
    const int last = end - first < batch.size ? end : first + batch.size;
    batch.list(a, first, last, end, alive);
    find_alphas(batch, batch.ends[last - first - 1], a.log2_alpha_min, alphas);
    for (int i = first; i < last; ++i) {
      S* slot = a.slots + int64_t(a.slot_from_intersection[i]) * kSlot;
      pull_back<V, D>(batch, i - first, alphas, a.transmittance_min, state, slot);
      const BlendRecord<S>& g = a.records[a.gaussian_from_intersection[i]];
      move_moments(slot, g.x - batch.center_x, g.y - batch.center_y);
    }
  }
  for (int i = first; i < end; ++i)
    memset(a.slots + int64_t(a.slot_from_intersection[i]) * kSlot, 0, (kMomentCount + D) * sizeof(S));
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
