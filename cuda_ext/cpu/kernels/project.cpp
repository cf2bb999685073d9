// Projection of Gaussians, a register of them at a time.
#include "../kernels.h"
#include "../simd.h"
// simd.h's functions must be seen before the formulas that use them.
#include "../../math/projection.h"

namespace n3d {
namespace N3D_ISA {

template <class V>
static ProjectionCamera<V> camera_of(const ProjectArgs<typename V::scalar>& a) {
  using S = typename V::scalar;
  ProjectionCamera<V> c;
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) c.r[3 * i + j] = V(a.camera_from_world[4 * i + j]);
    c.t[i] = V(a.camera_from_world[4 * i + 3]);
  }
  c.fx = V(a.fx), c.fy = V(a.fy), c.cx = V(a.cx), c.cy = V(a.cy);
  c.width = V(S(a.width)), c.height = V(S(a.height));
  c.near = V(a.near), c.blur = V(a.blur), c.alpha_min = V(a.alpha_min);
  c.cut = a.alpha_min > 0;
  c.antialiased = a.antialiased;
  limit_ratios(c);
  return c;
}

template <class V>
static N3D_INLINE GaussianParameters<V> load_gaussians(const ProjectArgs<typename V::scalar>& a, int64_t i, int n) {
  GaussianParameters<V> g;
  for (int k = 0; k < 3; ++k) g.mean[k] = load_rows<V>(a.means + 3 * i + k, 3, n);
  for (int k = 0; k < 4; ++k) g.quat[k] = load_rows<V>(a.quats + 4 * i + k, 4, n);
  for (int k = 0; k < 3; ++k) g.log_scale[k] = load_rows<V>(a.log_scales + 3 * i + k, 3, n);
  g.logit_opacity = load_rows<V>(a.logit_opacities + i, 1, n);
  return g;
}

template <class V>
static void project_rows(const ProjectArgs<typename V::scalar>& a, int64_t begin, int64_t end) {
  const ProjectionCamera<V> camera = camera_of<V>(a);
  for (int64_t i = begin; i < end; i += V::lanes) {
    const int n = end - i < V::lanes ? int(end - i) : V::lanes;
    ProjectedGaussian<V> p;
    project_gaussian(load_gaussians<V>(a, i, n), camera, p);
    for (int k = 0; k < 2; ++k) {
      store_rows(p.mean[k], a.means_px + 2 * i + k, 2, n);
      store_rows(p.extent[k], a.extents + 2 * i + k, 2, n);
    }
    for (int k = 0; k < 3; ++k) store_rows(p.conic[k], a.conics + 3 * i + k, 3, n);
    store_rows(p.opacity, a.opacities + i, 1, n);
    store_rows(p.depth, a.depths + i, 1, n);
  }
}

template <class V>
static void project_rows_vjp(const ProjectArgs<typename V::scalar>& a, int64_t begin, int64_t end) {
  using S = typename V::scalar;
  const ProjectionCamera<V> camera = camera_of<V>(a);
  const V zero(S(0));
  for (int64_t i = begin; i < end; i += V::lanes) {
    const int n = end - i < V::lanes ? int(end - i) : V::lanes;
    const typename V::mask visible = load_rows<V>(a.extents + 2 * i, 2, n) > zero;
    GaussianParameters<V> d_params;
    if (bits(visible)) {
      ProjectedGaussian<V> d;
      for (int k = 0; k < 2; ++k) d.mean[k] = load_rows<V>(a.d_means_px + 2 * i + k, 2, n);
      for (int k = 0; k < 3; ++k) d.conic[k] = load_rows<V>(a.d_conics + 3 * i + k, 3, n);
      d.opacity = load_rows<V>(a.d_opacities + i, 1, n);
      d.depth = a.d_depths ? load_rows<V>(a.d_depths + i, 1, n) : zero;
      d_params = project_gaussian_vjp(load_gaussians<V>(a, i, n), camera, d);
    } else {
      for (int k = 0; k < 4; ++k) d_params.quat[k] = zero;
      for (int k = 0; k < 3; ++k) d_params.mean[k] = d_params.log_scale[k] = zero;
      d_params.logit_opacity = zero;
    }
    for (int k = 0; k < 3; ++k) {
      const V more = a.d_means_more ? load_rows<V>(a.d_means_more + 3 * i + k, 3, n) : zero;
      store_rows(zero_unless(visible, d_params.mean[k]) + more, a.d_means + 3 * i + k, 3, n);
      store_rows(zero_unless(visible, d_params.log_scale[k]), a.d_log_scales + 3 * i + k, 3, n);
    }
    for (int k = 0; k < 4; ++k) store_rows(zero_unless(visible, d_params.quat[k]), a.d_quats + 4 * i + k, 4, n);
    store_rows(zero_unless(visible, d_params.logit_opacity), a.d_logit_opacities + i, 1, n);
  }
}

void project(const ProjectArgs<float>& a, int64_t begin, int64_t end) { project_rows<VectorF>(a, begin, end); }
void project(const ProjectArgs<double>& a, int64_t begin, int64_t end) { project_rows<VectorD>(a, begin, end); }
void project_vjp(const ProjectArgs<float>& a, int64_t begin, int64_t end) { project_rows_vjp<VectorF>(a, begin, end); }
void project_vjp(const ProjectArgs<double>& a, int64_t begin, int64_t end) { project_rows_vjp<VectorD>(a, begin, end); }

}  // namespace N3D_ISA
}  // namespace n3d
