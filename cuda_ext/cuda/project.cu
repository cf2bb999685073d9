// Projection of N Gaussians through one camera, a thread for each.
#include "../math/projection.h"
#include "launch.h"
#include "rows.h"

namespace n3d {
namespace {

constexpr int kThreads = 256;

template <class S>
struct Parameters {
  const S *means, *quats, *log_scales, *logit_opacities;  // [N,3] [N,4] [N,3] [N]
  int64_t count;
  bool aligned;  // the quaternions
};

// The camera lies on the device, and the host never waits for it: each thread works its bounds out.
template <class S>
struct Camera {
  const S *camera_from_world, *focal, *principal;  // [4,4] [2] [2]
  S width, height, near, blur, alpha_min;
  bool antialiased;
};

template <class S>
struct Ellipses {
  S *means, *conics, *opacities, *depths, *extents;  // [N,2] [N,3] [N] [N] [N,2]
};

// Gradients of the ellipses, and what becomes of them: gradients of the parameters.
template <class S>
struct Pulls {
  const S *extents, *means_px, *conics, *opacities;
  const S *depths, *means_more;  // [N] [N,3] what else pulls on the means; both may be null
  S *means, *quats, *log_scales, *logit_opacities;
};

template <class S>
__device__ __forceinline__ scalar::ProjectionCamera<S> load_camera(const Camera<S>& a) {
  scalar::ProjectionCamera<S> c;
#pragma unroll
  for (int i = 0; i < 3; ++i) {
#pragma unroll
    for (int j = 0; j < 3; ++j) c.r[3 * i + j] = __ldg(a.camera_from_world + 4 * i + j);
    c.t[i] = __ldg(a.camera_from_world + 4 * i + 3);
  }
  c.fx = __ldg(a.focal), c.fy = __ldg(a.focal + 1), c.cx = __ldg(a.principal), c.cy = __ldg(a.principal + 1);
  c.width = a.width, c.height = a.height, c.near = a.near, c.blur = a.blur, c.alpha_min = a.alpha_min;
  c.cut = a.alpha_min > S(0);
  c.antialiased = a.antialiased;
  scalar::limit_ratios(c);
  return c;
}

template <class S>
__device__ __forceinline__ scalar::GaussianParameters<S> load_gaussian(const Parameters<S>& a, int64_t i) {
  scalar::GaussianParameters<S> g;
#pragma unroll
  for (int k = 0; k < 3; ++k) g.mean[k] = a.means[3 * i + k], g.log_scale[k] = a.log_scales[3 * i + k];
  load_row<4>(a.quats + 4 * i, a.aligned, g.quat);
  g.logit_opacity = a.logit_opacities[i];
  return g;
}

template <class S>
__global__ void __launch_bounds__(kThreads) project_kernel(Parameters<S> a, Camera<S> camera, Ellipses<S> out) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= a.count) return;
  scalar::ProjectedGaussian<S> p;
  scalar::project_gaussian(load_gaussian(a, i), load_camera(camera), p);
#pragma unroll
  for (int k = 0; k < 2; ++k) out.means[2 * i + k] = p.mean[k], out.extents[2 * i + k] = p.extent[k];
#pragma unroll
  for (int k = 0; k < 3; ++k) out.conics[3 * i + k] = p.conic[k];
  out.opacities[i] = p.opacity;
  out.depths[i] = p.depth;
}

template <class S>
__device__ __forceinline__ scalar::GaussianParameters<S> pull_gaussian(const Parameters<S>& a, const Camera<S>& camera,
                                                                       const Pulls<S>& pulls, int64_t i) {
  scalar::ProjectedGaussian<S> d;
#pragma unroll
  for (int k = 0; k < 2; ++k) d.mean[k] = pulls.means_px[2 * i + k], d.extent[k] = S(0);
#pragma unroll
  for (int k = 0; k < 3; ++k) d.conic[k] = pulls.conics[3 * i + k];
  d.opacity = pulls.opacities[i];
  d.depth = pulls.depths ? pulls.depths[i] : S(0);
  return scalar::project_gaussian_vjp(load_gaussian(a, i), load_camera(camera), d);
}

template <class S>
__global__ void __launch_bounds__(kThreads) project_vjp_kernel(Parameters<S> a, Camera<S> camera, Pulls<S> pulls) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= a.count) return;
  scalar::GaussianParameters<S> d = {};
  if (pulls.extents[2 * i] > S(0)) d = pull_gaussian(a, camera, pulls, i);
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    pulls.means[3 * i + k] = d.mean[k] + (pulls.means_more ? pulls.means_more[3 * i + k] : S(0));
    pulls.log_scales[3 * i + k] = d.log_scale[k];
  }
  store_row<4>(pulls.quats + 4 * i, true, d.quat);
  pulls.logit_opacities[i] = d.logit_opacity;
}

