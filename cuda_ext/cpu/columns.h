// Rows in memory as columns in registers.
#pragma once

#include "simd.h"

namespace n3d {
namespace N3D_ISA {

// out[k] = column k of `count` <= lanes rows, for the first `columns` of a row's `stride` numbers. `out` has room for
// whole registers. Reading rows and turning squares costs a fraction of what gathering columns does.
template <class V>
N3D_INLINE void load_columns(const typename V::scalar* p, int64_t stride, int columns, int count, V* out) {
  const int whole = (columns + V::lanes - 1) / V::lanes * V::lanes;
  if (count < V::lanes || whole > stride) {
    for (int k = 0; k < columns; ++k) out[k] = load_rows<V>(p + k, stride, count);
    return;
  }
  for (int k = 0; k < whole; k += V::lanes) {
    for (int i = 0; i < V::lanes; ++i) out[k + i] = V::load(p + i * stride + k);
    transpose(out + k);
  }
}
// The inverse; the columns from `columns` to the end of the row are set to 0.
template <class V>
N3D_INLINE void store_columns(const V* in, typename V::scalar* p, int64_t stride, int columns, int count) {
  const V zero(typename V::scalar(0));
  if (count < V::lanes || stride % V::lanes != 0) {
    for (int k = 0; k < stride; ++k) store_rows(k < columns ? in[k] : zero, p + k, stride, count);
    return;
  }
  V square[V::lanes];
  for (int k = 0; k < stride; k += V::lanes) {
    for (int i = 0; i < V::lanes; ++i) square[i] = k + i < columns ? in[k + i] : zero;
    if (k < columns) transpose(square);
    for (int i = 0; i < V::lanes; ++i) square[i].store(p + i * stride + k);
  }
}

}  // namespace N3D_ISA
}  // namespace n3d
