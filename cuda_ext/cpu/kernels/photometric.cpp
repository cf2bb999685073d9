// SSIM and L1 of one row of one channel, and their gradient: the 11x11 window is a column pass over eleven rows, which
// stays in registers, and a row pass over a small buffer.
#include "../kernels.h"
#include "../simd.h"
// simd.h's functions must be seen before the formulas that use them.
#include "../../math/similarity.h"

namespace n3d {
namespace N3D_ISA {

constexpr int kBlock = 256;                           // columns that one pass over the buffer covers
constexpr int kFirst = kPlaneMargin - kWindowRadius;  // where the window of column 0 starts in a buffer row

template <int K, class V>
static N3D_INLINE V row_taps(const V* r, const typename V::scalar* p) {
  using S = typename V::scalar;
  const V pair = sliding<kFirst + K>(r, p) + sliding<kFirst + kWindow - 1 - K>(r, p);
  if constexpr (K == 0)
    return V{S(window_weight(0))} * pair;
  else
    return fma(V{S(window_weight(K))}, pair, row_taps<K - 1>(r, p));
}

// Columns that a buffer must hold so that every lane of the last register, used or not, reads defined
// numbers: its lanes beyond the image weigh nothing, but 0 times garbage may be NaN.
template <class V>
static N3D_INLINE int padded_columns(int n) {
  return (n + V::lanes - 1) / V::lanes * V::lanes + kPlaneMargin + kWindowRadius;
}

// `p` lies kPlaneMargin columns before the pixel, on a register's boundary.
template <class V>
static N3D_INLINE V row_window(const typename V::scalar* p) {
  using S = typename V::scalar;
  constexpr int count = V::lanes == 16 ? 3 : 1;  // narrower registers load each tap
  V r[count];
  for (int i = 0; i < count; ++i) r[i] = V::load(p + i * V::lanes);
  return fma(V{S(window_weight(kWindowRadius))}, sliding<kPlaneMargin>(r, p), row_taps<kWindowRadius - 1>(r, p));
}

template <class V>
static N3D_INLINE Moments<V> column_window(const PhotometricArgs<typename V::scalar>& a, int64_t at) {
  using S = typename V::scalar;
  const V zero(S(0));
  Moments<V> m = {zero, zero, zero, zero, zero};
  for (int k = 0; k < kWindow; ++k) {
    const V weight{S(window_weight(k))};
    const V x = V::load(a.x + at + (k - kWindowRadius) * a.stride),
            y = V::load(a.y + at + (k - kWindowRadius) * a.stride);
    const V wx = weight * x, wy = weight * y;
    m.x = m.x + wx;
    m.y = m.y + wy;
    m.xx = fma(wx, x, m.xx);
    m.yy = fma(wy, y, m.yy);
    m.xy = fma(wx, y, m.xy);
  }
  return m;
}

// 1 in the lanes of columns that are in the image and valid.
template <class V>
static N3D_INLINE V valid_lanes(const PhotometricArgs<typename V::scalar>& a, int row, int column) {
  using S = typename V::scalar;
  if (!a.valid && column + V::lanes <= a.width) return V(S(1));
  N3D_ALIGN64 S lane[V::lanes];
  for (int i = 0; i < V::lanes; ++i) {
    const int x = column + i;
    lane[i] = x < a.width && (!a.valid || a.valid[int64_t(row) * a.width + x]) ? S(1) : S(0);
  }
  return V::load(lane);
}

template <class V>
static void photometric_row(const PhotometricArgs<typename V::scalar>& a, int channel, int row) {
  using S = typename V::scalar;
  N3D_ALIGN64 S buffer[5][kBlock + 4 * kPlaneMargin];
  const int64_t base = a.plane(channel, row);
  const V weight_l1(a.weight_l1), weight_ssim(a.weight_ssim), zero(S(0)), one(S(1));
  V loss = zero, error = zero;
  for (int x0 = 0; x0 < a.width; x0 += kBlock) {
    const int n = a.width - x0 < kBlock ? a.width - x0 : kBlock, padded = padded_columns<V>(n);
    for (int i = 0; i < padded; i += V::lanes) {
      const Moments<V> m = column_window<V>(a, base + x0 - kPlaneMargin + i);
      m.x.store(buffer[0] + i);
      m.y.store(buffer[1] + i);
      m.xx.store(buffer[2] + i);
      m.yy.store(buffer[3] + i);
      m.xy.store(buffer[4] + i);
    }
    for (int i = 0; i < n; i += V::lanes) {
      const Moments<V> m = {row_window<V>(buffer[0] + i), row_window<V>(buffer[1] + i), row_window<V>(buffer[2] + i),
                            row_window<V>(buffer[3] + i), row_window<V>(buffer[4] + i)};
      const Similarity<V> s = similarity(m);
      const V valid = valid_lanes<V>(a, row, x0 + i);
      const int64_t at = base + x0 + i;
      const V difference = V::load(a.x + at) - V::load(a.y + at);
      loss = fma(valid, fma(weight_l1, max(difference, -difference), weight_ssim * (one - s.value)), loss);
      const V shown = min(max(V::load(a.x + at), zero), one) - V::load(a.y + at);
      error = fma(valid, shown * shown, error);
      const V weight = zero - weight_ssim * valid;
      (weight * s.d_x).store(a.u + at);
      (weight * s.d_xx).store(a.v + at);
      (weight * s.d_xy).store(a.w + at);
    }
  }
  a.row_loss[channel * a.height + row] = double(sum(loss));
  a.row_error[channel * a.height + row] = double(sum(error));
}

template <class V>
static void photometric_row_vjp(const PhotometricArgs<typename V::scalar>& a, int channel, int row) {
  using S = typename V::scalar;
  N3D_ALIGN64 S buffer[3][kBlock + 4 * kPlaneMargin];
  const S* planes[3] = {a.u, a.v, a.w};
  const int64_t base = a.plane(channel, row), out = (int64_t(channel) * a.height + row) * a.width;
  const V weight_l1(a.weight_l1), zero(S(0)), two(S(2));
  for (int x0 = 0; x0 < a.width; x0 += kBlock) {
    const int n = a.width - x0 < kBlock ? a.width - x0 : kBlock, padded = padded_columns<V>(n);
    for (int p = 0; p < 3; ++p)
      for (int i = 0; i < padded; i += V::lanes) {
        V column = zero;
        for (int k = 0; k < kWindow; ++k)
          column = fma(V(S(window_weight(k))),
                       V::load(planes[p] + base + x0 - kPlaneMargin + i + (k - kWindowRadius) * a.stride), column);
        column.store(buffer[p] + i);
      }
    for (int i = 0; i < n; i += V::lanes) {
      const V x = V::load(a.x + base + x0 + i), y = V::load(a.y + base + x0 + i);
      const V d =
          row_window<V>(buffer[0] + i) + two * x * row_window<V>(buffer[1] + i) + y * row_window<V>(buffer[2] + i);
      const V sign = select(x > y, weight_l1, select(y > x, -weight_l1, zero));
      const V gradient = valid_lanes<V>(a, row, x0 + i) * (d + sign);
      store_rows(gradient, a.d_image + out + x0 + i, 1, n - i < V::lanes ? n - i : V::lanes);
    }
  }
}

void photometric(const PhotometricArgs<float>& a, int channel, int row) { photometric_row<VectorF>(a, channel, row); }
void photometric(const PhotometricArgs<double>& a, int channel, int row) { photometric_row<VectorD>(a, channel, row); }
void photometric_vjp(const PhotometricArgs<float>& a, int channel, int row) {
  photometric_row_vjp<VectorF>(a, channel, row);
}
void photometric_vjp(const PhotometricArgs<double>& a, int channel, int row) {
  photometric_row_vjp<VectorD>(a, channel, row);
}

}  // namespace N3D_ISA
}  // namespace n3d
