// Where along rays to look closely, and how wrong the guess was: a thread for each ray, its work space in memory.
#include "../math/proposal.h"
#include "launch.h"

namespace n3d {
namespace {

constexpr int kThreads = 128;

template <class S>
struct Guesses {
  const S *features, *edges;  // [R, P, L], [R, P + 1]
  int64_t rays;
  int count, levels;
  scalar::RayScale<S> scale;
  S* work;  // [rows of P + 1 numbers, R]

  __device__ __forceinline__ scalar::Guess<S> ray(int64_t r) const {
    return {features + r * count * levels, edges + r * (count + 1), count, levels};
  }
  __device__ __forceinline__ S* space(int64_t r, int rows) const { return work + r * rows * (count + 1); }
};

template <class S>
struct Fine {
  const S *densities, *edges;  // [R, N], [R, N + 1]
  int count;
};

template <class S>
__global__ void __launch_bounds__(kThreads)
    proposal_edges_kernel(Guesses<S> g, const S* offsets, int count, S uniform, S* fine) {
  const int64_t r = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (r >= g.rays) return;
  scalar::proposal_ray(g.ray(r), g.scale, offsets[r], count, uniform, g.space(r, 1), fine + r * (count + 1));
}

template <class S>
__global__ void __launch_bounds__(kThreads) interlevel_kernel(Guesses<S> g, Fine<S> fine, S* losses) {
  const int64_t r = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (r >= g.rays) return;
  losses[r] = scalar::interlevel_ray(g.ray(r), g.scale, fine.densities + r * fine.count,
                                     fine.edges + r * (fine.count + 1), fine.count, g.space(r, 1));
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    interlevel_vjp_kernel(Guesses<S> g, Fine<S> fine, const S* pulls, S* d_features) {
  const int64_t r = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (r >= g.rays) return;
  S* work = g.space(r, 2);
  scalar::interlevel_ray_vjp(g.ray(r), g.scale, fine.densities + r * fine.count, fine.edges + r * (fine.count + 1),
                             fine.count, pulls[r], work, work + g.count + 1, d_features + r * g.count * g.levels);
}

template <class S>
Guesses<S> guesses(const OnDevice& on, const Tensor& features, const Tensor& edges, double near, double knee,
                   double far) {
  STD_TORCH_CHECK(features.dim() == 3 && features.size(1) >= 1 && edges.dim() == 2 &&
                      edges.size(0) == features.size(0) && edges.size(1) == features.size(1) + 1,
                  "neural3d: features are [R, P, L], edges [R, P + 1]");
  return {on.pointer<S>(features), on.pointer<S>(edges),       features.size(0), int(features.size(1)),
          int(features.size(2)),   {S(near), S(knee), S(far)}, nullptr};
}

template <class S>
Fine<S> fine_of(const OnDevice& on, const Guesses<S>& g, const Tensor& densities, const Tensor& edges) {
  STD_TORCH_CHECK(densities.dim() == 2 && densities.size(0) == g.rays && edges.numel() == densities.numel() + g.rays,
                  "neural3d: fine densities are [R, N], their edges [R, N + 1]");
  return {on.pointer<S>(densities), on.pointer<S>(edges), int(densities.size(1))};
}

}  // namespace

static Tensor proposal_edges(Tensor features, Tensor edges, Tensor offsets, double near, double knee, double far,
                             int64_t count, double uniform) {
  return N3D_FOR_SCALAR(features, S, [&] {
    const OnDevice on(features);
    auto g = guesses<S>(on, features, edges, near, knee, far);
    STD_TORCH_CHECK(offsets.numel() == g.rays && count >= 1, "neural3d: one offset a ray, and at least one interval");
    Tensor work = on.fresh({g.rays, g.count + 1}, scalar_type<S>());
    Tensor out = on.fresh({g.rays, count + 1}, scalar_type<S>());
    g.work = on.pointer<S>(work);
    N3D_LAUNCH(proposal_edges_kernel<S>, blocks_for(g.rays, kThreads), kThreads, 0, on.stream(), g,
               on.pointer<S>(offsets), int(count), S(uniform), on.pointer<S>(out));
    return out;
  });
}

static Tensor interlevel(Tensor features, Tensor edges, Tensor densities, Tensor fine_edges, double near, double knee,
                         double far) {
  return N3D_FOR_SCALAR(features, S, [&] {
    const OnDevice on(features);
    auto g = guesses<S>(on, features, edges, near, knee, far);
    const auto fine = fine_of<S>(on, g, densities, fine_edges);
    Tensor work = on.fresh({g.rays, g.count + 1}, scalar_type<S>()), losses = on.fresh({g.rays}, scalar_type<S>());
    g.work = on.pointer<S>(work);
    N3D_LAUNCH(interlevel_kernel<S>, blocks_for(g.rays, kThreads), kThreads, 0, on.stream(), g, fine,
               on.pointer<S>(losses));
    return losses;
  });
}

static Tensor interlevel_vjp(Tensor features, Tensor edges, Tensor densities, Tensor fine_edges, double near,
                             double knee, double far, Tensor grad) {
  return N3D_FOR_SCALAR(features, S, [&] {
    const OnDevice on(features);
    auto g = guesses<S>(on, features, edges, near, knee, far);
    const auto fine = fine_of<S>(on, g, densities, fine_edges);
    STD_TORCH_CHECK(grad.numel() == g.rays, "neural3d: gradients are as many as rays");
    Tensor work = on.fresh({g.rays, 2, g.count + 1}, scalar_type<S>());
    Tensor out = on.fresh({g.rays, g.count, g.levels}, scalar_type<S>());
    g.work = on.pointer<S>(work);
    N3D_LAUNCH(interlevel_vjp_kernel<S>, blocks_for(g.rays, kThreads), kThreads, 0, on.stream(), g, fine,
               on.pointer<S>(grad), on.pointer<S>(out));
    return out;
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("proposal_edges", TORCH_BOX(&n3d::proposal_edges));
  m.impl("interlevel", TORCH_BOX(&n3d::interlevel));
  m.impl("interlevel_vjp", TORCH_BOX(&n3d::interlevel_vjp));
}
