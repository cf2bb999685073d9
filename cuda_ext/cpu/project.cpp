// Projection of N Gaussians through one camera.
#include "driver.h"

namespace n3d {

constexpr int64_t kProjectGrain = 1024;

template <class S>
static ProjectArgs<S> project_args(const Tensor& means, const Tensor& quats, const Tensor& log_scales,
                                   const Tensor& logits, const Tensor& camera, const Tensor& focal,
                                   const Tensor& principal, int64_t width, int64_t height, double near, double blur,
                                   double alpha_min, bool antialiased) {
  ProjectArgs<S> a = {};
  a.means = pointer<S>(means), a.quats = pointer<S>(quats), a.log_scales = pointer<S>(log_scales);
  a.logit_opacities = pointer<S>(logits), a.camera_from_world = pointer<S>(camera);
  a.fx = pointer<S>(focal)[0], a.fy = pointer<S>(focal)[1];
  a.cx = pointer<S>(principal)[0], a.cy = pointer<S>(principal)[1];
  a.near = S(near), a.blur = S(blur), a.alpha_min = S(alpha_min);
  a.width = int(width), a.height = int(height), a.antialiased = antialiased;
  return a;
}

static std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> project(Tensor means, Tensor quats, Tensor log_scales,
                                                                  Tensor logits, Tensor camera, Tensor focal,
                                                                  Tensor principal, int64_t width, int64_t height,
                                                                  double near, double blur, double alpha_min,
                                                                  bool antialiased) {
  return N3D_FOR_SCALAR(means, S, [&] {
    const int64_t n = means.size(0);
    constexpr ScalarType type = scalar_type<S>();
    Tensor means_px = fresh({n, 2}, type), conics = fresh({n, 3}, type), opacities = fresh({n}, type);
    Tensor depths = fresh({n}, type), extents = fresh({n, 2}, type);
    ProjectArgs<S> a = project_args<S>(means, quats, log_scales, logits, camera, focal, principal, width, height, near,
                                       blur, alpha_min, antialiased);
    a.means_px = pointer<S>(means_px), a.conics = pointer<S>(conics), a.opacities = pointer<S>(opacities);
    a.depths = pointer<S>(depths), a.extents = pointer<S>(extents);
    share(n, kProjectGrain, [&](int64_t begin, int64_t end) { kernels<S>().project(a, begin, end); });
    return std::make_tuple(means_px, conics, opacities, depths, extents);
  });
}

static std::tuple<Tensor, Tensor, Tensor, Tensor> project_vjp(
    Tensor means, Tensor quats, Tensor log_scales, Tensor logits, Tensor camera, Tensor focal, Tensor principal,
    int64_t width, int64_t height, double near, double blur, double alpha_min, bool antialiased, Tensor extents,
    Tensor d_means_px, Tensor d_conics, Tensor d_opacities, std::optional<Tensor> d_depths,
    std::optional<Tensor> d_means_more) {
  return N3D_FOR_SCALAR(means, S, [&] {
    const int64_t n = means.size(0);
    constexpr ScalarType type = scalar_type<S>();
    Tensor d_means = fresh({n, 3}, type), d_quats = fresh({n, 4}, type), d_scales = fresh({n, 3}, type);
    Tensor d_logits = fresh({n}, type);
    ProjectArgs<S> a = project_args<S>(means, quats, log_scales, logits, camera, focal, principal, width, height, near,
                                       blur, alpha_min, antialiased);
    a.extents = pointer<S>(extents), a.d_means_px = pointer<S>(d_means_px), a.d_conics = pointer<S>(d_conics);
    a.d_opacities = pointer<S>(d_opacities), a.d_depths = pointer<S>(d_depths);
    a.d_means_more = pointer<S>(d_means_more);
    a.d_means = pointer<S>(d_means), a.d_quats = pointer<S>(d_quats), a.d_log_scales = pointer<S>(d_scales);
    a.d_logit_opacities = pointer<S>(d_logits);
    share(n, kProjectGrain, [&](int64_t begin, int64_t end) { kernels<S>().project_vjp(a, begin, end); });
    return std::make_tuple(d_means, d_quats, d_scales, d_logits);
  });
}

// One thread: comparing 50,000 numbers takes less than waking another. torch's own comparison would, and its thread
// then keeps a core busy waiting for more while this library's threads want it.
static Tensor visible_rows(Tensor extents) {
  return N3D_FOR_SCALAR(extents, S, [&] {
    const int64_t n = extents.size(0);
    Tensor visible = fresh({n}, ScalarType::Bool);
    const S* extent = pointer<S>(extents);
    uint8_t* out = pointer<uint8_t>(visible);
    for (int64_t i = 0; i < n; ++i) out[i] = extent[2 * i] > S(0);
    return visible;
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("project", TORCH_BOX(&n3d::project));
  m.impl("project_vjp", TORCH_BOX(&n3d::project_vjp));
  m.impl("visible_rows", TORCH_BOX(&n3d::visible_rows));
}
