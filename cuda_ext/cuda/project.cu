// Projection of N Gaussians through one camera, a thread for each.
#include "../math/projection.h"
#include "launch.h"

namespace n3d {
namespace {

constexpr int kThreads = 256;

template <class S>
struct Parameters {
  const S *means, *quats, *log_scales, *logit_opacities;  // [N,3] [N,4] [N,3] [N]
  int64_t count;
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

// Gradients of the ellipses and of the parameters.
template <class S>
struct Pulls {
  const S *extents, *means_px, *conics, *opacities, *depths;  // depths may be null
  const S* means_more;                                        // [N,3] what else pulls on the means, or null
  S *means, *quats, *log_scales, *logit_opacities;
};

template <class S>
__device__ scalar::ProjectionCamera<S> load_camera(const Camera<S>& a) {
  scalar::ProjectionCamera<S> c;
#pragma unroll
  for (int i = 0; i < 3; ++i) {
#pragma unroll
    for (int j = 0; j < 3; ++j) c.r[3 * i + j] = __ldg(a.camera_from_world + 4 * i + j);
    c.t[i] = __ldg(a.camera_from_world + 4 * i + 3);
  }
  c.fx = __ldg(a.focal), c.fy = __ldg(a.focal + 1), c.cx = __ldg(a.principal), c.cy = __ldg(a.principal + 1);
  const S margin_x = S(0.3) * S(0.5) * a.width / c.fx, margin_y = S(0.3) * S(0.5) * a.height / c.fy;
  c.x_low = -c.cx / c.fx - margin_x, c.x_high = (a.width - c.cx) / c.fx + margin_x;
  c.y_low = -c.cy / c.fy - margin_y, c.y_high = (a.height - c.cy) / c.fy + margin_y;
  c.width = a.width, c.height = a.height, c.near = a.near, c.blur = a.blur, c.alpha_min = a.alpha_min;
  c.cut = a.alpha_min > S(0);
  c.antialiased = a.antialiased;
  return c;
}

template <class S>
__device__ scalar::GaussianParameters<S> load_gaussian(const Parameters<S>& a, int64_t i) {
  scalar::GaussianParameters<S> g;
#pragma unroll
  for (int k = 0; k < 3; ++k) g.mean[k] = a.means[3 * i + k], g.log_scale[k] = a.log_scales[3 * i + k];
#pragma unroll
  for (int k = 0; k < 4; ++k) g.quat[k] = a.quats[4 * i + k];
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

}  // namespace

template <class S>
static Parameters<S> parameters_of(const OnDevice& on, const Tensor& means, const Tensor& quats, const Tensor& scales,
                                   const Tensor& logits) {
  return {on.pointer<S>(means), on.pointer<S>(quats), on.pointer<S>(scales), on.pointer<S>(logits), means.size(0)};
}

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
    const Camera<S> from{
        on.pointer<S>(camera), on.pointer<S>(focal), on.pointer<S>(principal), S(width), S(height), S(near), S(blur),
        S(alpha_min),          antialiased};
    const Ellipses<S> out{on.pointer<S>(means_px), on.pointer<S>(conics), on.pointer<S>(opacities),
                          on.pointer<S>(depths), on.pointer<S>(extents)};
    N3D_LAUNCH(project_kernel<S>, blocks_for(n, kThreads), kThreads, 0, on.stream(),
               parameters_of<S>(on, means, quats, log_scales, logits), from, out);
    return std::make_tuple(means_px, conics, opacities, depths, extents);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) { m.impl("project", TORCH_BOX(&n3d::project)); }
