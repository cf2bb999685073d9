// L1 + SSIM against an 8-bit photo, with the gradient in the same call: training always wants both.
//
// A block takes a tile of one channel, with a border as wide as the window. The window is two passes: over the rows
// into shared memory, then down the columns, where a thread makes several pixels from the rows that they share. The
// gradient is the same window over the similarity's slopes. The number of valid pixels is known only when all blocks
// are done, so everything before is for a weight of one, and the host never waits.
#include "../math/similarity.h"
#include "launch.h"
#include "sums.h"

namespace n3d {
namespace {

// Doubles take twice the shared memory, of which a block must get by with 48 KiB.
template <class S>
struct Tile {
  static constexpr int side = sizeof(S) == 4 ? 32 : 16;  // px
  static constexpr int framed = side + 2 * kWindowRadius;
  static constexpr int thread_rows = 8, threads = side * thread_rows;
  static constexpr int rows = side / thread_rows;  // pixels of a thread, one below the other
};

template <class S>
struct Photometric {
  const S* image;         // [3,H,W]
  const uint8_t* target;  // [H,W,3]
  const uint8_t* alpha;   // [H,W] or null
  const uint8_t* valid;   // [H,W] or null
  const S* background;    // [3]
  int width, height;
  S weight_l1, weight_ssim;
  S* slopes;         // [3,3,H,W]: of the loss by the means of x, of x^2 and of x y
  double* partials;  // [tiles,3]: loss, squared error, number of valid values
  S *loss, *error;   // [1]
  S* share;          // [1]: 1 over the number of valid values
  S* d_image;        // [3,H,W]

