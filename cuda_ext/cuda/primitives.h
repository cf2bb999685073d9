// Sorting, scanning and summing whole arrays on the device. Nothing waits for the host; the work space comes from
// torch's allocator. All are of integers, so that results do not depend on how the work was divided.
#pragma once

#include "launch.h"

namespace n3d {

// Of numbers below `values`, for sort_pairs.
inline int bits_for(uint32_t values) {
  int bits = 1;
  while (bits < 32 && (values - 1) >> bits) ++bits;
  return bits;
}

// Sorts `count` pairs by bits [begin_bit, end_bit) of their keys; equal keys keep their order. Nothing may overlap.
// primitives.cu names the types there are.
template <class K, class V>
void sort_pairs(const OnDevice& on, const K* keys, K* sorted_keys, const V* values, V* sorted_values, int64_t count,
                int begin_bit = 0, int end_bit = int(8 * sizeof(K)));

// sums[i] = values[0] + ... + values[i - 1].
void exclusive_sum(const OnDevice& on, const uint32_t* values, uint32_t* sums, int64_t count);

// *total = values[0] + ... + values[count - 1].
void total_sum(const OnDevice& on, const uint32_t* values, int64_t* total, int64_t count);

}  // namespace n3d
