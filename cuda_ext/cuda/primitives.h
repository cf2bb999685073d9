// Sorting, scanning and summing whole arrays on the device, by cub. Nothing waits for the host; the work space comes
// from torch's allocator. Results do not depend on how the work was divided (integers) or are the same on every run of
// one GPU (floats).
#pragma once

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_reduce.cuh>
#include <cub/device/device_scan.cuh>

#include "launch.h"

namespace n3d {

// cub's kernels are smaller and faster with offsets of 32 bits, and no array here is longer.
inline int32_t short_count(int64_t count) {
  STD_TORCH_CHECK(count <= INT32_MAX, "neural3d: ", count, " numbers are too many to sort or add up at a time");
  return int32_t(count);
}

// Calls f(space, bytes) as cub wants it: once to ask how much work space it takes, once to work.
template <class F>
void with_space(const OnDevice& on, const char* what, const F& f) {
  size_t bytes = 0;
  check_cuda(f(nullptr, bytes), what);
  Tensor space = on.fresh({int64_t(bytes) + 1}, ScalarType::Byte);
  check_cuda(f(space.mutable_data_ptr(), bytes), what);
}

// Sorts `count` pairs by bits [begin_bit, end_bit) of their keys; equal keys keep their order.
template <class K, class V>
void sort_pairs(const OnDevice& on, const K* keys, K* sorted_keys, const V* values, V* sorted_values, int64_t count,
                int begin_bit = 0, int end_bit = int(8 * sizeof(K))) {
  if (count == 0) return;
  with_space(on, "sort_pairs", [&](void* space, size_t& bytes) {
    return cub::DeviceRadixSort::SortPairs(space, bytes, keys, sorted_keys, values, sorted_values, short_count(count),
                                           begin_bit, end_bit, on.stream());
  });
}

struct Plus {
  template <class A, class B>
  __host__ __device__ auto operator()(const A& a, const B& b) const {
    return a + b;
  }
};

// sums[i] = values[0] + ... + values[i - 1], added up in the type of the sums: 32-bit counts may have 64-bit sums.
template <class T, class U>
void exclusive_sum(const OnDevice& on, const T* values, U* sums, int64_t count) {
  if (count == 0) return;
  with_space(on, "exclusive_sum", [&](void* space, size_t& bytes) {
    return cub::DeviceScan::ExclusiveScan(space, bytes, values, sums, Plus{}, U(0), short_count(count), on.stream());
  });
}

// sums[i] = values[0] + ... + values[i].
template <class T>
void inclusive_sum(const OnDevice& on, const T* values, T* sums, int64_t count) {
  if (count == 0) return;
  with_space(on, "inclusive_sum", [&](void* space, size_t& bytes) {
    return cub::DeviceScan::InclusiveSum(space, bytes, values, sums, short_count(count), on.stream());
  });
}

// *total = values[0] + ... + values[count - 1].
template <class T, class U>
void total_sum(const OnDevice& on, const T* values, U* total, int64_t count) {
  with_space(on, "total_sum", [&](void* space, size_t& bytes) {
    return cub::DeviceReduce::Sum(space, bytes, values, total, short_count(count), on.stream());
  });
}

}  // namespace n3d
