// A grid's memory of where something is.
#include "../math/occupancy.h"
#include "launch.h"
#include "sums.h"

namespace n3d {
namespace {

constexpr int kThreads = 256, kCellsPerBlock = 16384;

__global__ void __launch_bounds__(kThreads) fade_kernel(float* densities, int64_t count, float decay) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) densities[i] *= decay;
}

// Floats that are not negative are ordered as their bits are, and the largest is the same in any order.
__global__ void __launch_bounds__(kThreads)
    raise_kernel(const int32_t* cells, const float* found, int64_t looks, int64_t count, float* densities) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= looks || cells[i] < 0 || cells[i] >= count || !(found[i] > 0)) return;
  atomicMax(reinterpret_cast<int*>(densities) + cells[i], __float_as_int(found[i]));
}

__global__ void __launch_bounds__(kThreads) sums_kernel(const float* densities, int64_t count, double* partials) {
  const int64_t first = int64_t(blockIdx.x) * kCellsPerBlock;
  const int64_t end = first + kCellsPerBlock < count ? first + kCellsPerBlock : count;
  double sum[1] = {};
  for (int64_t i = first + threadIdx.x; i < end; i += kThreads) sum[0] += double(densities[i]);
  write_block_sums<kThreads, 1>(sum, partials + blockIdx.x);
}

__global__ void __launch_bounds__(kTotalThreads)
    limit_kernel(const double* partials, int blocks, int64_t count, float threshold, float* limit) {
  double totals[1];
  total_columns<1>(partials, blocks, totals);
  if (threadIdx.x == 0) *limit = scalar::occupancy_threshold(totals[0], count, threshold);
}

__global__ void __launch_bounds__(kThreads)
    flags_kernel(const float* densities, int64_t count, const float* limit, uint8_t* occupied) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) occupied[i] = densities[i] > *limit;
}

}  // namespace

static void update_occupancy(Tensor densities, Tensor occupied, Tensor cells, Tensor found, double decay,
                             double threshold) {
  const OnDevice on(densities);
  const int64_t count = densities.numel(), looks = cells.numel();
  STD_TORCH_CHECK(occupied.numel() == count && found.numel() == looks,
                  "neural3d: as many flags as cells, and as many densities as were looked at");
  if (count == 0) return;
  float* density = on.pointer<float>(densities);
  const unsigned blocks = blocks_for(count, kCellsPerBlock);
  Tensor partials = on.fresh({int64_t(blocks)}, ScalarType::Double), limit = on.fresh({1}, ScalarType::Float);
  double* sums = on.pointer<double>(partials);
  N3D_LAUNCH(fade_kernel, blocks_for(count, kThreads), kThreads, 0, on.stream(), density, count, float(decay));
  N3D_LAUNCH(raise_kernel, blocks_for(looks, kThreads), kThreads, 0, on.stream(), on.pointer<int32_t>(cells),
             on.pointer<float>(found), looks, count, density);
  N3D_LAUNCH(sums_kernel, blocks, kThreads, 0, on.stream(), density, count, sums);
  N3D_LAUNCH(limit_kernel, 1, kTotalThreads, 0, on.stream(), sums, int(blocks), count, float(threshold),
             on.pointer<float>(limit));
  N3D_LAUNCH(flags_kernel, blocks_for(count, kThreads), kThreads, 0, on.stream(), density, count,
             on.pointer<float>(limit), on.pointer<uint8_t>(occupied));
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) { m.impl("update_occupancy", TORCH_BOX(&n3d::update_occupancy)); }
