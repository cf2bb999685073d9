// Affine colour of one image. Its gradient is a sum over all pixels, taken in fixed blocks and in a fixed order.
#include "launch.h"
#include "sums.h"

namespace n3d {
namespace {

constexpr int kThreads = 256, kPixelsPerBlock = 4096, kNumbers = 12;

// A 3x4 matrix that lies on the device.
template <class S>
struct Matrix {
  S m[kNumbers];
  __device__ __forceinline__ explicit Matrix(const S* p) {
#pragma unroll
    for (int k = 0; k < kNumbers; ++k) m[k] = __ldg(p + k);
  }
};

template <class S>
__global__ void __launch_bounds__(kThreads) color_kernel(const S* image, const S* matrix, int64_t plane, S* out) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= plane) return;
  const Matrix<S> a(matrix);
  const S x[3] = {image[i], image[plane + i], image[2 * plane + i]};
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const S* row = a.m + 4 * c;
    out[c * plane + i] = row[0] * x[0] + row[1] * x[1] + row[2] * x[2] + row[3];
  }
}

// Adds one pixel's part to the gradient of the matrix, and writes the pixel's own gradient.
template <class S>
__device__ __forceinline__ void pull_pixel(const Matrix<S>& a, const S* image, const S* grad, int64_t plane, int64_t i,
                                           S* d_image, S* d_matrix) {
  S x[3], g[3];
#pragma unroll
  for (int c = 0; c < 3; ++c) x[c] = image[c * plane + i], g[c] = grad[c * plane + i];
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    d_image[c * plane + i] = a.m[c] * g[0] + a.m[4 + c] * g[1] + a.m[8 + c] * g[2];
#pragma unroll
    for (int k = 0; k < 3; ++k) d_matrix[4 * c + k] += g[c] * x[k];
    d_matrix[4 * c + 3] += g[c];
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    color_vjp_kernel(const S* image, const S* matrix, const S* grad, int64_t plane, S* d_image, double* partials) {
  const Matrix<S> a(matrix);
  const int64_t first = int64_t(blockIdx.x) * kPixelsPerBlock;
  const int64_t end = first + kPixelsPerBlock < plane ? first + kPixelsPerBlock : plane;
  S d_matrix[kNumbers] = {};
  for (int64_t i = first + threadIdx.x; i < end; i += kThreads) pull_pixel(a, image, grad, plane, i, d_image, d_matrix);
  write_block_sums<kThreads, kNumbers>(d_matrix, partials + blockIdx.x * int64_t(kNumbers));
}

template <class S>
__global__ void __launch_bounds__(kTotalThreads) color_total_kernel(const double* partials, int rows, S* d_matrix) {
  double totals[kNumbers];
  total_columns<kNumbers>(partials, rows, totals);
  if (threadIdx.x > 0) return;
#pragma unroll
  for (int k = 0; k < kNumbers; ++k) d_matrix[k] = S(totals[k]);
}

}  // namespace

static Tensor color_affine(Tensor image, Tensor matrix) {
  return N3D_FOR_SCALAR(image, S, [&] {
    const OnDevice on(image);
    const int64_t plane = image.size(1) * image.size(2);
    Tensor out = on.fresh({3, image.size(1), image.size(2)}, scalar_type<S>());
    N3D_LAUNCH(color_kernel<S>, blocks_for(plane, kThreads), kThreads, 0, on.stream(), on.pointer<S>(image),
               on.pointer<S>(matrix), plane, on.pointer<S>(out));
    return out;
  });
}

static std::tuple<Tensor, Tensor> color_affine_vjp(Tensor image, Tensor matrix, Tensor grad) {
  return N3D_FOR_SCALAR(image, S, [&] {
    const OnDevice on(image);
    const int64_t plane = image.size(1) * image.size(2);
    const unsigned blocks = blocks_for(plane, kPixelsPerBlock);
    Tensor d_image = on.fresh({3, image.size(1), image.size(2)}, scalar_type<S>());
    Tensor d_matrix = on.fresh({3, 4}, scalar_type<S>());
    Tensor partials = on.fresh({int64_t(blocks), kNumbers}, ScalarType::Double);
    N3D_LAUNCH(color_vjp_kernel<S>, blocks, kThreads, 0, on.stream(), on.pointer<S>(image), on.pointer<S>(matrix),
               on.pointer<S>(grad), plane, on.pointer<S>(d_image), on.pointer<double>(partials));
    N3D_LAUNCH(color_total_kernel<S>, 1, kTotalThreads, 0, on.stream(), on.pointer<double>(partials), int(blocks),
               on.pointer<S>(d_matrix));
    return std::make_tuple(d_image, d_matrix);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("color_affine", TORCH_BOX(&n3d::color_affine));
  m.impl("color_affine_vjp", TORCH_BOX(&n3d::color_affine_vjp));
}
