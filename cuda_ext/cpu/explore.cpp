// What Markov-chain densification does to every seen Gaussian in every step: pull opacity and size down a little, and
// shake the positions of the faint ones along their own axes.
#include "driver.h"
// After driver.h, whose kernels.h declares no loops for the instruction set "scalar".
#include "../math/exploration.h"

namespace n3d {

constexpr int64_t kExploreGrain = 2048;

static void add_penalties(Tensor log_scales, Tensor logits, Tensor visible, double scale_weight, double opacity_weight,
                          Tensor d_log_scales, Tensor d_logits) {
  const int64_t n = logits.size(0);
  const PenaltyArgs a{pointer<float>(log_scales),        pointer<float>(logits),
                      pointer<uint8_t>(visible),         float(scale_weight / (3.0 * double(n))),
                      float(opacity_weight / double(n)), pointer<float>(d_log_scales),
                      pointer<float>(d_logits)};
  share(n, kExploreGrain, [&](int64_t begin, int64_t end) { kernels<float>().penalties(a, begin, end); });
}

static void shake(Tensor means, Tensor quats, Tensor log_scales, Tensor logits, Tensor visible, double strength,
                  int64_t seed, int64_t step) {
  const int64_t n = logits.size(0);
  const ShakeArgs a{pointer<float>(quats),  pointer<float>(log_scales),
                    pointer<float>(logits), pointer<uint8_t>(visible),
                    float(strength),        scalar::noise_key(uint64_t(seed), uint64_t(step)),
                    pointer<float>(means)};
  share(n, kExploreGrain, [&](int64_t begin, int64_t end) { kernels<float>().shake(a, begin, end); });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("add_penalties", TORCH_BOX(&n3d::add_penalties));
  m.impl("shake", TORCH_BOX(&n3d::shake));
}
