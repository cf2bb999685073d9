// Markov-chain densification's penalties and noise, a register of Gaussians at a time.
#include "../kernels.h"
#include "../simd.h"
// simd.h's functions must be seen before the formulas that use them.
#include "../../math/exploration.h"

namespace n3d {
namespace N3D_ISA {

using V = VectorF;

static N3D_INLINE V::mask seen_lanes(const uint8_t* visible, int n) {
  uint8_t lane[V::lanes] = {};
  for (int i = 0; i < n; ++i) lane[i] = visible[i];
  return V::load_bytes(lane) > V(0.0f);
}

void penalties(const PenaltyArgs& a, int64_t begin, int64_t end) {
  const V zero(0.0f), per_scale(a.per_scale), per_opacity(a.per_opacity);
  for (int64_t i = begin; i < end; i += V::lanes) {
    const int n = end - i < V::lanes ? int(end - i) : V::lanes;
    const V::mask seen = seen_lanes(a.visible + i, n);
    if (!bits(seen)) continue;
    for (int k = 0; k < 3; ++k) {
      const V slope = scale_slope(load_rows<V>(a.log_scales + 3 * i + k, 3, n), per_scale);
      float* out = a.d_log_scales + 3 * i + k;
      store_rows(load_rows<V>(out, 3, n) + select(seen, slope, zero), out, 3, n);
    }
    const V slope = opacity_slope(load_rows<V>(a.logits + i, 1, n), per_opacity);
    store_rows(load_rows<V>(a.d_logits + i, 1, n) + select(seen, slope, zero), a.d_logits + i, 1, n);
  }
}

void shake(const ShakeArgs& a, int64_t begin, int64_t end) {
  const V strength(a.strength), faint(kFaintLogit);
  N3D_ALIGN64 float drawn[3][V::lanes] = {};
  for (int64_t i = begin; i < end; i += V::lanes) {
    const int n = end - i < V::lanes ? int(end - i) : V::lanes;
    const V logit = load_rows<V>(a.logits + i, 1, n);
    const V::mask moving = seen_lanes(a.visible + i, n) & (logit <= faint);
    const uint32_t lanes = bits(moving);
    if (!lanes) continue;
    for (int lane = 0; lane < n; ++lane) {
      if (!(lanes >> lane & 1)) continue;
      float noise[3];
      noise_of(a.key, i + lane, noise);
      for (int k = 0; k < 3; ++k) drawn[k][lane] = noise[k];
    }
    V quat[4], log_scale[3], noise[3], mean[3], moved[3];
    for (int k = 0; k < 4; ++k) quat[k] = load_rows<V>(a.quats + 4 * i + k, 4, n);
    for (int k = 0; k < 3; ++k) {
      log_scale[k] = load_rows<V>(a.log_scales + 3 * i + k, 3, n);
      mean[k] = moved[k] = load_rows<V>(a.means + 3 * i + k, 3, n);
      noise[k] = V::load(drawn[k]);
    }
    shake_gaussian(quat, log_scale, logit, strength, noise, moved);
    for (int k = 0; k < 3; ++k) store_rows(select(moving, moved[k], mean[k]), a.means + 3 * i + k, 3, n);
  }
}

}  // namespace N3D_ISA
}  // namespace n3d
