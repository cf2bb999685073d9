// View-dependent colours of N Gaussians seen from one point, a thread for each.
#include "../math/harmonics.h"
#include "direction.h"
#include "launch.h"
#include "rows.h"

namespace n3d {
namespace {

constexpr int kThreads = 128;

template <class S>
struct Harmonics {
  const S *means, *sh, *center, *extents;  // [N,3] [N,K,3] [3] [N,2] or null (all visible)
  int64_t count;
  int coefficients;  // K as stored
  bool aligned;      // each row of sh begins at 16 bytes
};

template <class S>
__device__ __forceinline__ bool is_visible(const Harmonics<S>& a, int64_t i) {
  return i < a.count && (!a.extents || a.extents[2 * i] > S(0));
}

// Numbers of a row that a degree uses, and room for the rest of the last 16 bytes.
template <int degree>
constexpr int kUsed = 3 * (degree + 1) * (degree + 1);
template <int degree>
constexpr int kRowSpace = (kUsed<degree> + 3) / 4 * 4;

template <class S, int degree>
__device__ __forceinline__ void load_coefficients(const Harmonics<S>& a, int64_t i, S* row) {
  load_row<kUsed<degree>>(a.sh + 3 * a.coefficients * i, a.aligned, row);
}

template <class S, int degree>
__global__ void __launch_bounds__(kThreads) sh_kernel(Harmonics<S> a, S* colors) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= a.count) return;
  S color[3] = {S(0), S(0), S(0)};
  if (is_visible(a, i)) {
    S row[kRowSpace<degree>], basis[16];
    load_coefficients<S, degree>(a, i, row);
    const Direction<S> dir = direction_of(a.means + 3 * i, a.center);
    scalar::harmonics(degree, dir.d[0], dir.d[1], dir.d[2], basis);
    S sum[3] = {S(0.5), S(0.5), S(0.5)};
#pragma unroll
    for (int k = 0; k < kUsed<degree> / 3; ++k)
#pragma unroll
      for (int c = 0; c < 3; ++c) sum[c] = scalar::fma(basis[k], row[3 * k + c], sum[c]);
    // x - x is not 0 where a coefficient was infinite or no number: such a Gaussian is black.
    const S all = sum[0] + sum[1] + sum[2];
    const bool shown = all - all >= S(0);
#pragma unroll
    for (int c = 0; c < 3; ++c) color[c] = shown ? scalar::max(sum[c], S(0)) : S(0);
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) colors[3 * i + c] = color[c];
}

// What a Gaussian's gradient by its coefficients is made of: coefficient k of channel c gets basis[k] * pull[c].
template <class S, int degree>
struct OuterProducts {
  S basis[(degree + 1) * (degree + 1)][kThreads + 1];
  S pull[3][kThreads + 1];
  __device__ __forceinline__ void keep_basis(int k, S value) { basis[k][threadIdx.x] = value; }
  __device__ __forceinline__ void keep_pull(int c, S value) { pull[c][threadIdx.x] = value; }
};

// Where only the pulls are asked for.
template <class S>
struct Pulls {
  S* pulls;  // of this Gaussian
  __device__ __forceinline__ void keep_basis(int, S) {}
  __device__ __forceinline__ void keep_pull(int c, S value) { pulls[c] = value; }
};

// The gradient by the mean, by way of the direction; what the other gradient is made of goes to `products`.
template <int degree, class S, class Products>
__device__ __forceinline__ void pull_direction(const Harmonics<S>& a, const S* colors, const S* d_colors, int64_t i,
                                               Products& products, S* d_mean) {
  constexpr int bases = (degree + 1) * (degree + 1);
  S row[kRowSpace<degree>], basis[16], along[16] = {}, g[3], d_dir[3], brightness = S(0);
  load_coefficients<S, degree>(a, i, row);
  const Direction<S> dir = direction_of(a.means + 3 * i, a.center);
  scalar::harmonics(degree, dir.d[0], dir.d[1], dir.d[2], basis);
  // The colour is clamped at 0 from below, so the forward value decides where the gradient passes.
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const S color = colors[3 * i + c];
    g[c] = color > S(0) ? d_colors[3 * i + c] : S(0);
    brightness += color;
    products.keep_pull(c, g[c]);
  }
