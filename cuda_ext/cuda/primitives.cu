// cub's device-wide algorithms, compiled once: they take longer than all else.
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_reduce.cuh>
#include <cub/device/device_scan.cuh>

#include "primitives.h"

namespace n3d {
namespace {

// Calls f(space, bytes) as cub wants it: once to ask how much work space it takes, once to work.
template <class F>
void with_space(const OnDevice& on, const char* what, const F& f) {
  size_t bytes = 0;
  check_cuda(f(nullptr, bytes), what);
  Tensor space = on.fresh({int64_t(bytes) + 1}, ScalarType::Byte);
  check_cuda(f(space.mutable_data_ptr(), bytes), what);
}

}  // namespace

template <class K, class V>
void sort_pairs(const OnDevice& on, const K* keys, K* sorted_keys, const V* values, V* sorted_values, int64_t count,
                int begin_bit, int end_bit) {
  if (count == 0) return;
  with_space(on, "sort_pairs", [&](void* space, size_t& bytes) {
    return cub::DeviceRadixSort::SortPairs(space, bytes, keys, sorted_keys, values, sorted_values, count, begin_bit,
                                           end_bit, on.stream());
  });
}

#define N3D_SORT(K, V) template void sort_pairs(const OnDevice&, const K*, K*, const V*, V*, int64_t, int, int);
N3D_SORT(uint32_t, int32_t)
N3D_SORT(uint64_t, int32_t)
N3D_SORT(uint16_t, uint64_t)
N3D_SORT(uint32_t, uint64_t)
#undef N3D_SORT

void exclusive_sum(const OnDevice& on, const uint32_t* values, uint32_t* sums, int64_t count) {
  if (count == 0) return;
  with_space(on, "exclusive_sum", [&](void* space, size_t& bytes) {
    return cub::DeviceScan::ExclusiveSum(space, bytes, values, sums, count, on.stream());
  });
}

void total_sum(const OnDevice& on, const uint32_t* values, int64_t* total, int64_t count) {
  with_space(on, "total_sum", [&](void* space, size_t& bytes) {
    return cub::DeviceReduce::Sum(space, bytes, values, total, count, on.stream());
  });
}

}  // namespace n3d
