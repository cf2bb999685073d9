// A grid's memory of where something is.
#include "driver.h"
// After driver.h, whose kernels.h declares no loops for the instruction set "scalar".
#include "../math/occupancy.h"

namespace n3d {

constexpr int64_t kCellGrain = 16384;

static void fade(float* density, int64_t begin, int64_t end, float decay) {
  for (int64_t i = begin; i < end; ++i) density[i] *= decay;
}

// In one order, whoever adds it up.
static double sum_of(const float* density, int64_t begin, int64_t end) {
  double sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += double(density[i]);
  return sum;
}

static void update_occupancy(Tensor densities, Tensor occupied, Tensor cells, Tensor found, double decay,
                             double threshold) {
  const int64_t count = densities.numel(), samples = cells.numel();
  STD_TORCH_CHECK(occupied.numel() == count && found.numel() == samples,
                  "neural3d: as many flags as cells, and as many densities as were looked at");
  float* density = pointer<float>(densities);
  const float* sampled = pointer<float>(found);
  uint8_t* flag = pointer<uint8_t>(occupied);
  const int32_t* cell = pointer<int32_t>(cells);
  for (int64_t i = 0; i < samples; ++i)
    STD_TORCH_CHECK(cell[i] >= 0 && cell[i] < count, "neural3d: there is no cell ", cell[i]);
  share(count, kCellGrain, [&](int64_t begin, int64_t end) { fade(density, begin, end, float(decay)); });
  for (int64_t i = 0; i < samples; ++i)
    if (sampled[i] > density[cell[i]]) density[cell[i]] = sampled[i];
  std::vector<double> sums(size_t((count + kCellGrain - 1) / kCellGrain));
  share(count, kCellGrain,
        [&](int64_t begin, int64_t end) { sums[size_t(begin / kCellGrain)] = sum_of(density, begin, end); });
  double sum = 0;
  for (const double part : sums) sum += part;
  const float limit = scalar::occupancy_threshold(sum, count, float(threshold));
  share(count, kCellGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) flag[i] = density[i] > limit;
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) { m.impl("update_occupancy", TORCH_BOX(&n3d::update_occupancy)); }
