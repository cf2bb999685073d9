// What Markov-chain densification does to every seen Gaussian in every step: pull opacity and size down a little, and
// shake the positions of the faint ones along their own axes.
//
// Random numbers are a hash of (seed, step, index), so a resumed run draws the same ones and threads do not matter.
// Source: Kheradmand et al. 2024, 3D Gaussian Splatting as Markov Chain Monte Carlo, eq. 9-12.
#include <cmath>

#include "driver.h"

namespace n3d {
namespace {

constexpr int64_t kExploreGrain = 2048;

// SplitMix64 (Steele et al. 2014).
uint64_t hash(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// Nearly normal, of unit variance: four 16-bit uniform numbers (Irwin-Hall), so it never leaves +-3.5.
float normal(uint64_t bits) {
  const int64_t sum =
      int64_t(bits & 0xffff) + int64_t((bits >> 16) & 0xffff) + int64_t((bits >> 32) & 0xffff) + int64_t(bits >> 48);
  return (float(sum) * (1.0f / 65536) - 2.0f) * 1.7320508f;
}

}  // namespace

static void add_penalties(Tensor log_scales, Tensor logits, Tensor visible, double scale_weight, double opacity_weight,
                          Tensor d_log_scales, Tensor d_logits) {
  const int64_t n = logits.size(0);
  const float *scale = pointer<float>(log_scales), *logit = pointer<float>(logits);
  const uint8_t* seen = pointer<uint8_t>(visible);
  float *d_scale = pointer<float>(d_log_scales), *d_logit = pointer<float>(d_logits);
  const float per_scale = float(scale_weight / (3.0 * double(n))), per_opacity = float(opacity_weight / double(n));
  share(n, kExploreGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (!seen[i]) continue;
      const float o = 1.0f / (1.0f + std::exp(-logit[i]));
      d_logit[i] += per_opacity * o * (1.0f - o);
      for (int k = 0; k < 3; ++k) d_scale[3 * i + k] += per_scale * std::exp(scale[3 * i + k]);
    }
  });
}

static void shake(Tensor means, Tensor quats, Tensor log_scales, Tensor logits, Tensor visible, double strength,
                  int64_t seed, int64_t step) {
  const int64_t n = logits.size(0);
  float* mean = pointer<float>(means);
  const float *quat = pointer<float>(quats), *scale = pointer<float>(log_scales), *logit = pointer<float>(logits);
  const uint8_t* seen = pointer<uint8_t>(visible);
  const uint64_t key = hash(hash(uint64_t(seed)) ^ uint64_t(step));
  share(n, kExploreGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      // Opacity 0.12: above it the factor below is under 1e-5.
      if (!seen[i] || logit[i] > -2.0f) continue;
      const float o = 1.0f / (1.0f + std::exp(-logit[i]));
      const float factor = float(strength) / (1.0f + std::exp(100.0f * (o - 0.005f)));
      const float *q = quat + 4 * i, inv = 1.0f / std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
      const float w = q[0] * inv, x = q[1] * inv, y = q[2] * inv, z = q[3] * inv;
      const float r[9] = {1 - 2 * (y * y + z * z), 2 * (x * y - w * z),     2 * (x * z + w * y),
                          2 * (x * y + w * z),     1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
                          2 * (x * z - w * y),     2 * (y * z + w * x),     1 - 2 * (x * x + y * y)};
      float along[3];  // variances times R^T noise
      float noise[3];
      for (int k = 0; k < 3; ++k) noise[k] = normal(hash(key + uint64_t(3 * i + k)));
      for (int k = 0; k < 3; ++k) {
        const float variance = std::exp(2.0f * scale[3 * i + k]);
        along[k] = variance * (r[k] * noise[0] + r[3 + k] * noise[1] + r[6 + k] * noise[2]);
      }
      for (int k = 0; k < 3; ++k)
        mean[3 * i + k] += factor * (r[3 * k] * along[0] + r[3 * k + 1] * along[1] + r[3 * k + 2] * along[2]);
    }
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("add_penalties", TORCH_BOX(&n3d::add_penalties));
  m.impl("shake", TORCH_BOX(&n3d::shake));
}
