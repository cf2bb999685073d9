// What Markov-chain densification does to every seen Gaussian in every step: pull opacity and size down a little, and
// shake the positions of the faint ones along their own axes.
#include "../math/exploration.h"
#include "launch.h"

namespace n3d {
namespace {

constexpr int kThreads = 256;

struct Penalties {
  const float *log_scales, *logits;
  const uint8_t* visible;
  float per_scale, per_opacity;
  float *d_log_scales, *d_logits;
};

__global__ void __launch_bounds__(kThreads) penalty_kernel(Penalties a, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count || !a.visible[i]) return;
  for (int k = 0; k < 3; ++k) a.d_log_scales[3 * i + k] += scalar::scale_slope(a.log_scales[3 * i + k], a.per_scale);
  a.d_logits[i] += scalar::opacity_slope(a.logits[i], a.per_opacity);
}

struct Shaking {
  const float *quats, *log_scales, *logits;
  const uint8_t* visible;
  float strength;
  uint64_t key;
  float* means;
};

__global__ void __launch_bounds__(kThreads) shake_kernel(Shaking a, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count || !a.visible[i] || a.logits[i] > scalar::kFaintLogit) return;
  float noise[3];
  scalar::noise_of(a.key, i, noise);
  scalar::shake_gaussian(a.quats + 4 * i, a.log_scales + 3 * i, a.logits[i], a.strength, noise, a.means + 3 * i);
}

}  // namespace

static void add_penalties(Tensor log_scales, Tensor logits, Tensor visible, double scale_weight, double opacity_weight,
                          Tensor d_log_scales, Tensor d_logits) {
  const OnDevice on(log_scales);
  const int64_t n = logits.size(0);
  const Penalties a{on.pointer<float>(log_scales),     on.pointer<float>(logits),
                    on.pointer<uint8_t>(visible),      float(scale_weight / (3.0 * double(n))),
                    float(opacity_weight / double(n)), on.pointer<float>(d_log_scales),
                    on.pointer<float>(d_logits)};
  N3D_LAUNCH(penalty_kernel, blocks_for(n, kThreads), kThreads, 0, on.stream(), a, n);
}

static void shake(Tensor means, Tensor quats, Tensor log_scales, Tensor logits, Tensor visible, double strength,
                  int64_t seed, int64_t step) {
  const OnDevice on(means);
  const int64_t n = logits.size(0);
  const Shaking a{on.pointer<float>(quats),  on.pointer<float>(log_scales),
                  on.pointer<float>(logits), on.pointer<uint8_t>(visible),
                  float(strength),           scalar::noise_key(uint64_t(seed), uint64_t(step)),
                  on.pointer<float>(means)};
  N3D_LAUNCH(shake_kernel, blocks_for(n, kThreads), kThreads, 0, on.stream(), a, n);
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("add_penalties", TORCH_BOX(&n3d::add_penalties));
  m.impl("shake", TORCH_BOX(&n3d::shake));
}
