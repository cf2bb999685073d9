// Rows of a few numbers, read and written 16 bytes at a time where their place in memory allows it.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

namespace n3d {

template <class S>
struct __align__(16) Chunk {
  static constexpr int size = int(16 / sizeof(S));
  S v[size];
};

// Whether the compiler may be told that `p` begins at 16 bytes: a view into a tensor may begin anywhere.
__host__ __device__ inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

template <class S>
__device__ __forceinline__ Chunk<S> load_chunk(const S* p) {
  return *reinterpret_cast<const Chunk<S>*>(p);
}
template <class S>
__device__ __forceinline__ void store_chunk(S* p, const Chunk<S>& chunk) {
  *reinterpret_cast<Chunk<S>*>(p) = chunk;
}

// `count` numbers from p. Where they are aligned, up to 16 bytes' worth of numbers behind them is read, too: they must
// belong to the same allocation, and `row` has room for them.
template <int count, class S>
__device__ __forceinline__ void load_row(const S* p, bool aligned, S* row) {
  constexpr int n = Chunk<S>::size;
  if (aligned) {
#pragma unroll
    for (int i = 0; i < count; i += n) {
      const Chunk<S> chunk = load_chunk(p + i);
#pragma unroll
      for (int k = 0; k < n; ++k) row[i + k] = chunk.v[k];
    }
  } else {
#pragma unroll
    for (int i = 0; i < count; ++i) row[i] = p[i];
  }
}

template <int count, class S>
__device__ __forceinline__ void store_row(S* p, bool aligned, const S* row) {
  constexpr int n = Chunk<S>::size;
  if (count % n == 0 && aligned) {
#pragma unroll
    for (int i = 0; i < count; i += n) {
      Chunk<S> chunk;
#pragma unroll
      for (int k = 0; k < n; ++k) chunk.v[k] = row[i + k];
      store_chunk(p + i, chunk);
    }
  } else {
#pragma unroll
    for (int i = 0; i < count; ++i) p[i] = row[i];
  }
}

}  // namespace n3d
