// SSIM and L1 of some rows of one channel, and their gradient: the 11x11 window is a column pass over eleven rows,
// which stays in registers, and a row pass over a small buffer.
#include "../kernels.h"
#include "../simd.h"
// simd.h's functions must be seen before the formulas that use them.
#include "../../math/similarity.h"

namespace n3d {
namespace N3D_ISA {

constexpr int kBlock =
    256;  // columns that one pass over the buffer covers; eleven rows of it fit the first-level cache
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

// The window is symmetric, so its rows go in pairs.
template <class V>
static N3D_INLINE Moments<V> column_window(const PhotometricArgs<typename V::scalar>& a, int64_t at) {
  using S = typename V::scalar;
  const V center{S(window_weight(kWindowRadius))}, x0 = V::load(a.x + at), y0 = V::load(a.y + at);
  Moments<V> m = {center * x0, center * y0, center * fma(x0, x0, y0 * y0), center * (x0 * y0)};
  N3D_UNROLL for (int k = 0; k < kWindowRadius; ++k) {
    const V weight{S(window_weight(k))};
    const int64_t above = at - (kWindowRadius - k) * a.stride, below = at + (kWindowRadius - k) * a.stride;
    const V x1 = V::load(a.x + above), x2 = V::load(a.x + below), y1 = V::load(a.y + above), y2 = V::load(a.y + below);
    m.x = fma(weight, x1 + x2, m.x);
    m.y = fma(weight, y1 + y2, m.y);
    m.squares = fma(weight, fma(x1, x1, x2 * x2) + fma(y1, y1, y2 * y2), m.squares);
    m.xy = fma(weight, fma(x1, y1, x2 * y2), m.xy);
  }
  return m;
}

// 1 in the lanes of columns that are in the image and valid.
template <class V>
static N3D_INLINE V valid_lanes(const PhotometricArgs<typename V::scalar>& a, int row, int column) {
  using S = typename V::scalar;
  const uint8_t* valid = a.valid ? a.valid + int64_t(row) * a.width : nullptr;
  if (column + V::lanes <= a.width) return valid ? min(V::load_bytes(valid + column), V(S(1))) : V(S(1));
  N3D_ALIGN64 S lane[V::lanes];
  for (int i = 0; i < V::lanes; ++i) {
    const int x = column + i;
    lane[i] = x < a.width && (!valid || valid[x]) ? S(1) : S(0);
  }
  return V::load(lane);
}

// The image with its invalid pixels replaced, and the target over the background, as padded planes.
template <class S>
static void fill_row(const PhotometricArgs<S>& a, int row) {
  const int64_t pixels = int64_t(row) * a.width, plane = int64_t(a.width) * a.height;
  for (int c = 0; c < 3; ++c) {
    S *N3D_RESTRICT x = a.x + a.plane(c, row), *N3D_RESTRICT y = a.y + a.plane(c, row);
    const uint8_t* N3D_RESTRICT target = a.target + 3 * pixels + c;
    for (int i = 0; i < a.width; ++i) y[i] = S(target[3 * i]) * S(1.0 / 255);
    if (a.alpha)
      for (int i = 0; i < a.width; ++i) {
        const S alpha = S(a.alpha[pixels + i]) * S(1.0 / 255);
        y[i] = alpha * y[i] + (S(1) - alpha) * a.background[c];
      }
    memcpy(x, a.image + c * plane + pixels, size_t(a.width) * sizeof(S));
    if (a.valid)
      for (int i = 0; i < a.width; ++i) x[i] = a.valid[pixels + i] ? x[i] : y[i];
  }
}

// Columns [x0, x0 + n) of one row.
template <class V>
static N3D_INLINE void photometric_part(const PhotometricArgs<typename V::scalar>& a, int channel, int row, int x0,
                                        int n) {
  using S = typename V::scalar;
  N3D_ALIGN64 S buffer[4][kBlock + 4 * kPlaneMargin];
  const int64_t base = a.plane(channel, row) + x0;
  const V weight_l1(a.weight_l1), weight_ssim(a.weight_ssim), zero(S(0)), one(S(1));
  const int padded = padded_columns<V>(n);
  for (int i = 0; i < padded; i += V::lanes) {
    const Moments<V> m = column_window<V>(a, base - kPlaneMargin + i);
    m.x.store(buffer[0] + i);
    m.y.store(buffer[1] + i);
    m.squares.store(buffer[2] + i);
    m.xy.store(buffer[3] + i);
  }
  V loss = zero, error = zero;
  for (int i = 0; i < n; i += V::lanes) {
    const Moments<V> m = {row_window<V>(buffer[0] + i), row_window<V>(buffer[1] + i), row_window<V>(buffer[2] + i),
                          row_window<V>(buffer[3] + i)};
    const Similarity<V> s = similarity(m);
    const V valid = valid_lanes<V>(a, row, x0 + i);
    const int64_t at = base + i;
    const V difference = V::load(a.x + at) - V::load(a.y + at);
    loss = fma(valid, fma(weight_l1, max(difference, -difference), weight_ssim * (one - s.value)), loss);
    const V shown = min(max(V::load(a.x + at), zero), one) - V::load(a.y + at);
    error = fma(valid, shown * shown, error);
    const V weight = zero - weight_ssim * valid;
    (weight * s.d_x).store(a.u + at);
    (weight * s.d_xx).store(a.v + at);
    (weight * s.d_xy).store(a.w + at);
  }
  a.row_loss[channel * a.height + row] += double(sum(loss));
  a.row_error[channel * a.height + row] += double(sum(error));
}

template <class V>
static N3D_INLINE void photometric_part_vjp(const PhotometricArgs<typename V::scalar>& a, int channel, int row, int x0,
                                            int n) {
  using S = typename V::scalar;
  N3D_ALIGN64 S buffer[3][kBlock + 4 * kPlaneMargin];
  const S* planes[3] = {a.u, a.v, a.w};
  const int64_t base = a.plane(channel, row) + x0, out = (int64_t(channel) * a.height + row) * a.width + x0;
  const V weight_l1(a.weight_l1), zero(S(0)), two(S(2));
  const int padded = padded_columns<V>(n);
  for (int p = 0; p < 3; ++p)
    for (int i = 0; i < padded; i += V::lanes) {
      const S* at = planes[p] + base - kPlaneMargin + i;
      V column = V(S(window_weight(kWindowRadius))) * V::load(at);
      N3D_UNROLL for (int k = 0; k < kWindowRadius; ++k) {
        const int64_t rows = (kWindowRadius - k) * a.stride;
        column = fma(V(S(window_weight(k))), V::load(at - rows) + V::load(at + rows), column);
      }
      column.store(buffer[p] + i);
    }
  for (int i = 0; i < n; i += V::lanes) {
    const V x = V::load(a.x + base + i), y = V::load(a.y + base + i);
    const V d =
        row_window<V>(buffer[0] + i) + two * x * row_window<V>(buffer[1] + i) + y * row_window<V>(buffer[2] + i);
    const V sign = select(x > y, weight_l1, select(y > x, -weight_l1, zero));
    const V gradient = valid_lanes<V>(a, row, x0 + i) * (d + sign);
    store_rows(gradient, a.d_image + out + i, 1, n - i < V::lanes ? n - i : V::lanes);
  }
}

// Block by block, and each block row by row: what the next row's window reads again is still in the first-level cache.
template <class F>
static N3D_INLINE void each_part(int width, int begin, int end, const F& part) {
  for (int x0 = 0; x0 < width; x0 += kBlock)
    for (int row = begin; row < end; ++row) part(row, x0, width - x0 < kBlock ? width - x0 : kBlock);
}

template <class V>
static void photometric_rows(const PhotometricArgs<typename V::scalar>& a, int channel, int begin, int end) {
  const int64_t first = int64_t(channel) * a.height;
  for (int row = begin; row < end; ++row) a.row_loss[first + row] = a.row_error[first + row] = 0;
  each_part(a.width, begin, end, [&](int row, int x0, int n) { photometric_part<V>(a, channel, row, x0, n); });
}
template <class V>
static void photometric_rows_vjp(const PhotometricArgs<typename V::scalar>& a, int channel, int begin, int end) {
  each_part(a.width, begin, end, [&](int row, int x0, int n) { photometric_part_vjp<V>(a, channel, row, x0, n); });
}

void photometric_fill(const PhotometricArgs<float>& a, int row) { fill_row(a, row); }
void photometric_fill(const PhotometricArgs<double>& a, int row) { fill_row(a, row); }
void photometric(const PhotometricArgs<float>& a, int channel, int begin, int end) {
  photometric_rows<VectorF>(a, channel, begin, end);
}
void photometric(const PhotometricArgs<double>& a, int channel, int begin, int end) {
  photometric_rows<VectorD>(a, channel, begin, end);
}
void photometric_vjp(const PhotometricArgs<float>& a, int channel, int begin, int end) {
  photometric_rows_vjp<VectorF>(a, channel, begin, end);
}
void photometric_vjp(const PhotometricArgs<double>& a, int channel, int begin, int end) {
  photometric_rows_vjp<VectorD>(a, channel, begin, end);
}

}  // namespace N3D_ISA
}  // namespace n3d
