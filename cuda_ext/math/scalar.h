// What the formulas need from a number type, for plain float and double; simd.h offers the same for registers of
// numbers.
#pragma once

#include <math.h>

#if defined(__CUDACC__)
#define N3D_HD __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define N3D_HD __forceinline
#else
#define N3D_HD inline __attribute__((always_inline))
#endif
#ifndef N3D_ISA
#define N3D_ISA scalar
#endif

namespace n3d {
namespace N3D_ISA {

N3D_HD float fma(float a, float b, float c) { return ::fmaf(a, b, c); }
N3D_HD double fma(double a, double b, double c) { return ::fma(a, b, c); }
N3D_HD float sqrt(float a) { return ::sqrtf(a); }
N3D_HD double sqrt(double a) { return ::sqrt(a); }
N3D_HD float exp(float a) { return ::expf(a); }
N3D_HD double exp(double a) { return ::exp(a); }
N3D_HD float floor(float a) { return ::floorf(a); }
N3D_HD double floor(double a) { return ::floor(a); }
N3D_HD float log(float a) { return ::logf(a); }
N3D_HD double log(double a) { return ::log(a); }
template <class S>
N3D_HD S min(S a, S b) {
  return a < b ? a : b;
}
template <class S>
N3D_HD S max(S a, S b) {
  return a > b ? a : b;
}
template <class S>
N3D_HD S select(bool m, S a, S b) {
  return m ? a : b;
}

}  // namespace N3D_ISA
}  // namespace n3d
