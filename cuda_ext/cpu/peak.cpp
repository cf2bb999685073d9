// Multiply-adds per second of one thread or of all.
#include <chrono>

#include "driver.h"

namespace n3d {

static double fma_peak_gflops(int64_t rounds) {
  const int64_t threads = torch::stable::get_num_threads();
  std::vector<float> sink(size_t(16 * threads));
  std::vector<double> done(size_t(threads), 0.0);
  const auto start = std::chrono::steady_clock::now();
  share(threads, 1, [&](int64_t i, int64_t) { done[size_t(i)] = peak_loop()(rounds, &sink[size_t(16 * i)]); });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  double operations = 0;
  for (double d : done) operations += d;
  return operations / seconds.count() / 1e9;
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CompositeExplicitAutograd, m) {
  m.impl("fma_peak_gflops", TORCH_BOX(&n3d::fma_peak_gflops));
}
