// Sums of several numbers at a time over a warp, for fewer shuffles than one after the other: at each step a lane keeps
// half of its numbers, sends its partner the other half and adds what it gets. Nine sums take 12 shuffles, not 45.
#pragma once

#include "warp.h"

namespace n3d {

// Leaves one of the sums in values[0] of each lane: the one that spread_index names. All 32 lanes must call it. The
// order in which a sum is taken is fixed.
template <int count, int bit = kWarp / 2, class S>
__device__ __forceinline__ void spread_sums(S* values, int lane) {
  if constexpr (bit > 0 && count == 1) {
    values[0] += __shfl_xor_sync(kWholeWarp, values[0], bit);
    spread_sums<1, bit / 2>(values, lane);
  } else if constexpr (bit > 0) {
    constexpr int half = (count + 1) / 2;
    const bool upper = (lane & bit) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const S low = values[i], high = half + i < count ? values[half + i] : S(0);
      values[i] = (upper ? high : low) + __shfl_xor_sync(kWholeWarp, upper ? low : high, bit);
    }
    spread_sums<half, bit / 2>(values, lane);
  }
}

// Which of `count` sums a lane is left with, or -1 where another lane has it, too.
template <int count>
__device__ __forceinline__ int spread_index(int lane) {
  int index = 0, held = count, width = count;
#pragma unroll
  for (int bit = kWarp / 2; bit > 0; bit /= 2) {
    const bool upper = (lane & bit) != 0;
    if (width == 1) {
      held = upper ? 0 : held;
    } else {
      const int half = (width + 1) / 2;
      index += upper ? half : 0;
      held = upper ? held - half : held < half ? held : half;
      width = half;
    }
  }
  return held > 0 ? index : -1;
}

}  // namespace n3d
