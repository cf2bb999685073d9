// Affine colour of some pixels, and its gradient in one pass over them.
#include "../kernels.h"
#include "../simd.h"

namespace n3d {
namespace N3D_ISA {

template <class V>
static N3D_INLINE void affine_at(const ColorArgs<typename V::scalar>& a, int64_t i) {
  const V x[3] = {V::load(a.image + i), V::load(a.image + a.plane + i), V::load(a.image + 2 * a.plane + i)};
  for (int c = 0; c < 3; ++c) {
    const auto* m = a.matrix + 4 * c;
    fma(V(m[0]), x[0], fma(V(m[1]), x[1], fma(V(m[2]), x[2], V(m[3])))).store(a.out + c * a.plane + i);
  }
}

// Adds to the twelve sums of the matrix's gradient.
template <class V>
static N3D_INLINE void affine_vjp_at(const ColorArgs<typename V::scalar>& a, int64_t i, V* sums) {
  V x[3], g[3];
  for (int c = 0; c < 3; ++c) {
    x[c] = V::load(a.image + c * a.plane + i);
    g[c] = V::load(a.d_out + c * a.plane + i);
  }
  const auto* m = a.matrix;
  for (int k = 0; k < 3; ++k)
    fma(V(m[k]), g[0], fma(V(m[4 + k]), g[1], V(m[8 + k]) * g[2])).store(a.d_image + k * a.plane + i);
  for (int c = 0; c < 3; ++c) {
    for (int k = 0; k < 3; ++k) sums[4 * c + k] = fma(g[c], x[k], sums[4 * c + k]);
    sums[4 * c + 3] = sums[4 * c + 3] + g[c];
  }
}

template <class V>
static void color_affine_pixels(const ColorArgs<typename V::scalar>& a, int64_t begin, int64_t end) {
  int64_t i = begin;
  for (; i + V::lanes <= end; i += V::lanes) affine_at<V>(a, i);
  for (; i < end; ++i) affine_at<Lanes<typename V::scalar, 1>>(a, i);
}

template <class V>
static void color_affine_pixels_vjp(const ColorArgs<typename V::scalar>& a, int64_t begin, int64_t end, double* out) {
  using S = typename V::scalar;
  using One = Lanes<S, 1>;
  V sums[kColorMatrix];
  One rest[kColorMatrix];
  for (int k = 0; k < kColorMatrix; ++k) sums[k] = V(S(0)), rest[k] = One(S(0));
  int64_t i = begin;
  for (; i + V::lanes <= end; i += V::lanes) affine_vjp_at<V>(a, i, sums);
  for (; i < end; ++i) affine_vjp_at<One>(a, i, rest);
  for (int k = 0; k < kColorMatrix; ++k) out[k] = double(sum(sums[k])) + double(rest[k].v[0]);
}

void color_affine(const ColorArgs<float>& a, int64_t begin, int64_t end) {
  color_affine_pixels<VectorF>(a, begin, end);
}
void color_affine(const ColorArgs<double>& a, int64_t begin, int64_t end) {
  color_affine_pixels<VectorD>(a, begin, end);
}
void color_affine_vjp(const ColorArgs<float>& a, int64_t begin, int64_t end, double* out) {
  color_affine_pixels_vjp<VectorF>(a, begin, end, out);
}
void color_affine_vjp(const ColorArgs<double>& a, int64_t begin, int64_t end, double* out) {
  color_affine_pixels_vjp<VectorD>(a, begin, end, out);
}

}  // namespace N3D_ISA
}  // namespace n3d