template <class S>
__global__ void __launch_bounds__(kThreads) visible_kernel(const S* extents, int64_t count, uint8_t* visible) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) visible[i] = extents[2 * i] > S(0);
}

template <class S>
Parameters<S> parameters_of(const OnDevice& on, const Tensor& means, const Tensor& quats, const Tensor& scales,
                            const Tensor& logits) {
  const S* q = on.pointer<S>(quats);
  return {on.pointer<S>(means), q, on.pointer<S>(scales), on.pointer<S>(logits), means.size(0), aligned16(q)};
}

template <class S>
Camera<S> camera_of(const OnDevice& on, const Tensor& camera, const Tensor& focal, const Tensor& principal,
                    int64_t width, int64_t height, double near, double blur, double alpha_min, bool antialiased) {
  return {on.pointer<S>(camera), on.pointer<S>(focal), on.pointer<S>(principal), S(width), S(height), S(near), S(blur),
          S(alpha_min),          antialiased};
}

}  // namespace

static std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> project(Tensor means, Tensor quats, Tensor log_scales,
                                                                  Tensor logits, Tensor camera, Tensor focal,
                                                                  Tensor principal, int64_t width, int64_t height,
                                                                  double near, double blur, double alpha_min,
                                                                  bool antialiased) {
  return N3D_FOR_SCALAR(means, S, [&] {
    const OnDevice on(means);
    const int64_t n = means.size(0);
    constexpr ScalarType type = scalar_type<S>();
    Tensor means_px = on.fresh({n, 2}, type), conics = on.fresh({n, 3}, type), opacities = on.fresh({n}, type);
    Tensor depths = on.fresh({n}, type), extents = on.fresh({n, 2}, type);
    const Ellipses<S> out{on.pointer<S>(means_px), on.pointer<S>(conics), on.pointer<S>(opacities),
                          on.pointer<S>(depths), on.pointer<S>(extents)};
    N3D_LAUNCH(project_kernel<S>, blocks_for(n, kThreads), kThreads, 0, on.stream(),
               parameters_of<S>(on, means, quats, log_scales, logits),
               camera_of<S>(on, camera, focal, principal, width, height, near, blur, alpha_min, antialiased), out);
    return std::make_tuple(means_px, conics, opacities, depths, extents);
  });
}

static std::tuple<Tensor, Tensor, Tensor, Tensor> project_vjp(
    Tensor means, Tensor quats, Tensor log_scales, Tensor logits, Tensor camera, Tensor focal, Tensor principal,
    int64_t width, int64_t height, double near, double blur, double alpha_min, bool antialiased, Tensor extents,
    Tensor d_means_px, Tensor d_conics, Tensor d_opacities, std::optional<Tensor> d_depths,
    std::optional<Tensor> d_means_more) {
  return N3D_FOR_SCALAR(means, S, [&] {
    const OnDevice on(means);
    const int64_t n = means.size(0);
    constexpr ScalarType type = scalar_type<S>();
    Tensor d_means = on.fresh({n, 3}, type), d_quats = on.fresh({n, 4}, type), d_scales = on.fresh({n, 3}, type);
    Tensor d_logits = on.fresh({n}, type);
    const Pulls<S> pulls{on.pointer<S>(extents),     on.pointer<S>(d_means_px), on.pointer<S>(d_conics),
                         on.pointer<S>(d_opacities), on.pointer<S>(d_depths),   on.pointer<S>(d_means_more),
                         on.pointer<S>(d_means),     on.pointer<S>(d_quats),    on.pointer<S>(d_scales),
                         on.pointer<S>(d_logits)};
    N3D_LAUNCH(project_vjp_kernel<S>, blocks_for(n, kThreads), kThreads, 0, on.stream(),
               parameters_of<S>(on, means, quats, log_scales, logits),
               camera_of<S>(on, camera, focal, principal, width, height, near, blur, alpha_min, antialiased), pulls);
    return std::make_tuple(d_means, d_quats, d_scales, d_logits);
  });
}

static Tensor visible_rows(Tensor extents) {
  return N3D_FOR_SCALAR(extents, S, [&] {
    const OnDevice on(extents);
    const int64_t n = extents.size(0);
    Tensor visible = on.fresh({n}, ScalarType::Bool);
    N3D_LAUNCH(visible_kernel<S>, blocks_for(n, kThreads), kThreads, 0, on.stream(), on.pointer<S>(extents), n,
               on.pointer<uint8_t>(visible));
    return visible;
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("project", TORCH_BOX(&n3d::project));
  m.impl("project_vjp", TORCH_BOX(&n3d::project_vjp));
  m.impl("visible_rows", TORCH_BOX(&n3d::visible_rows));
}
