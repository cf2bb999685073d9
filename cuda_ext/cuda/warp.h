// What threads of a warp or of a block say to each other, and the chip's approximate functions. Sums have a fixed
// order: the same numbers give the same bits on every run.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

namespace n3d {

constexpr int kWarp = 32;
constexpr unsigned kWholeWarp = 0xffffffffu;

__device__ __forceinline__ int thread_in_block() {
  return int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
}
__device__ __forceinline__ int lane_in_warp() { return thread_in_block() % kWarp; }
__device__ __forceinline__ int warp_in_block() { return thread_in_block() / kWarp; }

// The sum over the warp, in every lane. All 32 lanes must call it.
template <class S>
__device__ __forceinline__ S warp_sum(S value) {
#pragma unroll
  for (int d = kWarp / 2; d > 0; d /= 2) value += __shfl_xor_sync(kWholeWarp, value, d);
  return value;
}
template <class S>
__device__ __forceinline__ S warp_min(S value) {
#pragma unroll
  for (int d = kWarp / 2; d > 0; d /= 2) {
    const S other = __shfl_xor_sync(kWholeWarp, value, d);
    value = other < value ? other : value;
  }
  return value;
}
template <class S>
__device__ __forceinline__ S warp_max(S value) {
#pragma unroll
  for (int d = kWarp / 2; d > 0; d /= 2) {
    const S other = __shfl_xor_sync(kWholeWarp, value, d);
    value = value < other ? other : value;
  }
  return value;
}

// Half of the numbers go to the other half of the lanes, and half of the other lanes' numbers come back.
template <int d, class S>
__device__ __forceinline__ void fold_lanes(S* values) {
  const bool upper = lane_in_warp() & d;
#pragma unroll
  for (int i = 0; i < d; ++i) {
    const S kept = upper ? values[i + d] : values[i], given = upper ? values[i] : values[i + d];
    values[i] = kept + __shfl_xor_sync(kWholeWarp, given, d);
  }
  if constexpr (d > 1) fold_lanes<d / 2>(values);
}

// Lane i gets the sum of values[i] over the warp: 31 shuffles, where 32 sums one by one would take 160. All 32 lanes
// must call it; values are used up.
template <class S>
__device__ __forceinline__ S warp_sums(S (&values)[kWarp]) {
  fold_lanes<kWarp / 2>(values);
  return values[0];
}

// 2^x at the speed of the chip, about 2 ulp; denormal results and arguments count as zero.
__device__ __forceinline__ float fast_exp2(float x) {
#if defined(N3D_EMULATED)
  return ::exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}
__device__ __forceinline__ double fast_exp2(double x) { return ::exp2(x); }
// 1/x to 1 ulp; denormal results and arguments count as zero.
__device__ __forceinline__ float fast_reciprocal(float x) {
#if defined(N3D_EMULATED)
  return 1.0f / x;
#else
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}
__device__ __forceinline__ double fast_reciprocal(double x) { return 1.0 / x; }

}  // namespace n3d
