// View-dependent colour, a register of Gaussians at a time.
#include "../columns.h"
#include "../kernels.h"
#include "../prefetch.h"
#include "../simd.h"
// simd.h's functions must be seen before the formulas that use them.
#include "../../math/harmonics.h"

namespace n3d {
namespace N3D_ISA {

constexpr int kMaxColumns = 48;  // 16 coefficients of 3 colours

template <class V>
struct Direction {
  V d[3];        // unit
  V inv_length;  // 0 where the Gaussian sits in the camera centre: it has no direction, and gets no gradient
};

template <class V>
static N3D_INLINE Direction<V> direction_of(const ShArgs<typename V::scalar>& a, int64_t i, int n) {
  using S = typename V::scalar;
  Direction<V> r;
  for (int k = 0; k < 3; ++k) r.d[k] = load_rows<V>(a.means + 3 * i + k, 3, n) - V(a.center[k]);
  const V n2 = r.d[0] * r.d[0] + r.d[1] * r.d[1] + r.d[2] * r.d[2];
  r.inv_length = zero_unless(n2 > V(S(1e-30)), V(S(1)) / sqrt(n2));
  for (int k = 0; k < 3; ++k) r.d[k] = r.d[k] * r.inv_length;
  return r;
}

// Asks for the next register's coefficients: they begin in another page, where the hardware does not look ahead.
template <class V>
static N3D_INLINE void fetch_next(const typename V::scalar* rows, int64_t stride, int64_t i, int64_t end) {
  const int64_t next = i + V::lanes, last = next + V::lanes < end ? next + V::lanes : end;
  const auto* p = reinterpret_cast<const char*>(rows + next * stride);
  for (const auto* line = p; next < end && line < reinterpret_cast<const char*>(rows + last * stride); line += 64)
    prefetch(line);
}

template <class V>
static N3D_INLINE typename V::mask visible_of(const ShArgs<typename V::scalar>& a, int64_t i, int n) {
  const V zero(typename V::scalar(0));
  return a.extents ? load_rows<V>(a.extents + 2 * i, 2, n) > zero : zero <= zero;
}

template <class V>
static void sh_rows(const ShArgs<typename V::scalar>& a, int64_t begin, int64_t end) {
  using S = typename V::scalar;
  const int used = (a.degree + 1) * (a.degree + 1);
  const int64_t stride = 3 * a.coefficients;
  for (int64_t i = begin; i < end; i += V::lanes) {
    const int n = end - i < V::lanes ? int(end - i) : V::lanes;
    const typename V::mask visible = visible_of<V>(a, i, n);
    fetch_next<V>(a.sh, stride, i, end);
    V color[3] = {V(S(0)), V(S(0)), V(S(0))};
    if (bits(visible)) {
      const Direction<V> dir = direction_of<V>(a, i, n);
      V basis[16], sh[kMaxColumns];
      harmonics(a.degree, dir.d[0], dir.d[1], dir.d[2], basis);
      load_columns(a.sh + i * stride, stride, 3 * used, n, sh);
      for (int c = 0; c < 3; ++c) color[c] = V(S(0.5));
      for (int k = 0; k < used; ++k)
        for (int c = 0; c < 3; ++c) color[c] = fma(basis[k], sh[3 * k + c], color[c]);
      // x - x is not 0 where a coefficient was infinite or no number: such a Gaussian is black.
      const V all = color[0] + color[1] + color[2];
      const typename V::mask shown = visible & (all - all >= V(S(0)));
      for (int c = 0; c < 3; ++c) color[c] = zero_unless(shown, max(color[c], V(S(0))));
    }
    for (int c = 0; c < 3; ++c) store_rows(color[c], a.colors + 3 * i + c, 3, n);
  }
}

template <class V>
static void sh_rows_vjp(const ShArgs<typename V::scalar>& a, int64_t begin, int64_t end) {
  using S = typename V::scalar;
  const int used = (a.degree + 1) * (a.degree + 1);
  const int64_t stride = 3 * a.coefficients;
  const V zero(S(0));
  for (int64_t i = begin; i < end; i += V::lanes) {
    const int n = end - i < V::lanes ? int(end - i) : V::lanes;
    const typename V::mask visible = visible_of<V>(a, i, n);
    fetch_next<V>(a.sh, stride, i, end);
    V d_mean[3] = {zero, zero, zero};
    if (bits(visible)) {
      const Direction<V> dir = direction_of<V>(a, i, n);
      V basis[16], along[16], g[3], d_dir[3], sh[kMaxColumns];
      harmonics(a.degree, dir.d[0], dir.d[1], dir.d[2], basis);
      // The colour is clamped at 0 from below, so the forward value decides where the gradient passes.
      for (int c = 0; c < 3; ++c) {
        const typename V::mask bright = load_rows<V>(a.colors + 3 * i + c, 3, n) > zero;
        g[c] = zero_unless(visible & bright, load_rows<V>(a.d_colors + 3 * i + c, 3, n));
      }
      load_columns(a.sh + i * stride, stride, 3 * used, n, sh);
      for (int k = 0; k < used; ++k) {
        along[k] = zero;
        for (int c = 0; c < 3; ++c) {
          along[k] = fma(g[c], sh[3 * k + c], along[k]);
          sh[3 * k + c] = zero_unless(visible, g[c] * basis[k]);  // from here on its gradient
        }
      }
      if (a.d_sh) store_columns(sh, a.d_sh + i * stride, stride, 3 * used, n);
      for (int c = 0; a.pulls && c < 3; ++c) store_rows(g[c], a.pulls + 3 * i + c, 3, n);
      harmonics_vjp(a.degree, dir.d[0], dir.d[1], dir.d[2], along, d_dir);
      const V brightness = load_rows<V>(a.colors + 3 * i, 3, n) + load_rows<V>(a.colors + 3 * i + 1, 3, n) +
                           load_rows<V>(a.colors + 3 * i + 2, 3, n);
      const typename V::mask lit = visible & (brightness > zero);
      const V radial = dir.d[0] * d_dir[0] + dir.d[1] * d_dir[1] + dir.d[2] * d_dir[2];
      for (int k = 0; k < 3; ++k) d_mean[k] = zero_unless(lit, (d_dir[k] - dir.d[k] * radial) * dir.inv_length);
    } else {
      if (a.d_sh) memset(a.d_sh + i * stride, 0, sizeof(S) * size_t(stride) * size_t(n));
      if (a.pulls) memset(a.pulls + 3 * i, 0, sizeof(S) * 3 * size_t(n));
    }
    for (int k = 0; k < 3; ++k) store_rows(d_mean[k], a.d_means + 3 * i + k, 3, n);
  }
}

template <class V>
static void sh_rows_products(const ShArgs<typename V::scalar>& a, int64_t begin, int64_t end) {
  const V zero(typename V::scalar(0));
  const int used = (a.degree + 1) * (a.degree + 1);
  const int64_t stride = 3 * a.coefficients;
  for (int64_t i = begin; i < end; i += V::lanes) {
    const int n = end - i < V::lanes ? int(end - i) : V::lanes;
    const Direction<V> dir = direction_of<V>(a, i, n);
    V basis[16], products[kMaxColumns];
    harmonics(a.degree, dir.d[0], dir.d[1], dir.d[2], basis);
    for (int c = 0; c < 3; ++c) {
      const V pull = load_rows<V>(a.pulls + 3 * i + c, 3, n);
      const typename V::mask none = (pull <= zero) & (zero <= pull);  // nor is there a direction, maybe
      for (int k = 0; k < used; ++k) products[3 * k + c] = select(none, zero, pull * basis[k]);
    }
    store_columns(products, a.d_sh + i * stride, stride, 3 * used, n);
  }
}

void sh(const ShArgs<float>& a, int64_t begin, int64_t end) { sh_rows<VectorF>(a, begin, end); }
void sh(const ShArgs<double>& a, int64_t begin, int64_t end) { sh_rows<VectorD>(a, begin, end); }
void sh_vjp(const ShArgs<float>& a, int64_t begin, int64_t end) { sh_rows_vjp<VectorF>(a, begin, end); }
void sh_vjp(const ShArgs<double>& a, int64_t begin, int64_t end) { sh_rows_vjp<VectorD>(a, begin, end); }
void sh_products(const ShArgs<float>& a, int64_t begin, int64_t end) { sh_rows_products<VectorF>(a, begin, end); }
void sh_products(const ShArgs<double>& a, int64_t begin, int64_t end) { sh_rows_products<VectorD>(a, begin, end); }

}  // namespace N3D_ISA
}  // namespace n3d
