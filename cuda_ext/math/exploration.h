// How Markov-chain densification moves one Gaussian. Random numbers are a hash of (seed, step, index), so a resumed run
// draws the same ones and neither threads nor devices matter.
//
// Source: Kheradmand et al. 2024, 3D Gaussian Splatting as Markov Chain Monte Carlo, eq. 9-12.
#pragma once

#include <stdint.h>

#include "scalar.h"

namespace n3d {
namespace N3D_ISA {

// SplitMix64 (Steele et al. 2014).
N3D_HD uint64_t hash(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

N3D_HD uint64_t noise_key(uint64_t seed, uint64_t step) { return hash(hash(seed) ^ step); }

// Nearly normal, of unit variance: four 16-bit uniform numbers (Irwin-Hall), so it never leaves +-3.5.
N3D_HD float normal(uint64_t bits) {
  const int64_t sum =
      int64_t(bits & 0xffff) + int64_t((bits >> 16) & 0xffff) + int64_t((bits >> 32) & 0xffff) + int64_t(bits >> 48);
  return (float(sum) * (1.0f / 65536) - 2.0f) * 1.7320508f;
}

N3D_HD float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }

// Opacity 0.12: above it Gaussians would move by less than 1e-5 of what the faintest do, and stay.
constexpr float kFaintLogit = -2.0f;

// Adds strength * sigmoid(100 (0.005 - opacity)) * Sigma @ noise to the mean of Gaussian `index`.
N3D_HD void shake_gaussian(const float* q, const float* log_scale, float logit, float strength, uint64_t key,
                           int64_t index, float* mean) {
  const float factor = strength / (1.0f + exp(100.0f * (sigmoid(logit) - 0.005f)));
  const float inv = 1.0f / sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  const float w = q[0] * inv, x = q[1] * inv, y = q[2] * inv, z = q[3] * inv;
  const float r[9] = {1 - 2 * (y * y + z * z), 2 * (x * y - w * z),     2 * (x * z + w * y),
                      2 * (x * y + w * z),     1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
                      2 * (x * z - w * y),     2 * (y * z + w * x),     1 - 2 * (x * x + y * y)};
  float noise[3], along[3];  // along: variances times R^T noise
  for (int k = 0; k < 3; ++k) noise[k] = normal(hash(key + uint64_t(3 * index + k)));
  for (int k = 0; k < 3; ++k)
    along[k] = exp(2.0f * log_scale[k]) * (r[k] * noise[0] + r[3 + k] * noise[1] + r[6 + k] * noise[2]);
  for (int k = 0; k < 3; ++k)
    mean[k] += factor * (r[3 * k] * along[0] + r[3 * k + 1] * along[1] + r[3 * k + 2] * along[2]);
}

// Adds the slopes of per_scale * (sum of the scales) + per_opacity * opacity.
N3D_HD void add_penalty_slopes(const float* log_scale, float logit, float per_scale, float per_opacity,
                               float* d_log_scale, float* d_logit) {
  const float o = sigmoid(logit);
  *d_logit += per_opacity * o * (1.0f - o);
  for (int k = 0; k < 3; ++k) d_log_scale[k] += per_scale * exp(log_scale[k]);
}

}  // namespace N3D_ISA
}  // namespace n3d
