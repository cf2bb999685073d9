// Products of small matrices that lie in the cache: columns in lanes, a tile of the result in registers.
#pragma once

#include "../simd.h"

namespace n3d {
namespace N3D_ISA {

// c[i][j] = (ADD ? c[i][j] : 0) + sum over k < depth of a[i a_row + k a_step] b[k][j], for MR rows and NR registers.
template <class V, int MR, int NR, bool ADD>
static N3D_INLINE void product_tile(const typename V::scalar* N3D_RESTRICT a, int64_t a_row, int64_t a_step,
                                    const typename V::scalar* N3D_RESTRICT b, int64_t b_row, int depth,
                                    typename V::scalar* N3D_RESTRICT c, int64_t c_row) {
  using S = typename V::scalar;
  V sum[MR][NR];
  N3D_UNROLL
  for (int i = 0; i < MR; ++i) N3D_UNROLL
  for (int j = 0; j < NR; ++j) sum[i][j] = ADD ? V::load(c + i * c_row + j * V::lanes) : V(S(0));
  for (int k = 0; k < depth; ++k) {
    V column[NR];
    N3D_UNROLL
    for (int j = 0; j < NR; ++j) column[j] = V::load(b + k * b_row + j * V::lanes);
    N3D_UNROLL
    for (int i = 0; i < MR; ++i) {
      const V x(a[i * a_row + k * a_step]);
      N3D_UNROLL
      for (int j = 0; j < NR; ++j) sum[i][j] = fma(x, column[j], sum[i][j]);
    }
  }
  N3D_UNROLL
  for (int i = 0; i < MR; ++i) N3D_UNROLL
  for (int j = 0; j < NR; ++j) sum[i][j].store(c + i * c_row + j * V::lanes);
}

// The same for `rows` rows, a multiple of MR, and `columns`, a multiple of 16.
template <class V, int MR, bool ADD>
static void multiply(const typename V::scalar* a, int64_t a_row, int64_t a_step, const typename V::scalar* b,
                     int64_t b_row, int rows, int columns, int depth, typename V::scalar* c, int64_t c_row) {
  constexpr int kMost = V::lanes == 16 ? 4 : 2;  // as many as there are registers for
  for (int j = 0; j < columns;) {
    const int left = (columns - j) / V::lanes, wide = left >= kMost ? kMost : left >= 2 ? 2 : 1;
    for (int i = 0; i < rows;) {
      const auto *from = a + i * a_row, *to = b + j;
      if (wide == 1 && i + 2 * MR <= rows) {  // else too few sums are on their way at a time
        product_tile<V, 2 * MR, 1, ADD>(from, a_row, a_step, to, b_row, depth, c + i * c_row + j, c_row);
        i += 2 * MR;
        continue;
      }
      if (wide == kMost)
        product_tile<V, MR, kMost, ADD>(from, a_row, a_step, to, b_row, depth, c + i * c_row + j, c_row);
      else if (wide == 2)
        product_tile<V, MR, 2, ADD>(from, a_row, a_step, to, b_row, depth, c + i * c_row + j, c_row);
      else
        product_tile<V, MR, 1, ADD>(from, a_row, a_step, to, b_row, depth, c + i * c_row + j, c_row);
      i += MR;
    }
    j += wide * V::lanes;
  }
}

}  // namespace N3D_ISA
}  // namespace n3d
