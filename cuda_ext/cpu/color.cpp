// Affine colour of one image. Its gradient is a sum over all pixels, taken in fixed blocks so that the number of
// threads does not change a bit of it.
#include "driver.h"

namespace n3d {

constexpr int64_t kColorBlock = 4096;  // pixels

static Tensor color_affine(Tensor image, Tensor matrix) {
  return N3D_FOR_SCALAR(image, S, [&] {
    const int64_t plane = image.size(1) * image.size(2);
    Tensor out = fresh({3, image.size(1), image.size(2)}, scalar_type<S>());
    const S *x = pointer<S>(image), *m = pointer<S>(matrix);
    S* y = pointer<S>(out);
    share(plane, kColorBlock, [&](int64_t begin, int64_t end) {
      for (int c = 0; c < 3; ++c)
        for (int64_t i = begin; i < end; ++i)
          y[c * plane + i] =
              m[4 * c] * x[i] + m[4 * c + 1] * x[plane + i] + m[4 * c + 2] * x[2 * plane + i] + m[4 * c + 3];
    });
    return out;
  });
}

static std::tuple<Tensor, Tensor> color_affine_vjp(Tensor image, Tensor matrix, Tensor grad) {
  return N3D_FOR_SCALAR(image, S, [&] {
    constexpr int lanes = 16;  // partial sums: a fixed order that the compiler can keep in registers
    const int64_t plane = image.size(1) * image.size(2), blocks = (plane + kColorBlock - 1) / kColorBlock;
    Tensor d_image = fresh({3, image.size(1), image.size(2)}, scalar_type<S>()),
           d_matrix = fresh({3, 4}, scalar_type<S>());
    const S *x = pointer<S>(image), *m = pointer<S>(matrix), *g = pointer<S>(grad);
    S* dx = pointer<S>(d_image);
    std::vector<double> sums(size_t(blocks * 12), 0.0);
    share(plane, kColorBlock, [&](int64_t begin, int64_t end) {
      for (int k = 0; k < 3; ++k)
        for (int64_t i = begin; i < end; ++i)
          dx[k * plane + i] = m[k] * g[i] + m[4 + k] * g[plane + i] + m[8 + k] * g[2 * plane + i];
      double* sum = sums.data() + begin / kColorBlock * 12;
      for (int c = 0; c < 3; ++c)
        for (int k = 0; k < 4; ++k) {
          const S *gc = g + c * plane, *xk = x + k * plane;  // k = 3: the offset, whose factor is 1
          S partial[lanes] = {};
          int64_t i = begin;
          for (; i + lanes <= end; i += lanes)
            for (int j = 0; j < lanes; ++j) partial[j] += gc[i + j] * (k < 3 ? xk[i + j] : S(1));
          for (int j = 0; i < end; ++i, ++j) partial[j] += gc[i] * (k < 3 ? xk[i] : S(1));
          for (S p : partial) sum[4 * c + k] += double(p);
        }
    });
    S* dm = pointer<S>(d_matrix);
    for (int k = 0; k < 12; ++k) {
      double total = 0;
      for (int64_t b = 0; b < blocks; ++b) total += sums[size_t(b * 12 + k)];
      dm[k] = S(total);
    }
    return std::make_tuple(d_image, d_matrix);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("color_affine", TORCH_BOX(&n3d::color_affine));
  m.impl("color_affine_vjp", TORCH_BOX(&n3d::color_affine_vjp));
}
