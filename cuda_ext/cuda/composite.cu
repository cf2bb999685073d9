// Samples to what their rays see: a thread for each ray.
#include "../math/composite.h"
#include "launch.h"

namespace n3d {
namespace {

constexpr int kThreads = 128;

template <class S>
struct Packed {
  const S *densities, *colors, *ts, *deltas;  // [S] [S,3] [S] [S]
  const int32_t* offsets;                     // [R + 1]
  int64_t rays;
  S transmittance_min;

  __device__ __forceinline__ scalar::RaySamples<S> ray(int64_t r) const {
    const int64_t first = offsets[r];
    return {densities + first, colors + 3 * first, ts + first, deltas + first, int(offsets[r + 1] - first)};
  }
};

// What rays see, or the gradients by it.
template <class S>
struct Views {
  S *colors, *alphas, *depths, *distortions;  // [R,3] [R] [R] [R]
};

template <class S>
__global__ void __launch_bounds__(kThreads) composite_kernel(Packed<S> p, Views<S> to) {
  const int64_t r = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (r >= p.rays) return;
  const scalar::RayView<S> view = scalar::composite_ray(p.ray(r), p.transmittance_min);
#pragma unroll
  for (int c = 0; c < 3; ++c) to.colors[3 * r + c] = view.color[c];
  to.alphas[r] = view.alpha, to.depths[r] = view.depth, to.distortions[r] = view.distortion;
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    composite_vjp_kernel(Packed<S> p, Views<S> pulls, S* d_densities, S* d_colors) {
  const int64_t r = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (r >= p.rays) return;
  const S* color = pulls.colors + 3 * r;
  const scalar::RayView<S> pull = {
      {color[0], color[1], color[2]}, pulls.alphas[r], pulls.depths[r], pulls.distortions[r]};
  const int64_t first = p.offsets[r];
  scalar::composite_ray_vjp(p.ray(r), p.transmittance_min, pull, d_densities + first, d_colors + 3 * first);
}

// The offsets lie on the device, so the sizes alone are checked.
template <class S>
Packed<S> packed(const OnDevice& on, const Tensor& densities, const Tensor& colors, const Tensor& ts,
                 const Tensor& deltas, const Tensor& offsets, double transmittance_min) {
  const int64_t samples = densities.numel();
  STD_TORCH_CHECK(colors.numel() == 3 * samples && ts.numel() == samples && deltas.numel() == samples,
                  "neural3d: colours, distances and lengths are as many as densities");
  STD_TORCH_CHECK(offsets.numel() >= 1, "neural3d: the rays' offsets are one more than rays");
  Packed<S> p = {};
  p.densities = on.pointer<S>(densities), p.colors = on.pointer<S>(colors);
  p.ts = on.pointer<S>(ts), p.deltas = on.pointer<S>(deltas);
  p.offsets = on.pointer<int32_t>(offsets), p.rays = offsets.numel() - 1;
  p.transmittance_min = S(transmittance_min);
  return p;
}

template <class S>
Views<S> views(const OnDevice& on, const Tensor& colors, const Tensor& alphas, const Tensor& depths,
               const Tensor& distortions) {
  return {on.pointer<S>(colors), on.pointer<S>(alphas), on.pointer<S>(depths), on.pointer<S>(distortions)};
}

}  // namespace

static std::tuple<Tensor, Tensor, Tensor, Tensor> composite(Tensor densities, Tensor colors, Tensor ts, Tensor deltas,
                                                            Tensor offsets, double transmittance_min) {
  return N3D_FOR_SCALAR(densities, S, [&] {
    const OnDevice on(densities);
    const auto p = packed<S>(on, densities, colors, ts, deltas, offsets, transmittance_min);
    Tensor seen = on.fresh({p.rays, 3}, scalar_type<S>()), alphas = on.fresh({p.rays}, scalar_type<S>());
    Tensor depths = on.fresh({p.rays}, scalar_type<S>()), distortions = on.fresh({p.rays}, scalar_type<S>());
    N3D_LAUNCH(composite_kernel<S>, blocks_for(p.rays, kThreads), kThreads, 0, on.stream(), p,
               views<S>(on, seen, alphas, depths, distortions));
    return std::make_tuple(seen, alphas, depths, distortions);
  });
}

static std::tuple<Tensor, Tensor> composite_vjp(Tensor densities, Tensor colors, Tensor ts, Tensor deltas,
                                                Tensor offsets, double transmittance_min, Tensor d_seen,
                                                Tensor d_alphas, Tensor d_depths, Tensor d_distortions) {
  return N3D_FOR_SCALAR(densities, S, [&] {
    const OnDevice on(densities);
    const auto p = packed<S>(on, densities, colors, ts, deltas, offsets, transmittance_min);
    STD_TORCH_CHECK(d_seen.numel() == 3 * p.rays && d_alphas.numel() == p.rays && d_depths.numel() == p.rays &&
                        d_distortions.numel() == p.rays,
                    "neural3d: gradients are as many as rays");
    Tensor d_densities = on.fresh({densities.numel()}, scalar_type<S>());
    Tensor d_colors = on.fresh({densities.numel(), 3}, scalar_type<S>());
    N3D_LAUNCH(composite_vjp_kernel<S>, blocks_for(p.rays, kThreads), kThreads, 0, on.stream(), p,
               views<S>(on, d_seen, d_alphas, d_depths, d_distortions), on.pointer<S>(d_densities),
               on.pointer<S>(d_colors));
    return std::make_tuple(d_densities, d_colors);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("composite", TORCH_BOX(&n3d::composite));
  m.impl("composite_vjp", TORCH_BOX(&n3d::composite_vjp));
}
