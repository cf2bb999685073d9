// Where a point lies in one level of a hash grid, and which rows of the table its eight corners have.
//
// With u the place along an axis in cells, i = floor u its cell and f = u - i, the two corners along that axis have the
// shares 1 - s(f) and s(f), where s(f) = f, or f^2 (3 - 2 f) where the encoding shall be smooth. A corner's weight is
// the product over the axes, so that the feature is sum_k w_k row_k, and
//   d row_k = w_k g,   d x = cells * s'(f_x) * sum over the corners of +-(share_y share_z) <row_k, g>,
// with + for the upper corners.
//
// Source: Mueller et al. 2022, Instant Neural Graphics Primitives, eq. 4 (the hash) and appendix A (the smooth step).
#pragma once

#include "hash_levels.h"
#include "scalar.h"

namespace n3d {
namespace N3D_ISA {

// One axis of one point. Beyond [0, 1] the place is the border's, with slope 0; what is not a number lies at 0.
template <class S>
struct HashAxis {
  int32_t cell;
  S share, slope;  // of the upper corner, and its derivative by the coordinate
};

template <class S>
N3D_HD HashAxis<S> hash_axis(S x, int32_t cells, bool smooth) {
  const S inside = x > S(0) ? (x < S(1) ? x : S(1)) : S(0);
  const S u = inside * S(cells);
  const int32_t floor = int32_t(u), cell = floor < cells ? floor : cells - 1;
  const S f = u - S(cell), reach = x >= S(0) && x <= S(1) ? S(cells) : S(0);
  if (smooth) return {cell, f * f * (S(3) - S(2) * f), reach * S(6) * f * (S(1) - f)};
  return {cell, f, reach};
}

// The row of a corner within its level.
N3D_HD uint32_t hash_row(const HashLevel& level, uint32_t x, uint32_t y, uint32_t z) {
  const uint32_t side = uint32_t(level.cells) + 1u;
  if (level.dense) return x + side * (y + side * z);
  return (x ^ (y * 2654435761u) ^ (z * 805459861u)) & (level.rows - 1u);
}

// Corner k = 0 .. 7 lies above along x, y, z where its bits 0, 1, 2 are set.
template <class S>
N3D_HD S corner_share(int bit, S share) {
  return bit ? share : S(1) - share;
}

}  // namespace N3D_ISA
}  // namespace n3d
