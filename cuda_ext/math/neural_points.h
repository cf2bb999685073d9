// Points that carry features: the nearest ones around a place, from a hashed grid of cells, and how much each counts.
// Points lie sorted by slot, so that a cell's are found in one stretch; those of another cell in the same slot are told
// apart by their own cell.
//
// With d = |x - p| / r the distance in radii, a point has the weight w(d) = 1 / max(d, kNearest) - 1 for d < 1 and none
// beyond: the inverse distance, less what it is at the radius, so that nothing jumps where a point comes or goes. Of
// the K nearest points with the weights w_k, confidences c_k and embeddings u_k, and with s_k = w_k / (1 + sum_j w_j)
// (empty space counts one, so that a feature fades out where points end) and h_k = relu(u_k + B (x - p_k) / r),
//   feature = sum_k s_k c_k h_k,   confidence = sum_k s_k c_k.
// For pulls g on the feature and q on the confidence, and m_k = 1 where h_k > 0, else 0,
//   d u_k = s_k c_k (g m_k),   d B = sum_k s_k c_k (g m_k) ((x - p_k) / r)^T,   d c_k = s_k (<g, h_k> + q).
// Places get none.
//
// Source: Xu et al. 2022, Point-NeRF, eq. 3 to 7; Shepard 1968 and Franke and Nielson 1980 (the weights).
#pragma once

#include <stdint.h>

#include "scalar.h"

namespace n3d {
namespace N3D_ISA {

constexpr double kNearest = 1e-3;  // radii; a place nearer to a point counts as so far away
constexpr double kFarthestCell = 1 << 24;

// A cell along one axis. In double, for cells a little larger than the radius: two places less than a radius apart are
// then never more than one cell apart.
N3D_HD int32_t point_cell(double x, double cells_per_unit) { return int32_t(::floor(x * cells_per_unit)); }

// The slot of a cell; `mask` is one less than their number, a power of two.
N3D_HD uint32_t cell_slot(int32_t x, int32_t y, int32_t z, uint32_t mask) {
  const uint32_t h = uint32_t(x) * 73856093u ^ uint32_t(y) * 19349663u ^ uint32_t(z) * 83492791u;
  return (h ^ h >> 15) & mask;
}

template <class S>
struct PointCells {
  const S* points;                       // [P,3], sorted by slot
  const int32_t *cells, *names, *first;  // [P,3] [P] [slots + 1]
  uint32_t mask;
  double radius, cells_per_unit;
};

// Offers every point of a cell that is nearer than the limit; F keeps what it wants, by squared distance and name.
template <class S, class F>
N3D_HD void look_into(const PointCells<S>& a, const int32_t* cell, const S* x, S limit, F& found) {
  const uint32_t slot = cell_slot(cell[0], cell[1], cell[2], a.mask);
  for (int32_t i = a.first[slot]; i < a.first[slot + 1]; ++i) {
    const S *p = a.points + 3 * int64_t(i), dx = x[0] - p[0], dy = x[1] - p[1], dz = x[2] - p[2];
    const S d = dx * dx + dy * dy + dz * dz;
    if (!(d < limit)) continue;
    const int32_t* own = a.cells + 3 * int64_t(i);
    if (own[0] == cell[0] && own[1] == cell[1] && own[2] == cell[2]) found.offer(d, a.names[i]);
  }
}

// The squared distance of a place to the cells `step` away along one axis, in cells; `inside` is its place in its own.
N3D_HD double cell_gap(double inside, int step) {
  return step < 0 ? inside * inside : step > 0 ? (1 - inside) * (1 - inside) : 0;
}

// 0, -1, 1: the nearest cells first.
N3D_HD int cell_step(int turn) { return turn == 0 ? 0 : turn == 1 ? -1 : 1; }

// The place's own cell first, then its neighbours as far as something nearer than found.reach(radius squared) can lie
// there. A place that is not finite is near to nothing.
template <class S, class F>
N3D_HD void find_points(const PointCells<S>& a, const S* x, F& found) {
  const S limit = S(a.radius * a.radius);
  const double cell_squared = 1 / (a.cells_per_unit * a.cells_per_unit);
  double inside[3];
  int32_t own[3];
  for (int k = 0; k < 3; ++k) {
    const double u = double(x[k]) * a.cells_per_unit;
    if (!(::fabs(u) < kFarthestCell)) return;
    own[k] = point_cell(double(x[k]), a.cells_per_unit), inside[k] = u - own[k];
  }
  for (int i = 0; i < 27; ++i) {
    const int dx = cell_step(i % 3), dy = cell_step(i / 3 % 3), dz = cell_step(i / 9);
    const double away = (cell_gap(inside[0], dx) + cell_gap(inside[1], dy) + cell_gap(inside[2], dz)) * cell_squared;
    if (away > double(found.reach(limit)) * 1.00001) continue;
    const int32_t cell[3] = {own[0] + dx, own[1] + dy, own[2] + dz};
    look_into(a, cell, x, limit, found);
  }
}

// The offset of a place from a point in radii, and the point's weight.
template <class S>
N3D_HD S point_weight(const S* x, const S* p, S radius, S* offset) {
  S squared(0);
  for (int k = 0; k < 3; ++k) {
    offset[k] = (x[k] - p[k]) / radius;
    squared += offset[k] * offset[k];
  }
  const S distance = max(sqrt(squared), S(kNearest));
  return distance < S(1) ? S(1) / distance - S(1) : S(0);
}

}  // namespace N3D_ISA
}  // namespace n3d