#pragma unroll
  for (int k = 0; k < bases; ++k) {
    products.keep_basis(k, basis[k]);
#pragma unroll
    for (int c = 0; c < 3; ++c) along[k] = scalar::fma(g[c], row[3 * k + c], along[k]);
  }
  scalar::harmonics_vjp(degree, dir.d[0], dir.d[1], dir.d[2], along, d_dir);
  const S radial = dir.d[0] * d_dir[0] + dir.d[1] * d_dir[1] + dir.d[2] * d_dir[2];
#pragma unroll
  for (int k = 0; k < 3; ++k) d_mean[k] = brightness > S(0) ? (d_dir[k] - dir.d[k] * radial) * dir.inv_length : S(0);
}

// Number `at` of row `row` of the gradient.
template <class S, int degree>
__device__ __forceinline__ S product(const OuterProducts<S, degree>& products, int row, int at) {
  const int k = at / 3, c = at - 3 * k;
  return k < (degree + 1) * (degree + 1) ? products.basis[k][row] * products.pull[c][row] : S(0);
}

// Writes the block's rows of the gradient, neighbouring threads neighbouring numbers.
template <class S, int degree>
__device__ __forceinline__ void write_products(const OuterProducts<S, degree>& products, int rows, int columns,
                                               bool aligned, S* d_sh) {
  constexpr int n = Chunk<S>::size;
  const int total = rows * columns;
  if (!aligned) {
    for (int e = int(threadIdx.x); e < total; e += kThreads) d_sh[e] = product(products, e / columns, e % columns);
    return;
  }
  for (int e = n * int(threadIdx.x); e < total; e += n * kThreads) {
    const int row = e / columns, at = e - row * columns;
    Chunk<S> chunk;
#pragma unroll
    for (int k = 0; k < n; ++k) chunk.v[k] = product(products, row, at + k);
    store_chunk(d_sh + e, chunk);
  }
}

template <class S, int degree>
__global__ void __launch_bounds__(kThreads)
    sh_vjp_kernel(Harmonics<S> a, const S* colors, const S* d_colors, S* d_means, S* d_sh) {
  using Products = OuterProducts<S, degree>;
  N3D_SHARED(products, Products);
  const int64_t first = int64_t(blockIdx.x) * kThreads, i = first + threadIdx.x;
  S d_mean[3] = {S(0), S(0), S(0)};
  if (is_visible(a, i)) {
    pull_direction<degree>(a, colors, d_colors, i, products, d_mean);
  } else {
#pragma unroll
    for (int k = 0; k < (degree + 1) * (degree + 1); ++k) products.keep_basis(k, S(0));
#pragma unroll
    for (int c = 0; c < 3; ++c) products.keep_pull(c, S(0));
  }
  if (i < a.count) {
#pragma unroll
    for (int k = 0; k < 3; ++k) d_means[3 * i + k] = d_mean[k];
  }
  __syncthreads();
  const int columns = 3 * a.coefficients;
  const int rows = int(a.count - first < kThreads ? a.count - first : kThreads);
  write_products(products, rows, columns, columns % Chunk<S>::size == 0, d_sh + first * columns);
}

template <class S, int degree>
__global__ void __launch_bounds__(kThreads)
    sh_pulls_kernel(Harmonics<S> a, const S* colors, const S* d_colors, S* d_means, S* pulls) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= a.count) return;
  S d_mean[3] = {S(0), S(0), S(0)};
  Pulls<S> own{pulls + 3 * i};
  if (is_visible(a, i)) {
    pull_direction<degree>(a, colors, d_colors, i, own, d_mean);
  } else {
#pragma unroll
    for (int c = 0; c < 3; ++c) own.keep_pull(c, S(0));
  }
#pragma unroll
  for (int k = 0; k < 3; ++k) d_means[3 * i + k] = d_mean[k];
}

