// Points that carry features: which cell of a hashed grid a place lies in, and how much a near point counts.
//
// With d = |x - p| / r the distance in radii, a point has the weight w(d) = 1 / max(d, kNearest) - 1 for d < 1 and none
// beyond: the inverse distance, less what it is at the radius, so that nothing jumps where a point comes or goes. Of the
// K nearest points with the weights w_k, confidences c_k and embeddings u_k, and with s_k = w_k / (1 + sum_j w_j) (empty
// space counts one, so that a feature fades out where points end) and h_k = relu(u_k + B (x - p_k) / r),
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

// A cell along one axis. In double, for cells a little larger than the radius: two places less than a radius apart are
// then never more than one cell apart.
N3D_HD int32_t point_cell(double x, double cells_per_unit) { return int32_t(::floor(x * cells_per_unit)); }

// The slot of a cell; `mask` is one less than their number, a power of two.
N3D_HD uint32_t cell_slot(int32_t x, int32_t y, int32_t z, uint32_t mask) {
  const uint32_t h = uint32_t(x) * 73856093u ^ uint32_t(y) * 19349663u ^ uint32_t(z) * 83492791u;
  return (h ^ h >> 15) & mask;
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
