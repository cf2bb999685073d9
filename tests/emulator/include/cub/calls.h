// cub's calls on the standard library, with cub's protocol: asked without work space they say how much they want, and
// refuse to work in less.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "../cuda_runtime.h"

namespace cub {

constexpr size_t kWorkSpace = 256;

// True where the call only wanted to know the size of the work space.
inline bool asked_for_size(void* space, size_t& bytes) {
  if (space == nullptr) return bytes = kWorkSpace, true;
  if (bytes < kWorkSpace) throw std::runtime_error("neural3d emulator: cub was given too little work space");
  emulator::scramble(space, kWorkSpace);
  return false;
}

struct DeviceRadixSort {
  template <class K, class V, class N>
  static cudaError_t SortPairs(void* space, size_t& bytes, const K* keys, K* sorted_keys, const V* values,
                               V* sorted_values, N count, int begin_bit = 0, int end_bit = int(8 * sizeof(K)),
                               cudaStream_t = nullptr) {
    if (asked_for_size(space, bytes)) return cudaSuccess;
    std::vector<N> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), N(0));
    const auto digits = [&](N i) { return bits_of(keys[i], begin_bit, end_bit); };
    std::stable_sort(order.begin(), order.end(), [&](N i, N j) { return digits(i) < digits(j); });
    const std::vector<K> from_keys(keys, keys + count);
    const std::vector<V> from_values(values, values + count);
    for (N i = 0; i < count; ++i) {
      sorted_keys[i] = from_keys[size_t(order[size_t(i)])];
      sorted_values[i] = from_values[size_t(order[size_t(i)])];
    }
    return cudaSuccess;
  }

 private:
  template <class K>
  static uint64_t bits_of(K key, int begin_bit, int end_bit) {
    static_assert(std::is_unsigned_v<K>, "sort by unsigned keys: the order of other keys is not emulated");
    const uint64_t mask = end_bit - begin_bit >= 64 ? ~uint64_t(0) : (uint64_t(1) << (end_bit - begin_bit)) - 1;
    return uint64_t(key) >> begin_bit & mask;
  }
};

struct DeviceScan {
  template <class T, class N>
  static cudaError_t ExclusiveSum(void* space, size_t& bytes, const T* values, T* sums, N count,
                                  cudaStream_t = nullptr) {
    if (asked_for_size(space, bytes)) return cudaSuccess;
    T total = 0;
    for (N i = 0; i < count; ++i) {
      const T value = values[i];
      sums[i] = total;
      total = T(total + value);
    }
    return cudaSuccess;
  }
};

struct DeviceReduce {
  template <class In, class Out, class N>
  static cudaError_t Sum(void* space, size_t& bytes, In values, Out total, N count, cudaStream_t = nullptr) {
    if (asked_for_size(space, bytes)) return cudaSuccess;
    std::decay_t<decltype(*total)> sum = 0;
    for (N i = 0; i < count; ++i) sum = sum + values[i];
    *total = sum;
    return cudaSuccess;
  }
};

}  // namespace cub
