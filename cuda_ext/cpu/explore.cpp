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
  const float *scale = pointer<float>(log_scales), *logit = pointer<float>(logits);
  const uint8_t* seen = pointer<uint8_t>(visible);
  float *d_scale = pointer<float>(d_log_scales), *d_logit = pointer<float>(d_logits);
  const float per_scale = float(scale_weight / (3.0 * double(n))), per_opacity = float(opacity_weight / double(n));
  share(n, kExploreGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (seen[i])
        scalar::add_penalty_slopes(scale + 3 * i, logit[i], per_scale, per_opacity, d_scale + 3 * i, d_logit + i);
  });
}

static void shake(Tensor means, Tensor quats, Tensor log_scales, Tensor logits, Tensor visible, double strength,
                  int64_t seed, int64_t step) {
  const int64_t n = logits.size(0);
  float* mean = pointer<float>(means);
  const float *quat = pointer<float>(quats), *scale = pointer<float>(log_scales), *logit = pointer<float>(logits);
  const uint8_t* seen = pointer<uint8_t>(visible);
  const uint64_t key = scalar::noise_key(uint64_t(seed), uint64_t(step));
  share(n, kExploreGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      if (seen[i] && !(logit[i] > scalar::kFaintLogit))
        scalar::shake_gaussian(quat + 4 * i, scale + 3 * i, logit[i], float(strength), key, i, mean + 3 * i);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("add_penalties", TORCH_BOX(&n3d::add_penalties));
  m.impl("shake", TORCH_BOX(&n3d::shake));
}
