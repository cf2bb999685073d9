// Lists of integers, written sixteen at a time.
#pragma once

#include "simd.h"

namespace n3d {
namespace N3D_ISA {

// Sixteen integers: first, first + 1, ..; the same one; and those that lie elsewhere.
#if defined(N3D_AVX512)
N3D_INLINE void store_run(int32_t first, int32_t* p) {
  const __m512i iota = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  _mm512_storeu_si512(p, _mm512_add_epi32(_mm512_set1_epi32(first), iota));
}
N3D_INLINE void store_same(int32_t x, int32_t* p) { _mm512_storeu_si512(p, _mm512_set1_epi32(x)); }
N3D_INLINE void copy_run(const int32_t* from, int32_t* p) { _mm512_storeu_si512(p, _mm512_loadu_si512(from)); }
#else
N3D_INLINE void store_run(int32_t first, int32_t* p) {
  for (int i = 0; i < 16; ++i) p[i] = first + i;
}
N3D_INLINE void store_same(int32_t x, int32_t* p) {
  for (int i = 0; i < 16; ++i) p[i] = x;
}
N3D_INLINE void copy_run(const int32_t* from, int32_t* p) { memcpy(p, from, 16 * sizeof(int32_t)); }
#endif

}  // namespace N3D_ISA
}  // namespace n3d
