// Samples of one ray to what the ray sees, front to back.
//
// With x_i = density_i delta_i:  T_0 = 1,  T_{i+1} = T_i exp(-x_i),  w_i = T_i - T_{i+1}, and
//   C = sum w_i c_i,  A = sum w_i,  D = sum w_i t_i,
//   L = sum_ij w_i w_j |t_i - t_j| + 1/3 sum w_i^2 delta_i = 2 sum_i w_i (t_i W_i - M_i) + 1/3 sum w_i^2 delta_i
// with W_i, M_i the sums of w_j, w_j t_j over j < i (t ascends). With q_i the gradient by w_i, of which L's part is
//   dL/dw_i = 2 (t_i W_i - M_i + (M - M_{i+1}) - t_i (W - W_{i+1})) + 2/3 w_i delta_i,
// d x_i = T_{i+1} q_i - sum_{j>i} w_j q_j. L is quadratic in w, hence sum w_j dL/dw_j = 2 L: two passes are enough.
//
// Source: Mildenhall et al. 2020, NeRF, eq. 3; Barron et al. 2022, Mip-NeRF 360, eq. 15; Sun et al. 2022, Improved
// Direct Voxel Grid Optimization, section 3.1 (the sums in linear time).
#pragma once

#include "scalar.h"

namespace n3d {
namespace N3D_ISA {

template <class S>
struct RaySamples {
  const S *densities, *colors, *ts, *deltas;  // of the ray's first sample; colours three each
  int count;
};

// Of a ray, or the gradients by these.
template <class S>
struct RayView {
  S color[3], alpha, depth, distortion;
};

// A walk along the ray: the state before the next sample.
template <class S>
struct RayWalk {
  S transmittance, weights, moments;    // T_i, W_i, M_i
  N3D_HD S enter(S density, S delta) {  // w_i; the transmittance becomes that behind the sample
    const S before = transmittance;
    transmittance = before * exp(-density * delta);
    return before - transmittance;
  }
  N3D_HD void leave(S weight, S t) { weights += weight, moments += weight * t; }
};

// A ray ends at the first sample that less than `transmittance_min` of the light would reach.
template <class S>
N3D_HD RayView<S> composite_ray(const RaySamples<S>& ray, S transmittance_min) {
  RayView<S> view = {};
  RayWalk<S> walk = {S(1), S(0), S(0)};
  for (int i = 0; i < ray.count && walk.transmittance >= transmittance_min; ++i) {
    const S t = ray.ts[i], delta = ray.deltas[i], w = walk.enter(ray.densities[i], delta);
    for (int c = 0; c < 3; ++c) view.color[c] += w * ray.colors[3 * i + c];
    view.distortion += S(2) * w * (t * walk.weights - walk.moments) + w * w * delta * S(1.0 / 3);
    walk.leave(w, t);
  }
  view.alpha = walk.weights, view.depth = walk.moments;
  return view;
}

// The gradient by a sample's weight but for the distortion's part.
template <class S>
N3D_HD S weight_pull(const RaySamples<S>& ray, int i, const RayView<S>& pull) {
  const S* c = ray.colors + 3 * i;
  return pull.color[0] * c[0] + pull.color[1] * c[1] + pull.color[2] * c[2] + pull.alpha + pull.depth * ray.ts[i];
}

template <class S>
N3D_HD void composite_ray_vjp(const RaySamples<S>& ray, S transmittance_min, const RayView<S>& pull, S* d_densities,
                              S* d_colors) {
  const RayView<S> view = composite_ray(ray, transmittance_min);
  // sum w_j q_j over the samples that are not behind the ray's end.
  S behind = pull.color[0] * view.color[0] + pull.color[1] * view.color[1] + pull.color[2] * view.color[2] +
             pull.alpha * view.alpha + pull.depth * view.depth + S(2) * pull.distortion * view.distortion;
  RayWalk<S> walk = {S(1), S(0), S(0)};
  for (int i = 0; i < ray.count; ++i) {
    const bool reached = walk.transmittance >= transmittance_min;
    const S t = ray.ts[i], delta = ray.deltas[i];
    const S w = reached ? walk.enter(ray.densities[i], delta) : S(0);
    const S before = t * walk.weights - walk.moments;
    walk.leave(w, t);
    const S after = view.depth - walk.moments - t * (view.alpha - walk.weights);
    const S q = weight_pull(ray, i, pull) + pull.distortion * (S(2) * (before + after) + w * delta * S(2.0 / 3));
    behind -= w * q;
    d_densities[i] = reached ? delta * (walk.transmittance * q - behind) : S(0);
    for (int c = 0; c < 3; ++c) d_colors[3 * i + c] = w * pull.color[c];
  }
}

}  // namespace N3D_ISA
}  // namespace n3d
