// A bilateral grid looked up at every pixel of a band (the rows between two rows of nodes), and its gradient. Pixels
// lie in lanes. A strip of columns goes through all rows of its band before the next: few nodes lie near it, and what
// its pixels pull on them is pooled per column, which costs no reduction until the strip is done.
#include "../kernels.h"
#include "../simd.h"
// simd.h's functions must be seen before the formulas that use them.
#include "../../math/bilateral.h"

namespace n3d {
namespace N3D_ISA {

constexpr int kMatrix = kBilateralMatrix, kStrip = kBilateralStrip;

struct Columns {
  int first, count;  // of nodes
};

// The nodes that columns [begin, begin + count) of the image see.
template <class S>
static N3D_INLINE Columns columns_of(const BilateralArgs<S>& a, int begin, int count) {
  const int first = int(node_position<S>(begin, a.width, a.nodes_x));
  const int last = int(node_position<S>(begin + count - 1, a.width, a.nodes_x)) + 1;
  return {first, (last < a.nodes_x ? last : a.nodes_x - 1) - first + 1};
}

// A strip of a band, and its part of the work space.
template <class S>
struct Strip {
  int begin, count;  // columns of the image
  Columns nodes;
  Columns seen[kStrip];  // by each register of pixels, counted from nodes.first
  S below;               // this row's share of the nodes under the band; the nodes over it have the rest
  S* matrices;           // [nodes.count,Z,12] of this row
  S* hats;               // [nodes.count,kStrip]
  S* pools;              // [Z,2,12,kStrip], zero between strips
};

template <class V>
static Strip<typename V::scalar> strip_at(const BilateralArgs<typename V::scalar>& a, int begin,
                                          typename V::scalar* space) {
  using S = typename V::scalar;
  Strip<S> s;
  s.begin = begin, s.count = a.width - begin < kStrip ? a.width - begin : kStrip;
  s.nodes = columns_of(a, begin, s.count);
  s.pools = space;
  s.hats = s.pools + int64_t(a.nodes_z) * 2 * kMatrix * kStrip;
  s.matrices = s.hats + int64_t(a.nodes_x) * kStrip;
  for (int i = 0; i < s.count; i += V::lanes) {
    s.seen[i] = columns_of(a, begin + i, s.count - i < V::lanes ? s.count - i : V::lanes);
    s.seen[i].first -= s.nodes.first;
  }
  for (int node = 0; node < s.nodes.count; ++node)
    for (int i = 0; i < kStrip; ++i)
      s.hats[node * kStrip + i] =
          i < s.count ? hat(node_position<S>(begin + i, a.width, a.nodes_x) - S(s.nodes.first + node)) : S(0);
  return s;
}

// The strip's nodes between the two rows of nodes, at one row of the image.
template <class V>
static N3D_INLINE void enter_row(const BilateralArgs<typename V::scalar>& a, Strip<typename V::scalar>& s, int band,
                                 int row) {
  using S = typename V::scalar;
  s.below = node_position<S>(row, a.height, a.nodes_y) - S(band);
  const int64_t column = int64_t(a.nodes_z) * kMatrix, count = s.nodes.count * column;
  const int lower = band + 1 < a.nodes_y ? band + 1 : band;
  const S* over = a.nodes + (int64_t(band) * a.nodes_x + s.nodes.first) * column;
  const S* under = a.nodes + (int64_t(lower) * a.nodes_x + s.nodes.first) * column;
  for (int64_t i = 0; i < count; i += V::lanes) {
    const int n = count - i < V::lanes ? int(count - i) : V::lanes;
    const V from = load_rows<V>(over + i, 1, n);
    store_rows(fma(V(s.below), load_rows<V>(under + i, 1, n) - from, from), s.matrices + i, 1, n);
  }
}

// A register of pixels and what of the grid they see.
template <class V>
struct Pixels {
  int i, n;    // first column of the strip, and columns that are used
  int64_t at;  // of the first in a plane
  V x[3], luma, level;
  Columns nodes;
};

template <class V>
static N3D_INLINE Pixels<V> pixels_at(const BilateralArgs<typename V::scalar>& a, const Strip<typename V::scalar>& s,
                                      int row, int i) {
  using S = typename V::scalar;
  Pixels<V> p;
  p.i = i, p.n = s.count - i < V::lanes ? s.count - i : V::lanes;
  p.at = int64_t(row) * a.width + s.begin + i;
  for (int c = 0; c < 3; ++c) p.x[c] = load_rows<V>(a.image + c * int64_t(a.width) * a.height + p.at, 1, p.n);
  p.luma = luma(p.x);
  p.level = V(S(a.nodes_z - 1)) * guide(p.luma);
  p.nodes = s.seen[i];
  return p;
}

template <class V>
static N3D_INLINE bool any_near(const V& d) {
  using S = typename V::scalar;
  return bits((d >= V(S(-1))) & (d < V(S(1)))) != 0;
}

template <class V>
static N3D_INLINE void slice_pixels(const BilateralArgs<typename V::scalar>& a, const Strip<typename V::scalar>& s,
                                    const Pixels<V>& p) {
  using S = typename V::scalar;
  V m[kMatrix];
  for (int k = 0; k < kMatrix; ++k) m[k] = V(S(0));
  for (int z = 0; z < a.nodes_z; ++z) {
    const V d = p.level - V(S(z));
    if (!any_near(d)) continue;
    const V weight = hat(d);
    for (int node = p.nodes.first; node < p.nodes.first + p.nodes.count; ++node) {
      const V share = weight * V::load(s.hats + node * kStrip + p.i);
      const S* matrix = s.matrices + (int64_t(node) * a.nodes_z + z) * kMatrix;
      for (int k = 0; k < kMatrix; ++k) m[k] = fma(share, V(matrix[k]), m[k]);
    }
  }
  const int64_t plane = int64_t(a.width) * a.height;
  for (int c = 0; c < 3; ++c) {
    const V* row = m + 4 * c;
    store_rows(fma(row[0], p.x[0], fma(row[1], p.x[1], fma(row[2], p.x[2], row[3]))), a.out + c * plane + p.at, 1, p.n);
  }
}

// The gradient of one register of pixels: to the colours at once, to the nodes into the strip's pools.
template <class V>
static N3D_INLINE void pull_pixels(const BilateralArgs<typename V::scalar>& a, const Strip<typename V::scalar>& s,
                                   const Pixels<V>& p) {
  using S = typename V::scalar;
  const int64_t plane = int64_t(a.width) * a.height;
  const V zero(S(0));
  V g[3], pull[kMatrix], d_x[3] = {zero, zero, zero}, d_level = zero;
  for (int c = 0; c < 3; ++c) {
    g[c] = load_rows<V>(a.d_out + c * plane + p.at, 1, p.n);
    for (int k = 0; k < 3; ++k) pull[4 * c + k] = g[c] * p.x[k];
    pull[4 * c + 3] = g[c];
  }
  for (int z = 0; z < a.nodes_z; ++z) {
    const V d = p.level - V(S(z));
    if (!any_near(d)) continue;
    V back[4] = {zero, zero, zero, zero};  // A^T g, if this were the only level
    for (int node = p.nodes.first; node < p.nodes.first + p.nodes.count; ++node) {
      const V share = V::load(s.hats + node * kStrip + p.i);
      const S* m = s.matrices + (int64_t(node) * a.nodes_z + z) * kMatrix;
      for (int k = 0; k < 4; ++k)
        back[k] = fma(share, fma(g[0], V(m[k]), fma(g[1], V(m[4 + k]), g[2] * V(m[8 + k]))), back[k]);
    }
    const V weight = hat(d), below = weight * V(s.below), over = weight - below;
    for (int k = 0; k < 3; ++k) d_x[k] = fma(weight, back[k], d_x[k]);
    const V along = fma(back[0], p.x[0], fma(back[1], p.x[1], fma(back[2], p.x[2], back[3])));
    d_level = fma(hat_slope(d), along, d_level);
    S* pool = s.pools + int64_t(z) * 2 * kMatrix * kStrip + p.i;
    for (int k = 0; k < kMatrix; ++k) {
      fma(over, pull[k], V::load(pool + k * kStrip)).store(pool + k * kStrip);
      fma(below, pull[k], V::load(pool + (kMatrix + k) * kStrip)).store(pool + (kMatrix + k) * kStrip);
    }
  }
  const V d_luma = V(S(a.nodes_z - 1)) * guide_slope(p.luma) * d_level;
  for (int k = 0; k < 3; ++k)
    store_rows(fma(V(S(luma_weight(k))), d_luma, d_x[k]), a.d_image + k * plane + p.at, 1, p.n);
}

// The pools to the nodes over and under the band.
template <class V>
static void empty_pools(const BilateralArgs<typename V::scalar>& a, const Strip<typename V::scalar>& s,
                        typename V::scalar* d_nodes) {
  using S = typename V::scalar;
  const int64_t side = int64_t(a.nodes_x) * a.nodes_z * kMatrix;
  for (int z = 0; z < a.nodes_z; ++z)
    for (int y = 0; y < 2; ++y) {
      S* pool = s.pools + (int64_t(z) * 2 + y) * kMatrix * kStrip;
      for (int node = 0; node < s.nodes.count; ++node) {
        V parts[kMatrix];
        for (int k = 0; k < kMatrix; ++k) {
          parts[k] = V(S(0));
          for (int i = 0; i < kStrip; i += V::lanes)
            parts[k] = fma(V::load(s.hats + node * kStrip + i), V::load(pool + k * kStrip + i), parts[k]);
        }
        S totals[kMatrix];
        sums<kMatrix>(parts, totals);
        S* to = d_nodes + y * side + (int64_t(s.nodes.first + node) * a.nodes_z + z) * kMatrix;
        for (int k = 0; k < kMatrix; ++k) to[k] += totals[k];
      }
      memset(pool, 0, sizeof(S) * kMatrix * kStrip);
    }
}

template <class V>
static void slice_band(const BilateralArgs<typename V::scalar>& a, int band, int begin, int end,
                       typename V::scalar* space) {
  for (int column = 0; column < a.width; column += kStrip) {
    auto s = strip_at<V>(a, column, space);
    for (int row = begin; row < end; ++row) {
      enter_row<V>(a, s, band, row);
      for (int i = 0; i < s.count; i += V::lanes) slice_pixels(a, s, pixels_at<V>(a, s, row, i));
    }
  }
}

template <class V>
static void pull_band(const BilateralArgs<typename V::scalar>& a, int band, int begin, int end,
                      typename V::scalar* space) {
  using S = typename V::scalar;
  const int64_t size = int64_t(2) * a.nodes_x * a.nodes_z * kMatrix;
  S* d_nodes = a.d_nodes + band * size;
  memset(d_nodes, 0, sizeof(S) * size_t(size));
  memset(space, 0, sizeof(S) * size_t(a.nodes_z) * 2 * kMatrix * kStrip);
  for (int column = 0; column < a.width; column += kStrip) {
    auto s = strip_at<V>(a, column, space);
    for (int row = begin; row < end; ++row) {
      enter_row<V>(a, s, band, row);
      for (int i = 0; i < s.count; i += V::lanes) pull_pixels(a, s, pixels_at<V>(a, s, row, i));
    }
    empty_pools<V>(a, s, d_nodes);
  }
}

void bilateral(const BilateralArgs<float>& a, int band, int begin, int end, float* space) {
  slice_band<VectorF>(a, band, begin, end, space);
}
void bilateral(const BilateralArgs<double>& a, int band, int begin, int end, double* space) {
  slice_band<VectorD>(a, band, begin, end, space);
}
void bilateral_vjp(const BilateralArgs<float>& a, int band, int begin, int end, float* space) {
  pull_band<VectorF>(a, band, begin, end, space);
}
void bilateral_vjp(const BilateralArgs<double>& a, int band, int begin, int end, double* space) {
  pull_band<VectorD>(a, band, begin, end, space);
}

}  // namespace N3D_ISA
}  // namespace n3d