  __device__ __forceinline__ int64_t plane() const { return int64_t(width) * height; }
  __device__ __forceinline__ bool inside(int row, int column) const {
    return row >= 0 && row < height && column >= 0 && column < width;
  }
  __device__ __forceinline__ bool counts(int row, int column) const {
    return inside(row, column) && (!valid || valid[int64_t(row) * width + column]);
  }
};

template <class S>
struct Pair {
  S x, y;
};

// The image, and the target over the background. What is not valid costs nothing: there the image is the target.
template <class S>
__device__ __forceinline__ Pair<S> load_pair(const Photometric<S>& a, int channel, int row, int column) {
  if (!a.inside(row, column)) return {S(0), S(0)};
  const int64_t at = int64_t(row) * a.width + column;
  S y = S(__ldg(a.target + 3 * at + channel)) * S(1.0 / 255);
  if (a.alpha) {
    const S alpha = S(__ldg(a.alpha + at)) * S(1.0 / 255);
    y = alpha * y + (S(1) - alpha) * __ldg(a.background + channel);
  }
  return {a.valid && !a.valid[at] ? y : __ldg(a.image + channel * a.plane() + at), y};
}

// The place of a block's tile.
struct Corner {
  int channel, row, column;
};
template <class S>
__device__ __forceinline__ Corner corner() {
  return {int(blockIdx.z), int(blockIdx.y) * Tile<S>::side, int(blockIdx.x) * Tile<S>::side};
}

// Calls f(row, column) for each place of the tile with its frame.
template <class S, class F>
__device__ __forceinline__ void each_framed(const F& f) {
  constexpr int n = Tile<S>::framed;
  for (int i = int(threadIdx.x); i < n * n; i += Tile<S>::threads) f(i / n, i % n);
}
// Calls f(row, column) for each place of the tile with its frame above and below.
template <class S, class F>
__device__ __forceinline__ void each_framed_row(const F& f) {
  constexpr int n = Tile<S>::side;
  for (int i = int(threadIdx.x); i < n * Tile<S>::framed; i += Tile<S>::threads) f(i / n, i % n);
}

template <class S>
struct ForwardSpace {
  Pair<S> pairs[Tile<S>::framed][Tile<S>::framed];
  S means[4][Tile<S>::framed][Tile<S>::side];  // over a row of the window: x, y, x^2 + y^2, x y
};

template <class S>
__device__ __forceinline__ void average_rows(ForwardSpace<S>& space) {
  each_framed_row<S>([&](int row, int column) {
    S m[4] = {};
#pragma unroll
    for (int k = 0; k < kWindow; ++k) {
      const Pair<S> p = space.pairs[row][column + k];
      const S weight = S(scalar::window_weight(k)), wx = weight * p.x, wy = weight * p.y;
      m[0] += wx;
      m[1] += wy;
      m[2] = scalar::fma(wx, p.x, scalar::fma(wy, p.y, m[2]));
      m[3] = scalar::fma(wx, p.y, m[3]);
    }
#pragma unroll
    for (int p = 0; p < 4; ++p) space.means[p][row][column] = m[p];
  });
}

// Down a column: pixel j of the thread gets rows first + j to first + j + 10.
template <class S, int planes>
__device__ __forceinline__ void average_column(const S (*means)[Tile<S>::framed][Tile<S>::side], int first, int column,
                                               S (*out)[planes]) {
  constexpr int rows = Tile<S>::rows;
#pragma unroll
  for (int p = 0; p < planes; ++p) {
    S sums[rows] = {};
#pragma unroll
    for (int i = 0; i < rows + kWindow - 1; ++i) {
      const S value = means[p][first + i][column];
#pragma unroll
      for (int j = 0; j < rows; ++j)
        if (i >= j && i - j < kWindow) sums[j] = scalar::fma(S(scalar::window_weight(i - j)), value, sums[j]);
    }
#pragma unroll
    for (int j = 0; j < rows; ++j) out[j][p] = sums[j];
  }
}

// One pixel's part of the sums, and its slopes.
template <class S>
__device__ __forceinline__ void judge(const Photometric<S>& a, const Corner& at, const Pair<S>& p, const S* m,
                                      S* sums) {
  const bool counts = a.counts(at.row, at.column);
  const scalar::Moments<S> moments{m[0], m[1], m[2], m[3]};
  const scalar::Similarity<S> s = scalar::similarity(moments);
  const S difference = p.x - p.y, size = scalar::max(difference, -difference);
  const S shown = scalar::min(scalar::max(p.x, S(0)), S(1)) - p.y;
  if (counts) {
    sums[0] += scalar::fma(a.weight_l1, size, a.weight_ssim * (S(1) - s.value));
    sums[1] += shown * shown;
    sums[2] += S(1);
  }
  if (!a.inside(at.row, at.column)) return;
  const S weight = counts ? -a.weight_ssim : S(0);
  S* slopes = a.slopes + 3 * at.channel * a.plane() + int64_t(at.row) * a.width + at.column;
  slopes[0] = weight * s.d_x;
  slopes[a.plane()] = weight * s.d_xx;
  slopes[2 * a.plane()] = weight * s.d_xy;
}

template <class S>
__global__ void __launch_bounds__(Tile<S>::threads) photometric_kernel(Photometric<S> a) {
  using T = Tile<S>;
  N3D_SHARED(space, ForwardSpace<S>);
  const Corner tile = corner<S>();
  each_framed<S>([&](int row, int column) {
    space.pairs[row][column] =
        load_pair(a, tile.channel, tile.row + row - kWindowRadius, tile.column + column - kWindowRadius);
  });
  __syncthreads();
  average_rows(space);
  __syncthreads();
  const int first = int(threadIdx.x) / T::side * T::rows, column = int(threadIdx.x) % T::side;
  S moments[T::rows][4], sums[3] = {};
  average_column<S, 4>(space.means, first, column, moments);
#pragma unroll
  for (int j = 0; j < T::rows; ++j)
    judge(a, {tile.channel, tile.row + first + j, tile.column + column},
          space.pairs[first + j + kWindowRadius][column + kWindowRadius], moments[j], sums);
  const int64_t block = blockIdx.x + int64_t(gridDim.x) * (blockIdx.y + int64_t(gridDim.y) * blockIdx.z);
  write_block_sums<T::threads, 3>(sums, a.partials + 3 * block);
}

template <class S>
__global__ void __launch_bounds__(kTotalThreads) photometric_total_kernel(Photometric<S> a, int tiles) {
  double totals[3];
  total_columns<3>(a.partials, tiles, totals);
  if (threadIdx.x > 0) return;
  const double share = totals[2] > 0 ? 1.0 / totals[2] : 0.0;
  *a.loss = S(totals[0] * share), *a.error = S(totals[1] * share), *a.share = S(share);
}

template <class S>
struct BackwardSpace {
  S slopes[3][Tile<S>::framed][Tile<S>::framed];
  S means[3][Tile<S>::framed][Tile<S>::side];
};

template <class S>
__device__ __forceinline__ void load_slopes(const Photometric<S>& a, const Corner& tile, BackwardSpace<S>& space) {
  const S* slopes = a.slopes + 3 * tile.channel * a.plane();
  each_framed<S>([&](int i, int j) {
    const int row = tile.row + i - kWindowRadius, column = tile.column + j - kWindowRadius;
#pragma unroll
    for (int p = 0; p < 3; ++p)
      space.slopes[p][i][j] =
          a.inside(row, column) ? __ldg(slopes + p * a.plane() + int64_t(row) * a.width + column) : S(0);
  });
}

template <class S>
__device__ __forceinline__ void average_slope_rows(BackwardSpace<S>& space) {
  each_framed_row<S>([&](int row, int column) {
#pragma unroll
    for (int p = 0; p < 3; ++p) {
      S sum = S(0);
#pragma unroll
      for (int k = 0; k < kWindow; ++k)
        sum = scalar::fma(S(scalar::window_weight(k)), space.slopes[p][row][column + k], sum);
      space.means[p][row][column] = sum;
    }
  });
}

template <class S>
__device__ __forceinline__ void pull_pixel(const Photometric<S>& a, const Corner& at, const S* slopes) {
  if (!a.inside(at.row, at.column)) return;
  S gradient = S(0);
  if (a.counts(at.row, at.column)) {
    const Pair<S> p = load_pair(a, at.channel, at.row, at.column);
    const S sign = p.x > p.y ? a.weight_l1 : p.y > p.x ? -a.weight_l1 : S(0);
    gradient = (slopes[0] + S(2) * p.x * slopes[1] + p.y * slopes[2] + sign) * __ldg(a.share);
  }
  a.d_image[at.channel * a.plane() + int64_t(at.row) * a.width + at.column] = gradient;
}

template <class S>
__global__ void __launch_bounds__(Tile<S>::threads) photometric_vjp_kernel(Photometric<S> a) {
  using T = Tile<S>;
  N3D_SHARED(space, BackwardSpace<S>);
  const Corner tile = corner<S>();
  load_slopes(a, tile, space);
  __syncthreads();
  average_slope_rows(space);
  __syncthreads();
  const int first = int(threadIdx.x) / T::side * T::rows, column = int(threadIdx.x) % T::side;
  S slopes[T::rows][3];
  average_column<S, 3>(space.means, first, column, slopes);
#pragma unroll
  for (int j = 0; j < T::rows; ++j)
    pull_pixel(a, {tile.channel, tile.row + first + j, tile.column + column}, slopes[j]);
}

template <class S>
Photometric<S> photometric_arguments(const OnDevice& on, const Tensor& image, const Tensor& target,
                                     const std::optional<Tensor>& alpha, const std::optional<Tensor>& valid,
                                     const Tensor& background, double ssim_weight) {
  Photometric<S> a = {};
  a.height = int(image.size(1)), a.width = int(image.size(2));
  a.image = on.pointer<S>(image), a.target = on.pointer<uint8_t>(target), a.alpha = on.pointer<uint8_t>(alpha);
  a.valid = on.pointer<uint8_t>(valid), a.background = on.pointer<S>(background);
  a.weight_l1 = S(1 - ssim_weight), a.weight_ssim = S(ssim_weight);
  return a;
}

}  // namespace

static std::tuple<Tensor, Tensor, Tensor> photometric(Tensor image, Tensor target, std::optional<Tensor> target_alpha,
                                                      std::optional<Tensor> valid, Tensor background,
                                                      double ssim_weight) {
  return N3D_FOR_SCALAR(image, S, [&] {
    using T = Tile<S>;
    const OnDevice on(image);
    constexpr ScalarType type = scalar_type<S>();
    auto a = photometric_arguments<S>(on, image, target, target_alpha, valid, background, ssim_weight);
    const dim3 grid(blocks_for(a.width, T::side), blocks_for(a.height, T::side), 3);
    const int tiles = int(3 * grid.x * grid.y);
    Tensor loss = on.fresh({}, type), error = on.fresh({}, type), gradient = on.fresh({3, a.height, a.width}, type);
    Tensor slopes = on.fresh({9, a.height, a.width}, type), share = on.fresh({}, type);
    Tensor partials = on.fresh({tiles, 3}, ScalarType::Double);
    a.loss = on.pointer<S>(loss), a.error = on.pointer<S>(error), a.d_image = on.pointer<S>(gradient);
    a.slopes = on.pointer<S>(slopes), a.share = on.pointer<S>(share), a.partials = on.pointer<double>(partials);
    N3D_LAUNCH(photometric_kernel<S>, grid, T::threads, 0, on.stream(), a);
    N3D_LAUNCH(photometric_total_kernel<S>, 1, kTotalThreads, 0, on.stream(), a, tiles);
    N3D_LAUNCH(photometric_vjp_kernel<S>, grid, T::threads, 0, on.stream(), a);
    return std::make_tuple(loss, error, gradient);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) { m.impl("photometric", TORCH_BOX(&n3d::photometric)); }
