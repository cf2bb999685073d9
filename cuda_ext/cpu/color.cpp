// Affine colour of one image. Its gradient is a sum over all pixels, taken in fixed blocks so that the number of
// threads does not change a bit of it.
#include "driver.h"

namespace n3d {

constexpr int64_t kColorBlock = 4096;  // pixels

template <class S>
static ColorArgs<S> color_args(const Tensor& image, const Tensor& matrix) {
  ColorArgs<S> a = {};
  a.image = pointer<S>(image), a.matrix = pointer<S>(matrix);
  a.plane = image.size(1) * image.size(2);
  return a;
}

static Tensor color_affine(Tensor image, Tensor matrix) {
  return N3D_FOR_SCALAR(image, S, [&] {
    Tensor out = fresh({3, image.size(1), image.size(2)}, scalar_type<S>());
    ColorArgs<S> a = color_args<S>(image, matrix);
    a.out = pointer<S>(out);
    share(a.plane, kColorBlock, [&](int64_t begin, int64_t end) { kernels<S>().color_affine(a, begin, end); });
    return out;
  });
}

static std::tuple<Tensor, Tensor> color_affine_vjp(Tensor image, Tensor matrix, Tensor grad) {
  return N3D_FOR_SCALAR(image, S, [&] {
    Tensor d_image = fresh({3, image.size(1), image.size(2)}, scalar_type<S>()),
           d_matrix = fresh({3, 4}, scalar_type<S>());
    ColorArgs<S> a = color_args<S>(image, matrix);
    a.d_out = pointer<S>(grad), a.d_image = pointer<S>(d_image);
    const int64_t blocks = (a.plane + kColorBlock - 1) / kColorBlock;
    std::vector<double> sums(size_t(blocks * kColorMatrix), 0.0);
    share(a.plane, kColorBlock, [&](int64_t begin, int64_t end) {
      kernels<S>().color_affine_vjp(a, begin, end, sums.data() + begin / kColorBlock * kColorMatrix);
    });
    for (int k = 0; k < kColorMatrix; ++k) {
      double total = 0;
      for (int64_t b = 0; b < blocks; ++b) total += sums[size_t(b * kColorMatrix + k)];
      pointer<S>(d_matrix)[k] = S(total);
    }
    return std::make_tuple(d_image, d_matrix);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("color_affine", TORCH_BOX(&n3d::color_affine));
  m.impl("color_affine_vjp", TORCH_BOX(&n3d::color_affine_vjp));
}
