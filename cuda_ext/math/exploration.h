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

template <class T>
N3D_HD T sigmoid(const T& x) {
  return T(1.0f) / (T(1.0f) + exp(-x));
}

// Opacity 0.12: above it Gaussians would move by less than 1e-5 of what the faintest do, and stay.
constexpr float kFaintLogit = -2.0f;

// What the hash draws for a Gaussian.
N3D_HD void noise_of(uint64_t key, int64_t index, float* noise) {
  for (int k = 0; k < 3; ++k) noise[k] = normal(hash(key + uint64_t(3 * index + k)));
}

// Adds strength * sigmoid(100 (0.005 - opacity)) * Sigma @ noise to the mean.
template <class T>
N3D_HD void shake_gaussian(const T* q, const T* log_scale, const T& logit, const T& strength, const T* noise, T* mean) {
  const T factor = strength / (T(1.0f) + exp(T(100.0f) * (sigmoid(logit) - T(0.005f))));
  const T inv = T(1.0f) / sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  const T w = q[0] * inv, x = q[1] * inv, y = q[2] * inv, z = q[3] * inv, one(1.0f), two(2.0f);
  const T r[9] = {one - two * (y * y + z * z), two * (x * y - w * z),       two * (x * z + w * y),
                  two * (x * y + w * z),       one - two * (x * x + z * z), two * (y * z - w * x),
                  two * (x * z - w * y),       two * (y * z + w * x),       one - two * (x * x + y * y)};
  T along[3];  // variances times R^T noise
  for (int k = 0; k < 3; ++k)
    along[k] = exp(two * log_scale[k]) * (r[k] * noise[0] + r[3 + k] * noise[1] + r[6 + k] * noise[2]);
  for (int k = 0; k < 3; ++k)
    mean[k] = mean[k] + factor * (r[3 * k] * along[0] + r[3 * k + 1] * along[1] + r[3 * k + 2] * along[2]);
}

// The slopes of per_scale * (sum of the scales) + per_opacity * opacity.
template <class T>
N3D_HD T scale_slope(const T& log_scale, const T& per_scale) {
  return per_scale * exp(log_scale);
}
template <class T>
N3D_HD T opacity_slope(const T& logit, const T& per_opacity) {
  const T o = sigmoid(logit);
  return per_opacity * o * (T(1.0f) - o);
}

}  // namespace N3D_ISA
}  // namespace n3d
