// A bilateral grid over one image: each pixel reads the eight nodes around it.
//
// What pixels pull on the nodes is summed without atomics. The rows between two rows of nodes are a band; a block takes
// a strip of 32 columns of some of its rows, and each of its warps a level of the grid, skipping rows without a pixel
// near its level. A lane sums down its column, the warp over the columns that see a node, and a second kernel over the
// strips and bands around each node, always in the same order.
#include "../math/bilateral.h"
#include "launch.h"
#include "rows.h"
#include "warp.h"

namespace n3d {
namespace {

constexpr int kThreads = 256, kMatrix = 12, kStrip = kWarp, kPartRows = 64;

// Nodes lie as [Y,X,Z,12], so that what a pixel reads of a node is one piece.
template <class S>
struct Bilateral {
  const S *image, *grad;  // [3,H,W]
  S* nodes;
  int width, height, nodes_x, nodes_y, nodes_z;

  __device__ __forceinline__ int64_t plane() const { return int64_t(width) * height; }
};

// A place among the nodes of one axis: between `low` and `high`, by a share of `above` at `high`.
template <class S>
struct Between {
  int low, high;
  S above;
};

template <class S>
__device__ __forceinline__ Between<S> between(const S& position, int nodes) {
  const int low = min(int(position), nodes - 1);
  return {low, min(low + 1, nodes - 1), position - S(low)};
}

template <class S>
struct Pixel {
  S x[3], luma, level;
  Between<S> column, row, depth;
};

template <class S>
__device__ __forceinline__ void load_color(const Bilateral<S>& a, int64_t at, Pixel<S>& p) {
#pragma unroll
  for (int c = 0; c < 3; ++c) p.x[c] = a.image[c * a.plane() + at];
  p.luma = scalar::luma(p.x);
  p.level = S(a.nodes_z - 1) * scalar::guide(p.luma);
}

template <class S>
__device__ __forceinline__ Pixel<S> load_pixel(const Bilateral<S>& a, int64_t at) {
  Pixel<S> p;
  load_color(a, at, p);
  p.column = between(scalar::node_position<S>(int(at % a.width), a.width, a.nodes_x), a.nodes_x);
  p.row = between(scalar::node_position<S>(int(at / a.width), a.height, a.nodes_y), a.nodes_y);
  p.depth = between(p.level, a.nodes_z);
  return p;
}

// Calls f(share, matrix) for the four columns of nodes around a pixel, at one level.
template <class S, class F>
__device__ __forceinline__ void each_node(const Bilateral<S>& a, const Pixel<S>& p, int z, const F& f) {
#pragma unroll
  for (int corner = 0; corner < 4; ++corner) {
    const bool right = corner & 1, under = corner & 2;
    const int x = right ? p.column.high : p.column.low, y = under ? p.row.high : p.row.low;
    const S share = (right ? p.column.above : S(1) - p.column.above) * (under ? p.row.above : S(1) - p.row.above);
    S matrix[kMatrix];
    load_row<kMatrix>(a.nodes + ((int64_t(y) * a.nodes_x + x) * a.nodes_z + z) * kMatrix, true, matrix);
    f(share, matrix);
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads) arrange_kernel(Bilateral<S> a, const S* grid, int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t k = i % kMatrix, z = i / kMatrix % a.nodes_z, yx = i / kMatrix / a.nodes_z;
  a.nodes[i] = grid[(k * a.nodes_z + z) * (int64_t(a.nodes_y) * a.nodes_x) + yx];
}

template <class S>
__global__ void __launch_bounds__(kThreads) slice_kernel(Bilateral<S> a, S* out) {
  const int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= a.plane()) return;
  const Pixel<S> p = load_pixel(a, at);
  S m[kMatrix] = {};
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const S weight = side ? p.depth.above : S(1) - p.depth.above;
    each_node(a, p, side ? p.depth.high : p.depth.low, [&](S share, const S* matrix) {
#pragma unroll
      for (int k = 0; k < kMatrix; ++k) m[k] = scalar::fma(weight * share, matrix[k], m[k]);
    });
  }
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const S* row = m + 4 * c;
    out[c * a.plane() + at] =
        scalar::fma(row[0], p.x[0], scalar::fma(row[1], p.x[1], scalar::fma(row[2], p.x[2], row[3])));
  }
}

