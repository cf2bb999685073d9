// In which order the sums of gradients are taken. Ours is fixed: what belongs together is written side by side, and its
// owner adds it up, so that the same inputs give the same bytes. What that costs is measured against drivers that were
// compiled with N3D_UNORDERED, and add by atomics in whatever order the threads come (benchmarks/unordered_sums.py).
// The library has none of these.
#pragma once

#include <cuda_runtime.h>

namespace n3d {

#if defined(N3D_UNORDERED)
constexpr bool kOrdered = false;
#else
constexpr bool kOrdered = true;
#endif

// Leaves a part of a sum where it belongs: in a place to itself, or with all the others, which begins as 0.
template <class S>
__device__ __forceinline__ void leave_part(S* place, S part) {
  if constexpr (kOrdered)
    *place = part;
  else
    atomicAdd(place, part);
}

}  // namespace n3d
