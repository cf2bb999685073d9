// A hash grid looked up at points, and its gradients. Where the corners lie is found for a block of points at once,
// their rows are then walked point by point: a row of features is one load, where lanes of points would gather.
#include "../kernels.h"
#include "../prefetch.h"
#include "../simd.h"
// simd.h's functions must be seen before the formulas that use them.
#include "../../math/hashgrid.h"

namespace n3d {
namespace N3D_ISA {

constexpr int kPoints = 32;  // of a block: their corners lie in L1

// The corners of a block of points in one level.
template <class S>
struct Corners {
  int32_t cell[3][kPoints];
  S share[3][kPoints], slope[3][kPoints];
  uint32_t row[8][kPoints];
  S weight[8][kPoints];
};

template <class S>
static N3D_INLINE void find_axes(const HashArgs<S>& a, const HashLevel& level, int64_t begin, int count,
                                 Corners<S>& c) {
  const S* positions = a.positions + 3 * begin;
  for (int k = 0; k < 3; ++k)
    for (int i = 0; i < count; ++i) {
      const HashAxis<S> axis = hash_axis(positions[3 * i + k], level.cells, a.smooth);
      c.cell[k][i] = axis.cell, c.share[k][i] = axis.share, c.slope[k][i] = axis.slope;
    }
}

template <class S>
static N3D_INLINE void find_corners(const HashArgs<S>& a, const HashLevel& level, int64_t begin, int count,
                                    Corners<S>& c) {
  find_axes(a, level, begin, count, c);
  for (int k = 0; k < 8; ++k) {
    const uint32_t dx = k & 1, dy = k >> 1 & 1, dz = k >> 2;
    for (int i = 0; i < count; ++i) {
      c.row[k][i] =
          hash_row(level, uint32_t(c.cell[0][i]) + dx, uint32_t(c.cell[1][i]) + dy, uint32_t(c.cell[2][i]) + dz);
      c.weight[k][i] =
          corner_share(dx, c.share[0][i]) * corner_share(dy, c.share[1][i]) * corner_share(dz, c.share[2][i]);
    }
  }
}

// Rows of a table that is larger than the cache travel while others are worked on.
template <int F, class S>
static N3D_INLINE void ask_for(const Corners<S>& c, int count, const S* table) {
  for (int i = 0; i < count; ++i)
    for (int k = 0; k < 8; ++k) prefetch(table + int64_t(c.row[k][i]) * F);
}

template <int F, class S>
static void encode_level(const HashArgs<S>& a, int l, int64_t begin, int64_t end) {
  const HashLevel& level = a.levels.level[l];
  const S* table = a.table + level.first * F;
  const int64_t stride = int64_t(a.levels.count) * F;
  Corners<S> c;
  for (int64_t first = begin; first < end; first += kPoints) {
    const int count = end - first < kPoints ? int(end - first) : kPoints;
    find_corners(a, level, first, count, c);
    ask_for<F>(c, count, table);
    for (int i = 0; i < count; ++i) {
      S sum[F] = {};
      for (int k = 0; k < 8; ++k) {
        const S *row = table + int64_t(c.row[k][i]) * F, weight = c.weight[k][i];
        for (int f = 0; f < F; ++f) sum[f] += weight * row[f];
      }
      memcpy(a.out + (first + i) * stride + l * F, sum, sizeof(sum));
    }
  }
}

// Points in their order, so that every sum is the same however the rows are divided among threads.
template <int F, class S>
static void pull_rows(const HashArgs<S>& a, int l, uint32_t first_row, uint32_t end_row, S* d_rows) {
  const HashLevel& level = a.levels.level[l];
  const int64_t stride = int64_t(a.levels.count) * F;
  const uint32_t rows = end_row - first_row;
  memset(d_rows, 0, sizeof(S) * F * rows);
  Corners<S> c;
  for (int64_t first = 0; first < a.points; first += kPoints) {
    const int count = a.points - first < kPoints ? int(a.points - first) : kPoints;
    find_corners(a, level, first, count, c);
    for (int i = 0; i < count; ++i)
      for (int k = 0; k < 8; ++k)
        if (const uint32_t at = c.row[k][i] - first_row; at < rows) prefetch(d_rows + int64_t(at) * F);
    for (int i = 0; i < count; ++i) {
      S grad[F];
      memcpy(grad, a.d_out + (first + i) * stride + l * F, sizeof(grad));
      for (int k = 0; k < 8; ++k) {
        const uint32_t at = c.row[k][i] - first_row;  // of rows before the first: beyond all
        if (at >= rows) continue;
        S *row = d_rows + int64_t(at) * F, weight = c.weight[k][i];
        for (int f = 0; f < F; ++f) row[f] += weight * grad[f];
      }
    }
  }
}

// Adds what one level pulls on a point.
template <int F, class S>
static N3D_INLINE void pull_point(const Corners<S>& c, int i, const S* table, const S* grad, S* d_position) {
  S along[3] = {};
  for (int k = 0; k < 8; ++k) {
    const S* row = table + int64_t(c.row[k][i]) * F;
    S dot(0);
    for (int f = 0; f < F; ++f) dot += row[f] * grad[f];
    for (int axis = 0; axis < 3; ++axis) {
      const int u = (axis + 1) % 3, v = (axis + 2) % 3;
      const S side = corner_share(k >> u & 1, c.share[u][i]) * corner_share(k >> v & 1, c.share[v][i]);
      along[axis] += (k >> axis & 1 ? side : -side) * dot;
    }
  }
  for (int axis = 0; axis < 3; ++axis) d_position[axis] += c.slope[axis][i] * along[axis];
}

template <int F, class S>
static void pull_positions(const HashArgs<S>& a, int64_t begin, int64_t end) {
  const int64_t stride = int64_t(a.levels.count) * F;
  memset(a.d_positions + 3 * begin, 0, sizeof(S) * 3 * size_t(end - begin));
  Corners<S> c;
  for (int64_t first = begin; first < end; first += kPoints) {
    const int count = end - first < kPoints ? int(end - first) : kPoints;
    for (int l = 0; l < a.levels.count; ++l) {
      find_corners(a, a.levels.level[l], first, count, c);
      const S* table = a.table + a.levels.level[l].first * F;
      for (int i = 0; i < count; ++i)
        pull_point<F>(c, i, table, a.d_out + (first + i) * stride + l * F, a.d_positions + 3 * (first + i));
    }
  }
}

// Calls the loop that was made for rows of a.features numbers.
#define N3D_FOR_FEATURES(S, loop, ...)   \
  switch (a.features) {                  \
    case 1:                              \
      return loop<1, S>(a, __VA_ARGS__); \
    case 2:                              \
      return loop<2, S>(a, __VA_ARGS__); \
    case 4:                              \
      return loop<4, S>(a, __VA_ARGS__); \
    case 8:                              \
      return loop<8, S>(a, __VA_ARGS__); \
  }

template <int F, class S>
static void encode(const HashArgs<S>& a, int64_t begin, int64_t end) {
  for (int l = 0; l < a.levels.count; ++l) encode_level<F>(a, l, begin, end);
}

#define N3D_HASH_LOOPS(S)                                                                                        \
  void hash_encode(const HashArgs<S>& a, int64_t begin, int64_t end) { N3D_FOR_FEATURES(S, encode, begin, end) } \
  void hash_table_vjp(const HashArgs<S>& a, int level, uint32_t first_row, uint32_t end_row, S* d_rows) {        \
    N3D_FOR_FEATURES(S, pull_rows, level, first_row, end_row, d_rows)                                            \
  }                                                                                                              \
  void hash_positions_vjp(const HashArgs<S>& a, int64_t begin, int64_t end) {                                    \
    N3D_FOR_FEATURES(S, pull_positions, begin, end)                                                              \
  }
N3D_HASH_LOOPS(float)
N3D_HASH_LOOPS(double)
#undef N3D_HASH_LOOPS

}  // namespace N3D_ISA
}  // namespace n3d
