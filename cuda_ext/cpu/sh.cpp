// View-dependent colours of N Gaussians seen from one point.
#include "driver.h"

namespace n3d {

constexpr int64_t kShGrain = 1024;

template <class S>
static ShArgs<S> sh_args(const Tensor& means, const Tensor& sh, const Tensor& center, int64_t degree,
                         const std::optional<Tensor>& extents) {
  ShArgs<S> a = {};
  a.means = pointer<S>(means), a.sh = pointer<S>(sh), a.center = pointer<S>(center), a.extents = pointer<S>(extents);
  a.coefficients = int(sh.size(1));
  a.degree = int(degree);
  STD_TORCH_CHECK(degree >= 0 && degree <= 3 && (degree + 1) * (degree + 1) <= sh.size(1),
                  "neural3d: degree exceeds sh");
  return a;
}

static Tensor sh_colors(Tensor means, Tensor sh, Tensor center, int64_t degree, std::optional<Tensor> extents) {
  return N3D_FOR_SCALAR(means, S, [&] {
    const int64_t n = means.size(0);
    Tensor colors = fresh({n, 3}, scalar_type<S>());
    ShArgs<S> a = sh_args<S>(means, sh, center, degree, extents);
    a.colors = pointer<S>(colors);
    share(n, kShGrain, [&](int64_t begin, int64_t end) { kernels<S>().sh(a, begin, end); });
    return colors;
  });
}

static std::tuple<Tensor, Tensor> sh_colors_vjp(Tensor means, Tensor sh, Tensor center, int64_t degree,
                                                std::optional<Tensor> extents, Tensor colors, Tensor d_colors) {
  return N3D_FOR_SCALAR(means, S, [&] {
    const int64_t n = means.size(0);
    Tensor d_means = fresh({n, 3}, scalar_type<S>()), d_sh = fresh({n, sh.size(1), 3}, scalar_type<S>());
    ShArgs<S> a = sh_args<S>(means, sh, center, degree, extents);
    a.colors = pointer<S>(colors), a.d_colors = pointer<S>(d_colors);
    a.d_means = pointer<S>(d_means), a.d_sh = pointer<S>(d_sh);
    share(n, kShGrain, [&](int64_t begin, int64_t end) { kernels<S>().sh_vjp(a, begin, end); });
    return std::make_tuple(d_means, d_sh);
  });
}

// The gradient by the coefficients is an outer product of the basis with three pulls, so these are all that is kept.
static std::tuple<Tensor, Tensor> sh_pulls(Tensor means, Tensor sh, Tensor center, int64_t degree,
                                           std::optional<Tensor> extents, Tensor colors, Tensor d_colors) {
  return N3D_FOR_SCALAR(means, S, [&] {
    const int64_t n = means.size(0);
    Tensor d_means = fresh({n, 3}, scalar_type<S>()), pulls = fresh({n, 3}, scalar_type<S>());
    ShArgs<S> a = sh_args<S>(means, sh, center, degree, extents);
    a.colors = pointer<S>(colors), a.d_colors = pointer<S>(d_colors);
    a.d_means = pointer<S>(d_means), a.pulls = pointer<S>(pulls);
    share(n, kShGrain, [&](int64_t begin, int64_t end) { kernels<S>().sh_vjp(a, begin, end); });
    return std::make_tuple(d_means, pulls);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("sh_colors", TORCH_BOX(&n3d::sh_colors));
  m.impl("sh_colors_vjp", TORCH_BOX(&n3d::sh_colors_vjp));
  m.impl("sh_pulls", TORCH_BOX(&n3d::sh_pulls));
}
