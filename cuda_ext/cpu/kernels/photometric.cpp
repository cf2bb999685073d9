// SSIM and L1 of some rows of one channel, and their gradient: the 11x11 window is a column pass, a few rows at a time
// in registers, and a row pass over a small buffer. All that a strip of rows needs in between stays in the caches.
#include <algorithm>
#include <type_traits>

#include "../kernels.h"
#include "../simd.h"
// simd.h's functions must be seen before the formulas that use them.
#include "../../math/similarity.h"

namespace n3d {
namespace N3D_ISA {

constexpr int kBlock = 512;  // columns that one pass over the buffers covers

// Columns that a buffer must hold so that every lane of the last register, used or not, reads defined
// numbers: its lanes beyond the image weigh nothing, but 0 times garbage may be NaN.
template <class V>
static N3D_INLINE int padded_columns(int n) {
  return (n + V::lanes - 1) / V::lanes * V::lanes + kPlaneMargin + kWindowRadius;
}

// `p` lies kPlaneMargin columns before the pixel.
template <class V>
static N3D_INLINE V row_window(const typename V::scalar* p) {
  using S = typename V::scalar;
  const S* const first = p + kPlaneMargin - kWindowRadius;
  V sum = V(S(window_weight(kWindowRadius))) * V::load(first + kWindowRadius);
  N3D_UNROLL for (int k = 0; k < kWindowRadius; ++k) sum =
      fma(V(S(window_weight(k))), V::load(first + k) + V::load(first + kWindow - 1 - k), sum);
  return sum;
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

// Rows of the padded planes of a strip; the first plane row is the image row in front of which it stands.
template <class S>
struct Strip {
  const PhotometricArgs<S>& a;
  int channel, begin, end;
  int64_t stride;
  S *x, *y;      // rows begin - 10 ..: the image with holes filled, and the target
  S *u, *v, *w;  // rows begin - 5 ..: d loss / d (mean of x, of x^2, of x y)

  Strip(const PhotometricArgs<S>& args, int channel, int begin, int end, S* space)
      : a(args), channel(channel), begin(begin), end(end), stride(args.stride()) {
    const int64_t wide = (end - begin + 4 * kWindowRadius) * stride,
                  narrow = (end - begin + 2 * kWindowRadius) * stride;
    x = space, y = x + wide, u = y + wide, v = u + narrow, w = v + narrow;
  }
  // Where column 0 of a row lies, in x and y, and in the others.
  int64_t wide(int row) const { return (row - begin + 2 * kWindowRadius) * stride + kPlaneMargin; }
  int64_t narrow(int row) const { return (row - begin + kWindowRadius) * stride + kPlaneMargin; }
  bool inside(int row) const { return row >= 0 && row < a.height; }
};

// The image with its invalid pixels replaced, and the target over the background.
template <class S>
static void fill_row(const Strip<S>& s, int row) {
  const PhotometricArgs<S>& a = s.a;
  const int64_t pixels = int64_t(row) * a.width, plane = int64_t(a.width) * a.height;
  S *N3D_RESTRICT x = s.x + s.wide(row), *N3D_RESTRICT y = s.y + s.wide(row);
  const uint8_t* N3D_RESTRICT target = a.target + 3 * pixels + s.channel;
  for (int i = 0; i < a.width; ++i) y[i] = S(target[3 * i]) * S(1.0 / 255);
  if (a.alpha)
    for (int i = 0; i < a.width; ++i) {
      const S alpha = S(a.alpha[pixels + i]) * S(1.0 / 255);
      y[i] = alpha * y[i] + (S(1) - alpha) * a.background[s.channel];
    }
  memcpy(x, a.image + s.channel * plane + pixels, size_t(a.width) * sizeof(S));
  if (a.valid)
    for (int i = 0; i < a.width; ++i) x[i] = a.valid[pixels + i] ? x[i] : y[i];
}

// Zeros where the windows of the image's first and last columns reach, or in all of a row that is outside.
template <class S>
static void clear_around(const Strip<S>& s, S* plane, int64_t at, bool inside) {
  S* const row = plane + at - kPlaneMargin;
  const int64_t kept = inside ? s.a.width : 0;
  std::fill(row, row + kPlaneMargin, S(0));
  std::fill(row + kPlaneMargin + kept, row + s.stride, S(0));
}

template <class S>
static void fill_strip(const Strip<S>& s) {
  for (int row = s.begin - 2 * kWindowRadius; row < s.end + 2 * kWindowRadius; ++row) {
    clear_around(s, s.x, s.wide(row), s.inside(row)), clear_around(s, s.y, s.wide(row), s.inside(row));
    if (s.inside(row)) fill_row(s, row);
  }
  for (int row = s.begin - kWindowRadius; row < s.end + kWindowRadius; ++row)
    for (S* plane : {s.u, s.v, s.w}) clear_around(s, plane, s.narrow(row), s.inside(row));
}

// Adds to R rows' sums what one row of the plane, `j` rows below the first window's first, means to them.
template <int R, class V>
static N3D_INLINE void add_row(V* sums, int j, const V& value) {
  using S = typename V::scalar;
  N3D_UNROLL for (int r = 0; r < R; ++r) {
    const int k = j - r;
    if (k == 0) sums[r] = V(S(window_weight(0))) * value;
    if (k > 0 && k < kWindow) sums[r] = fma(V(S(window_weight(k))), value, sums[r]);
  }
}

constexpr int kPlanes = 4, kGradients = 3;
template <class S>
using SimilarityBuffer = S[kPlanes][kBlock + 4 * kPlaneMargin];
template <class S>
using GradientBuffer = S[kGradients][kBlock + 4 * kPlaneMargin];

template <class V>
static N3D_INLINE void similarity_row(const Strip<typename V::scalar>& s,
                                      const SimilarityBuffer<typename V::scalar>& buffer, int row, int x0, int n) {
  using S = typename V::scalar;
  const V weight_l1(s.a.weight_l1), weight_ssim(s.a.weight_ssim), zero(S(0)), one(S(1));
  V loss = zero, error = zero;
  for (int i = 0; i < n; i += V::lanes) {
    const Moments<V> m = {row_window<V>(buffer[0] + i), row_window<V>(buffer[1] + i), row_window<V>(buffer[2] + i),
                          row_window<V>(buffer[3] + i)};
    const Similarity<V> found = similarity(m);
    const V valid = valid_lanes<V>(s.a, row, x0 + i);
    const V x = V::load(s.x + s.wide(row) + x0 + i), y = V::load(s.y + s.wide(row) + x0 + i);
    const V difference = x - y;
    loss = fma(valid, fma(weight_l1, max(difference, -difference), weight_ssim * (one - found.value)), loss);
    const V shown = min(max(x, zero), one) - y;
    error = fma(valid, shown * shown, error);
    const V weight = zero - weight_ssim * valid;
    const int64_t at = s.narrow(row) + x0 + i;
    (weight * found.d_x).store(s.u + at);
    (weight * found.d_xx).store(s.v + at);
    (weight * found.d_xy).store(s.w + at);
  }
  if (row < s.begin || row >= s.end) return;  // a neighbouring strip counts it
  s.a.row_loss[s.channel * s.a.height + row] += double(sum(loss));
  s.a.row_error[s.channel * s.a.height + row] += double(sum(error));
}

// R rows of one block of columns [x0, x0 + n).
template <int R, class V>
static N3D_INLINE void similarity_part(const Strip<typename V::scalar>& s, int row, int x0, int n) {
  using S = typename V::scalar;
  N3D_ALIGN64 S buffer[R][kPlanes][kBlock + 4 * kPlaneMargin];
  const int padded = padded_columns<V>(n);
  for (int i = 0; i < padded; i += V::lanes) {
    const int64_t at = s.wide(row - kWindowRadius) + x0 - kPlaneMargin + i;
    V sums[kPlanes][R];
    N3D_UNROLL for (int j = 0; j < kWindow + R - 1; ++j) {
      const V x = V::load(s.x + at + j * s.stride), y = V::load(s.y + at + j * s.stride);
      add_row<R>(sums[0], j, x), add_row<R>(sums[1], j, y);
      add_row<R>(sums[2], j, fma(x, x, y * y)), add_row<R>(sums[3], j, x * y);
    }
    N3D_UNROLL for (int r = 0; r < R; ++r) N3D_UNROLL for (int p = 0; p < kPlanes; ++p) sums[p][r].store(buffer[r][p] +
                                                                                                         i);
  }
  for (int r = 0; r < R; ++r) similarity_row<V>(s, buffer[r], row + r, x0, n);
}

template <class V>
static N3D_INLINE void gradient_row(const Strip<typename V::scalar>& s,
                                    const GradientBuffer<typename V::scalar>& buffer, int row, int x0, int n) {
  using S = typename V::scalar;
  const V weight_l1(s.a.weight_l1), zero(S(0)), two(S(2));
  const int64_t from = s.wide(row) + x0, out = (int64_t(s.channel) * s.a.height + row) * s.a.width + x0;
  for (int i = 0; i < n; i += V::lanes) {
    const V x = V::load(s.x + from + i), y = V::load(s.y + from + i);
    const V d =
        row_window<V>(buffer[0] + i) + two * x * row_window<V>(buffer[1] + i) + y * row_window<V>(buffer[2] + i);
    const V sign = select(x > y, weight_l1, select(y > x, -weight_l1, zero));
    const V gradient = valid_lanes<V>(s.a, row, x0 + i) * (d + sign);
    store_rows(gradient, s.a.d_image + out + i, 1, n - i < V::lanes ? n - i : V::lanes);
  }
}

// The gradient in R rows of one block of columns.
template <int R, class V>
static N3D_INLINE void gradient_part(const Strip<typename V::scalar>& s, int row, int x0, int n) {
  using S = typename V::scalar;
  N3D_ALIGN64 S buffer[R][kGradients][kBlock + 4 * kPlaneMargin];
  const S* const planes[kGradients] = {s.u, s.v, s.w};
  const int padded = padded_columns<V>(n);
  for (int i = 0; i < padded; i += V::lanes) {
    const int64_t at = s.narrow(row - kWindowRadius) + x0 - kPlaneMargin + i;
    V sums[kGradients][R];
    N3D_UNROLL for (int j = 0; j < kWindow + R - 1; ++j) N3D_UNROLL for (int p = 0; p < kGradients; ++p)
        add_row<R>(sums[p], j, V::load(planes[p] + at + j * s.stride));
    N3D_UNROLL for (int r = 0; r < R; ++r) N3D_UNROLL for (int p = 0; p < kGradients; ++p) sums[p][r].store(
        buffer[r][p] + i);
  }
  for (int r = 0; r < R; ++r) gradient_row<V>(s, buffer[r], row + r, x0, n);
}

// Calls part<R>(row, first column, columns) block by block, and each block a few rows at a time: what the next rows'
// windows read again is still in the first-level cache.
template <class V, class F>
static N3D_INLINE void each_part(int width, int begin, int end, const F& part) {
  constexpr int R = sizeof(V) == 64 ? 4 : 2;  // rows whose sums fit the registers
  for (int x0 = 0; x0 < width; x0 += kBlock) {
    const int n = width - x0 < kBlock ? width - x0 : kBlock;
    int row = begin;
    for (; row + R <= end; row += R) part(std::integral_constant<int, R>(), row, x0, n);
    for (; row < end; ++row) part(std::integral_constant<int, 1>(), row, x0, n);
  }
}

template <class V>
static void photometric_strip(const PhotometricArgs<typename V::scalar>& a, int channel, int begin, int end,
                              typename V::scalar* space) {
  const Strip<typename V::scalar> s(a, channel, begin, end, space);
  fill_strip(s);
  const int first = begin < kWindowRadius ? 0 : begin - kWindowRadius;
  const int last = end + kWindowRadius < a.height ? end + kWindowRadius : a.height;
  each_part<V>(a.width, first, last,
               [&](auto rows, int row, int x0, int n) { similarity_part<rows.value, V>(s, row, x0, n); });
  each_part<V>(a.width, begin, end,
               [&](auto rows, int row, int x0, int n) { gradient_part<rows.value, V>(s, row, x0, n); });
}

void photometric(const PhotometricArgs<float>& a, int channel, int begin, int end, float* space) {
  photometric_strip<VectorF>(a, channel, begin, end, space);
}
void photometric(const PhotometricArgs<double>& a, int channel, int begin, int end, double* space) {
  photometric_strip<VectorD>(a, channel, begin, end, space);
}

}  // namespace N3D_ISA
}  // namespace n3d
