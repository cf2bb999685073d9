// Sums over an image in a fixed order: each block leaves a row of partial sums, and one block adds the rows up.
#pragma once

#include "launch.h"
#include "warp.h"

namespace n3d {

constexpr int kTotalThreads = 1024;

// Sums each of a block's `count` numbers over its threads; thread 0 writes them to row[0 .. count - 1].
template <int threads, int count, class S>
__device__ __forceinline__ void write_block_sums(const S* values, double* row) {
  N3D_SHARED(space, double[count][threads / kWarp]);
#pragma unroll
  for (int k = 0; k < count; ++k) {
    const double sum = warp_sum(double(values[k]));
    if (lane_in_warp() == 0) space[k][warp_in_block()] = sum;
  }
  __syncthreads();
  for (int k = thread_in_block(); k < count; k += threads) {
    double sum = 0;
    for (int warp = 0; warp < threads / kWarp; ++warp) sum += space[k][warp];
    row[k] = sum;
  }
}

// The sum of each column of partials[rows][count], in every thread of the one block.
template <int count>
__device__ __forceinline__ void total_columns(const double* partials, int rows, double* totals) {
  N3D_SHARED(sums, double[count]);
  double mine[count] = {};
  for (int row = thread_in_block(); row < rows; row += kTotalThreads)
#pragma unroll
    for (int k = 0; k < count; ++k) mine[k] += partials[int64_t(row) * count + k];
  write_block_sums<kTotalThreads, count>(mine, sums);
  __syncthreads();
#pragma unroll
  for (int k = 0; k < count; ++k) totals[k] = sums[k];
}

}  // namespace n3d