template <class S>
Harmonics<S> harmonics_of(const OnDevice& on, const Tensor& means, const Tensor& sh, const Tensor& center,
                          int64_t degree, const std::optional<Tensor>& extents) {
  STD_TORCH_CHECK(degree >= 0 && degree <= 3 && (degree + 1) * (degree + 1) <= sh.size(1),
                  "neural3d: degree exceeds sh");
  const S* numbers = on.pointer<S>(sh);
  const bool aligned = aligned16(numbers) && 3 * sh.size(1) * sizeof(S) % 16 == 0;
  return {on.pointer<S>(means), numbers, on.pointer<S>(center), on.pointer<S>(extents), means.size(0),
          int(sh.size(1)),      aligned};
}

// Calls f with the degree as a constant, so that each degree's row stays in registers.
template <class F>
void with_degree(int64_t degree, const F& f) {
  if (degree == 0) return f(std::integral_constant<int, 0>());
  if (degree == 1) return f(std::integral_constant<int, 1>());
  if (degree == 2) return f(std::integral_constant<int, 2>());
  f(std::integral_constant<int, 3>());
}

}  // namespace

static Tensor sh_colors(Tensor means, Tensor sh, Tensor center, int64_t degree, std::optional<Tensor> extents) {
  return N3D_FOR_SCALAR(means, S, [&] {
    const OnDevice on(means);
    const int64_t n = means.size(0);
    Tensor colors = on.fresh({n, 3}, scalar_type<S>());
    const Harmonics<S> a = harmonics_of<S>(on, means, sh, center, degree, extents);
    with_degree(degree, [&](auto constant) {
      N3D_LAUNCH((sh_kernel<S, decltype(constant)::value>), blocks_for(n, kThreads), kThreads, 0, on.stream(), a,
                 on.pointer<S>(colors));
    });
    return colors;
  });
}

static std::tuple<Tensor, Tensor> sh_colors_vjp(Tensor means, Tensor sh, Tensor center, int64_t degree,
                                                std::optional<Tensor> extents, Tensor colors, Tensor d_colors) {
  return N3D_FOR_SCALAR(means, S, [&] {
    const OnDevice on(means);
    const int64_t n = means.size(0);
    Tensor d_means = on.fresh({n, 3}, scalar_type<S>()), d_sh = on.fresh({n, sh.size(1), 3}, scalar_type<S>());
    const Harmonics<S> a = harmonics_of<S>(on, means, sh, center, degree, extents);
    with_degree(degree, [&](auto constant) {
      N3D_LAUNCH((sh_vjp_kernel<S, decltype(constant)::value>), blocks_for(n, kThreads), kThreads, 0, on.stream(), a,
                 on.pointer<S>(colors), on.pointer<S>(d_colors), on.pointer<S>(d_means), on.pointer<S>(d_sh));
    });
    return std::make_tuple(d_means, d_sh);
  });
}

static std::tuple<Tensor, Tensor> sh_pulls(Tensor means, Tensor sh, Tensor center, int64_t degree,
                                           std::optional<Tensor> extents, Tensor colors, Tensor d_colors) {
  return N3D_FOR_SCALAR(means, S, [&] {
    const OnDevice on(means);
    const int64_t n = means.size(0);
    Tensor d_means = on.fresh({n, 3}, scalar_type<S>()), pulls = on.fresh({n, 3}, scalar_type<S>());
    const Harmonics<S> a = harmonics_of<S>(on, means, sh, center, degree, extents);
    with_degree(degree, [&](auto constant) {
      N3D_LAUNCH((sh_pulls_kernel<S, decltype(constant)::value>), blocks_for(n, kThreads), kThreads, 0, on.stream(), a,
                 on.pointer<S>(colors), on.pointer<S>(d_colors), on.pointer<S>(d_means), on.pointer<S>(pulls));
    });
    return std::make_tuple(d_means, pulls);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("sh_colors", TORCH_BOX(&n3d::sh_colors));
  m.impl("sh_colors_vjp", TORCH_BOX(&n3d::sh_colors_vjp));
  m.impl("sh_pulls", TORCH_BOX(&n3d::sh_pulls));
}