// The gradient by the pixel's colour: straight, and by way of the level at which it reads the grid.
template <class S>
__global__ void __launch_bounds__(kThreads) pull_image_kernel(Bilateral<S> a, S* d_image) {
  const int64_t at = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= a.plane()) return;
  const Pixel<S> p = load_pixel(a, at);
  S g[3], d_x[3] = {}, d_level = S(0);
#pragma unroll
  for (int c = 0; c < 3; ++c) g[c] = a.grad[c * a.plane() + at];
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    S back[4] = {};  // A^T g, if this were the only level
    each_node(a, p, side ? p.depth.high : p.depth.low, [&](S share, const S* m) {
#pragma unroll
      for (int k = 0; k < 4; ++k)
        back[k] = scalar::fma(share, scalar::fma(g[0], m[k], scalar::fma(g[1], m[4 + k], g[2] * m[8 + k])), back[k]);
    });
    const S weight = side ? p.depth.above : S(1) - p.depth.above;
    const S along = scalar::fma(back[0], p.x[0], scalar::fma(back[1], p.x[1], scalar::fma(back[2], p.x[2], back[3])));
    d_level += side ? along : -along;
#pragma unroll
    for (int k = 0; k < 3; ++k) d_x[k] = scalar::fma(weight, back[k], d_x[k]);
  }
  const S d_luma = S(a.nodes_z - 1) * scalar::guide_slope(p.luma) * d_level;
#pragma unroll
  for (int k = 0; k < 3; ++k) d_image[k * a.plane() + at] = scalar::fma(S(scalar::luma_weight(k)), d_luma, d_x[k]);
}

// How the image is divided for the sums over pixels. Part (band, part, strip) leaves at partials + index() a block of
// [nodes of the strip, over or under the band, Z, 12].
struct Division {
  int bands, parts, strips, strip_nodes;
  int nodes_z;

  __host__ __device__ __forceinline__ int64_t block() const { return int64_t(strip_nodes) * 2 * nodes_z * kMatrix; }
  __device__ __forceinline__ int64_t index(int band, int part, int strip) const {
    return ((int64_t(band) * parts + part) * strips + strip) * block();
  }
};

