// Samples to what their rays see. Rays share nothing, and a step has few thousand samples for each core: plain loops.
#include "driver.h"
// After driver.h, whose kernels.h declares no loops for the instruction set "scalar".
#include "../math/composite.h"

namespace n3d {
namespace {

constexpr int64_t kRayGrain = 64;

template <class S>
struct Packed {
  const S *densities, *colors, *ts, *deltas;  // [S] [S,3] [S] [S]
  const int32_t* offsets;                     // [R + 1]
  int64_t rays;
  S transmittance_min;

  scalar::RaySamples<S> ray(int64_t r) const {
    const int64_t first = offsets[r];
    return {densities + first, colors + 3 * first, ts + first, deltas + first, int(offsets[r + 1] - first)};
  }
};

template <class S>
Packed<S> packed(const Tensor& densities, const Tensor& colors, const Tensor& ts, const Tensor& deltas,
                 const Tensor& offsets, double transmittance_min) {
  const int64_t samples = densities.numel();
  STD_TORCH_CHECK(colors.numel() == 3 * samples && ts.numel() == samples && deltas.numel() == samples,
                  "neural3d: colours, distances and lengths are as many as densities");
  Packed<S> p = {};
  p.densities = pointer<S>(densities), p.colors = pointer<S>(colors);
  p.ts = pointer<S>(ts), p.deltas = pointer<S>(deltas);
  p.offsets = pointer<int32_t>(offsets), p.rays = offsets.numel() - 1;
  p.transmittance_min = S(transmittance_min);
  STD_TORCH_CHECK(p.rays >= 0 && p.offsets[0] == 0 && p.offsets[p.rays] == samples,
                  "neural3d: the rays' offsets begin at 0 and end at the number of samples");
  for (int64_t r = 0; r < p.rays; ++r)
    STD_TORCH_CHECK(p.offsets[r] <= p.offsets[r + 1], "neural3d: the rays' offsets descend");
  return p;
}

}  // namespace

static std::tuple<Tensor, Tensor, Tensor, Tensor> composite(Tensor densities, Tensor colors, Tensor ts, Tensor deltas,
                                                            Tensor offsets, double transmittance_min) {
  return N3D_FOR_SCALAR(densities, S, [&] {
    const auto p = packed<S>(densities, colors, ts, deltas, offsets, transmittance_min);
    Tensor seen = fresh({p.rays, 3}, scalar_type<S>()), alphas = fresh({p.rays}, scalar_type<S>());
    Tensor depths = fresh({p.rays}, scalar_type<S>()), distortions = fresh({p.rays}, scalar_type<S>());
    S *color = pointer<S>(seen), *alpha = pointer<S>(alphas), *depth = pointer<S>(depths);
    S* distortion = pointer<S>(distortions);
    share(p.rays, kRayGrain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const auto view = scalar::composite_ray(p.ray(r), p.transmittance_min);
        for (int c = 0; c < 3; ++c) color[3 * r + c] = view.color[c];
        alpha[r] = view.alpha, depth[r] = view.depth, distortion[r] = view.distortion;
      }
    });
    return std::make_tuple(seen, alphas, depths, distortions);
  });
}

static std::tuple<Tensor, Tensor> composite_vjp(Tensor densities, Tensor colors, Tensor ts, Tensor deltas,
                                                Tensor offsets, double transmittance_min, Tensor d_seen,
                                                Tensor d_alphas, Tensor d_depths, Tensor d_distortions) {
  return N3D_FOR_SCALAR(densities, S, [&] {
    const auto p = packed<S>(densities, colors, ts, deltas, offsets, transmittance_min);
    STD_TORCH_CHECK(d_seen.numel() == 3 * p.rays && d_alphas.numel() == p.rays && d_depths.numel() == p.rays &&
                        d_distortions.numel() == p.rays,
                    "neural3d: gradients are as many as rays");
    const S *color = pointer<S>(d_seen), *alpha = pointer<S>(d_alphas), *depth = pointer<S>(d_depths);
    const S* distortion = pointer<S>(d_distortions);
    Tensor d_densities = fresh({densities.numel()}, scalar_type<S>());
    Tensor d_colors = fresh({densities.numel(), 3}, scalar_type<S>());
    S *to_density = pointer<S>(d_densities), *to_color = pointer<S>(d_colors);
    share(p.rays, kRayGrain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const scalar::RayView<S> pull = {
            {color[3 * r], color[3 * r + 1], color[3 * r + 2]}, alpha[r], depth[r], distortion[r]};
        scalar::composite_ray_vjp(p.ray(r), p.transmittance_min, pull, to_density + p.offsets[r],
                                  to_color + 3 * int64_t(p.offsets[r]));
      }
    });
    return std::make_tuple(d_densities, d_colors);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("composite", TORCH_BOX(&n3d::composite));
  m.impl("composite_vjp", TORCH_BOX(&n3d::composite_vjp));
}
