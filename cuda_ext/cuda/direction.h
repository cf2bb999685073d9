// From where a camera sees a Gaussian.
#pragma once

#include <cuda_runtime.h>

#include "../math/scalar.h"

namespace n3d {

template <class S>
struct Direction {
  S d[3];        // unit
  S inv_length;  // 0 where the Gaussian sits in the camera centre: it has no direction, and gets no gradient
};

template <class S>
__device__ __forceinline__ Direction<S> direction_of(const S* mean, const S* center) {
  Direction<S> r;
#pragma unroll
  for (int k = 0; k < 3; ++k) r.d[k] = mean[k] - __ldg(center + k);
  const S n2 = r.d[0] * r.d[0] + r.d[1] * r.d[1] + r.d[2] * r.d[2];
  r.inv_length = n2 > S(1e-30) ? S(1) / scalar::sqrt(n2) : S(0);
#pragma unroll
  for (int k = 0; k < 3; ++k) r.d[k] = r.d[k] * r.inv_length;
  return r;
}

}  // namespace n3d