// First row of a band: the first that lies at or below its upper row of nodes.
template <class S>
__device__ __forceinline__ int first_row(const Bilateral<S>& a, const Division& division, int band) {
  if (band == division.bands) return a.height;
  int low = 0, high = a.height;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (int(scalar::node_position<S>(middle, a.height, a.nodes_y)) < band)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// First node that a strip's columns see, and how many.
struct StripNodes {
  int first, count;
};
template <class S>
__device__ __forceinline__ StripNodes nodes_of_strip(const Bilateral<S>& a, int strip) {
  const int begin = strip * kStrip, end = min(begin + kStrip, a.width);
  const int first = between(scalar::node_position<S>(begin, a.width, a.nodes_x), a.nodes_x).low;
  const int last = between(scalar::node_position<S>(end - 1, a.width, a.nodes_x), a.nodes_x).high;
  return {first, last - first + 1};
}

// What one column of rows [begin, end) pulls on level z of the nodes over (sums[0 .. 11]) and under the band.
template <class S>
__device__ __forceinline__ void pull_column(const Bilateral<S>& a, int band, int begin, int end, int column, int z,
                                            S* sums) {
  for (int row = begin; row < end; ++row) {
    Pixel<S> p;
    S g[3], weight = S(0);
    const int64_t at = int64_t(row) * a.width + column;
    if (column < a.width) {
      load_color(a, at, p);
      weight = scalar::hat(p.level - S(z));
    }
    if (!__any_sync(kWholeWarp, weight > S(0))) continue;
    if (!(weight > S(0))) continue;
#pragma unroll
    for (int c = 0; c < 3; ++c) g[c] = a.grad[c * a.plane() + at];
    const S under = weight * (scalar::node_position<S>(row, a.height, a.nodes_y) - S(band)), over = weight - under;
#pragma unroll
    for (int k = 0; k < kMatrix; ++k) {
      const S pull = k % 4 < 3 ? g[k / 4] * p.x[k % 4] : g[k / 4];
      sums[k] = scalar::fma(over, pull, sums[k]);
      sums[kMatrix + k] = scalar::fma(under, pull, sums[kMatrix + k]);
    }
  }
}

// The sums over the warp's columns, for each node by its share in them.
template <class S>
__device__ __forceinline__ void write_nodes(const Bilateral<S>& a, int strip, int column, int z, const S* sums,
                                            S* block) {
  const StripNodes nodes = nodes_of_strip(a, strip);
  const S position = scalar::node_position<S>(column, a.width, a.nodes_x);
  for (int node = 0; node < nodes.count; ++node) {
    const S share = column < a.width ? scalar::hat(position - S(nodes.first + node)) : S(0);
    S shares[kWarp] = {};
#pragma unroll
    for (int k = 0; k < 2 * kMatrix; ++k) shares[k] = share * sums[k];
    const S total = warp_sums(shares);
    const int k = lane_in_warp();
    if (k < 2 * kMatrix) block[((node * 2 + k / kMatrix) * a.nodes_z + z) * kMatrix + k % kMatrix] = total;
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads) pull_nodes_kernel(Bilateral<S> a, Division division, S* partials) {
  const int strip = int(blockIdx.x), part = int(blockIdx.y) % division.parts, band = int(blockIdx.y) / division.parts;
  const int begin = first_row(a, division, band) + part * kPartRows, next = first_row(a, division, band + 1);
  const int end = part + 1 == division.parts ? next : min(begin + kPartRows, next);
  const int column = strip * kStrip + lane_in_warp();
  S* block = partials + division.index(band, part, strip);
  for (int z = warp_in_block(); z < a.nodes_z; z += kThreads / kWarp) {
    S sums[2 * kMatrix] = {};
    pull_column(a, band, begin, end, column, z, sums);
    write_nodes(a, strip, column, z, sums, block);
  }
}

// What one band pulls on a node: `under` it or over it.
template <class S>
__device__ __forceinline__ double total_of_band(const Bilateral<S>& a, const Division& division, const S* partials,
                                                int band, int under, int x, int z, int k) {
  double total = 0;
  for (int strip = 0; strip < division.strips; ++strip) {
    const StripNodes nodes = nodes_of_strip(a, strip);
    if (x < nodes.first || x >= nodes.first + nodes.count) continue;
    const int64_t at = (int64_t((x - nodes.first) * 2 + under) * a.nodes_z + z) * kMatrix + k;
    for (int part = 0; part < division.parts; ++part) total += double(partials[division.index(band, part, strip) + at]);
  }
  return total;
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    total_kernel(Bilateral<S> a, Division division, const S* partials, int64_t count, S* d_grid) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int k = int(i % kMatrix), z = int(i / kMatrix % a.nodes_z);
  const int x = int(i / kMatrix / a.nodes_z % a.nodes_x), y = int(i / kMatrix / a.nodes_z / a.nodes_x);
  double total = 0;
  if (y < division.bands) total += total_of_band(a, division, partials, y, 0, x, z, k);
  if (y > 0) total += total_of_band(a, division, partials, y - 1, 1, x, z, k);
  d_grid[((int64_t(k) * a.nodes_z + z) * a.nodes_y + y) * a.nodes_x + x] = S(total);
}

// Checks the sizes, and lays the grid out as the kernels want it.
template <class S>
Bilateral<S> bilateral_arguments(const OnDevice& on, const Tensor& image, const Tensor& grid, Tensor& nodes) {
  STD_TORCH_CHECK(image.dim() == 3 && image.size(0) == 3, "neural3d: an image is [3, H, W]");
  STD_TORCH_CHECK(grid.dim() == 4 && grid.size(0) == kMatrix && grid.numel() > 0, "neural3d: a grid is [12, Z, Y, X]");
  Bilateral<S> a = {};
  a.image = on.pointer<S>(image), a.height = int(image.size(1)), a.width = int(image.size(2));
  a.nodes_z = int(grid.size(1)), a.nodes_y = int(grid.size(2)), a.nodes_x = int(grid.size(3));
  const int64_t count = grid.numel();
  nodes = on.fresh({count}, scalar_type<S>());
  a.nodes = on.pointer<S>(nodes);
  N3D_LAUNCH(arrange_kernel<S>, blocks_for(count, kThreads), kThreads, 0, on.stream(), a, on.pointer<S>(grid), count);
  return a;
}

template <class S>
Division division_of(const Bilateral<S>& a) {
  Division d = {};
  d.bands = a.nodes_y > 1 ? a.nodes_y - 1 : 1;
  d.parts = int(blocks_for(a.height / d.bands + 1, kPartRows));
  d.strips = int(blocks_for(a.width, kStrip));
  // 32 columns are so many steps from node to node, begun and ended between nodes.
  const int64_t most = a.width > 0 ? int64_t(kStrip) * (a.nodes_x - 1) / a.width + 3 : 1;
  d.strip_nodes = int(most < a.nodes_x ? most : a.nodes_x);
  d.nodes_z = a.nodes_z;
  return d;
}

}  // namespace

static Tensor bilateral_slice(Tensor image, Tensor grid) {
  return N3D_FOR_SCALAR(image, S, [&] {
    const OnDevice on(image);
    Tensor nodes;
    const auto a = bilateral_arguments<S>(on, image, grid, nodes);
    Tensor out = on.fresh({3, a.height, a.width}, scalar_type<S>());
    N3D_LAUNCH(slice_kernel<S>, blocks_for(int64_t(a.width) * a.height, kThreads), kThreads, 0, on.stream(), a,
               on.pointer<S>(out));
    return out;
  });
}

static std::tuple<Tensor, Tensor> bilateral_slice_vjp(Tensor image, Tensor grid, Tensor grad) {
  return N3D_FOR_SCALAR(image, S, [&] {
    const OnDevice on(image);
    STD_TORCH_CHECK(grad.numel() == image.numel(), "neural3d: a gradient has the image's size");
    Tensor nodes;
    auto a = bilateral_arguments<S>(on, image, grid, nodes);
    a.grad = on.pointer<S>(grad);
    Tensor d_image = on.fresh({3, a.height, a.width}, scalar_type<S>());
    Tensor d_grid = on.fresh({kMatrix, a.nodes_z, a.nodes_y, a.nodes_x}, scalar_type<S>());
    const Division division = division_of(a);
    Tensor partials =
        on.fresh({int64_t(division.bands) * division.parts * division.strips * division.block()}, scalar_type<S>());
    S* sums = on.pointer<S>(partials);
    N3D_LAUNCH(pull_image_kernel<S>, blocks_for(int64_t(a.width) * a.height, kThreads), kThreads, 0, on.stream(), a,
               on.pointer<S>(d_image));
    N3D_LAUNCH(pull_nodes_kernel<S>, dim3(division.strips, division.bands * division.parts), kThreads, 0, on.stream(),
               a, division, sums);
    N3D_LAUNCH(total_kernel<S>, blocks_for(grid.numel(), kThreads), kThreads, 0, on.stream(), a, division, sums,
               grid.numel(), on.pointer<S>(d_grid));
    return std::make_tuple(d_image, d_grid);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("bilateral_slice", TORCH_BOX(&n3d::bilateral_slice));
  m.impl("bilateral_slice_vjp", TORCH_BOX(&n3d::bilateral_slice_vjp));
}
