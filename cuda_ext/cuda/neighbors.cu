// Mean distance of each point to its nearest neighbours: how large a Gaussian must start so that a sparse point cloud
// looks closed.
//
// Points are sorted along a space-filling curve and put into boxes of 256 in that order. The nearest few along the
// curve bound how far a point's neighbours can be; only boxes within that bound are searched. Threads of a warp look
// for neighbouring points, so they mostly agree on the boxes.
//
// Source: Morton 1966, A computer oriented geodetic data base; the search by boxes along the curve is that of
// simple-knn, which came with Kerbl et al. 2023.
#include "../math/scalar.h"
#include "launch.h"
#include "primitives.h"
#include "warp.h"

namespace n3d {
namespace {

constexpr int kBox = 256, kMaxNeighbors = 16, kBoundThreads = 1024;

struct Box {
  float low[3], high[3];
};

// The points along the curve; w is unused.
struct Cloud {
  const float4* points;
  const Box* boxes;
  int64_t count;
  int box_count;
};

__device__ __forceinline__ Box empty_box() {
  const float infinity = __int_as_float(0x7f800000);
  return {{infinity, infinity, infinity}, {-infinity, -infinity, -infinity}};
}

__device__ __forceinline__ void add_point(Box& box, const float* p) {
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    box.low[k] = scalar::min(p[k], box.low[k]);
    box.high[k] = scalar::max(p[k], box.high[k]);
  }
}

// The box around the boxes of all threads, in thread 0.
template <int threads>
__device__ __forceinline__ Box block_box(Box box) {
  N3D_SHARED(space, Box[threads / kWarp]);
#pragma unroll
  for (int k = 0; k < 3; ++k) box.low[k] = warp_min(box.low[k]), box.high[k] = warp_max(box.high[k]);
  if (lane_in_warp() == 0) space[warp_in_block()] = box;
  __syncthreads();
  if (thread_in_block() == 0)
    for (int warp = 1; warp < threads / kWarp; ++warp)
      add_point(box, space[warp].low), add_point(box, space[warp].high);
  return box;
}

// One block looks at everything: once per training run.
__global__ void __launch_bounds__(kBoundThreads) bounds_kernel(const float* points, int64_t count, Box* bounds) {
  Box box = empty_box();
  for (int64_t i = threadIdx.x; i < count; i += kBoundThreads) add_point(box, points + 3 * i);
  box = block_box<kBoundThreads>(box);
  if (threadIdx.x == 0) *bounds = box;
}

// Ten bits of an integer, two zeros behind each.
__device__ __forceinline__ uint32_t spread(uint32_t x) {
  x = (x | x << 16) & 0x030000ffu;
  x = (x | x << 8) & 0x0300f00fu;
  x = (x | x << 4) & 0x030c30c3u;
  return (x | x << 2) & 0x09249249u;
}

__global__ void __launch_bounds__(kBox)
    code_kernel(const float* points, int64_t count, const Box* bounds, uint32_t* codes, int32_t* indices) {
  const int64_t i = int64_t(blockIdx.x) * kBox + threadIdx.x;
  if (i >= count) return;
  uint32_t code = 0;
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    // Where all points share a coordinate this is 0 / 0, which the bounds turn into 0.
    const float place = (points[3 * i + k] - bounds->low[k]) / (bounds->high[k] - bounds->low[k]);
    code |= spread(uint32_t(scalar::min(scalar::max(place * 1024.0f, 0.0f), 1023.0f))) << k;
  }
  codes[i] = code;
  indices[i] = int32_t(i);
}

// Puts 256 points into their order, and the box around them.
__global__ void __launch_bounds__(kBox)
    box_kernel(const float* points, const int32_t* indices, int64_t count, float4* sorted, Box* boxes) {
  const int64_t i = int64_t(blockIdx.x) * kBox + threadIdx.x;
  Box box = empty_box();
  if (i < count) {
    const float* p = points + 3 * int64_t(indices[i]);
    sorted[i] = make_float4(p[0], p[1], p[2], 0.0f);
    add_point(box, p);
  }
  box = block_box<kBox>(box);
  if (threadIdx.x == 0) boxes[blockIdx.x] = box;
}

// The k smallest squared distances seen so far, ascending; in registers, as every index is a constant.
struct Nearest {
  int k;
  float squared[kMaxNeighbors];

  __device__ __forceinline__ explicit Nearest(int k) : k(k) {
#pragma unroll
    for (int j = 0; j < kMaxNeighbors; ++j) squared[j] = __int_as_float(0x7f800000);
  }
  __device__ __forceinline__ void offer(float d) {
#pragma unroll
    for (int j = 0; j < kMaxNeighbors; ++j) {
      const float kept = squared[j];
      squared[j] = scalar::min(d, kept);
      d = scalar::max(d, kept);
    }
  }
  __device__ __forceinline__ float farthest() const {
    float d = squared[0];
#pragma unroll
    for (int j = 1; j < kMaxNeighbors; ++j)
      if (j < k) d = squared[j];
    return d;
  }
};

__device__ __forceinline__ float squared_distance(const float4& p, const float4& q) {
  const float dx = q.x - p.x, dy = q.y - p.y, dz = q.z - p.z;
  return dx * dx + dy * dy + dz * dz;
}

__device__ __forceinline__ float squared_distance(const Box& box, const float4& p) {
  const float at[3] = {p.x, p.y, p.z};
  float sum = 0.0f;
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    const float d = scalar::max(scalar::max(box.low[k] - at[k], at[k] - box.high[k]), 0.0f);
    sum += d * d;
  }
  return sum;
}

// The k nearest of the 2k neighbours along the curve: no farther are the k nearest of all.
__device__ __forceinline__ float bound_along_curve(const Cloud& a, const float4& p, int64_t i, int k) {
  Nearest near(k);
  const int64_t begin = i - k > 0 ? i - k : 0, end = i + k + 1 < a.count ? i + k + 1 : a.count;
  for (int64_t j = begin; j < end; ++j)
    if (j != i) near.offer(squared_distance(p, a.points[j]));
  return near.farthest();
}

__global__ void __launch_bounds__(kBox) search_kernel(Cloud a, const int32_t* indices, int k, float* distances) {
  const int64_t i = int64_t(blockIdx.x) * kBox + threadIdx.x;
  if (i >= a.count) return;
  const float4 p = a.points[i];
  Nearest nearest(k);
  float bound = bound_along_curve(a, p, i, k);
  for (int b = 0; b < a.box_count; ++b) {
    // Rounding must not lose a box.
    if (squared_distance(a.boxes[b], p) > bound * 1.00001f) continue;
    const int64_t begin = int64_t(b) * kBox, end = begin + kBox < a.count ? begin + kBox : a.count;
    for (int64_t j = begin; j < end; ++j)
      if (j != i) nearest.offer(squared_distance(p, a.points[j]));
    bound = scalar::min(nearest.farthest(), bound);
  }
  float sum = 0.0f;
#pragma unroll
  for (int j = 0; j < kMaxNeighbors; ++j)
    if (j < k) sum += scalar::sqrt(nearest.squared[j]);
  distances[indices[i]] = sum / float(k);
}

}  // namespace

static Tensor neighbor_distances(Tensor points, int64_t k) {
  const OnDevice on(points);
  const int64_t n = points.size(0);
  STD_TORCH_CHECK(k >= 1 && k <= kMaxNeighbors && k < n && n <= INT32_MAX,
                  "neural3d: neighbor_distances needs 1 <= k <= 16, more than k points, and fewer than 2147483648");
  const float* from = on.pointer<float>(points);
  const unsigned blocks = blocks_for(n, kBox);
  Tensor distances = on.fresh({n}, ScalarType::Float), bounds = on.fresh({6}, ScalarType::Float);
  Tensor codes = on.fresh({2, n}, ScalarType::Int), indices = on.fresh({2, n}, ScalarType::Int);
  Tensor sorted = on.fresh({n, 4}, ScalarType::Float), boxes = on.fresh({int64_t(blocks), 6}, ScalarType::Float);
  uint32_t* code = reinterpret_cast<uint32_t*>(on.pointer<int32_t>(codes));
  int32_t* index = on.pointer<int32_t>(indices);
  float4* points4 = reinterpret_cast<float4*>(on.pointer<float>(sorted));
  Box *bound = reinterpret_cast<Box*>(on.pointer<float>(bounds)),
      *box = reinterpret_cast<Box*>(on.pointer<float>(boxes));
  N3D_LAUNCH(bounds_kernel, 1, kBoundThreads, 0, on.stream(), from, n, bound);
  N3D_LAUNCH(code_kernel, blocks, kBox, 0, on.stream(), from, n, bound, code, index);
  sort_pairs(on, code, code + n, index, index + n, n, 0, 30);
  N3D_LAUNCH(box_kernel, blocks, kBox, 0, on.stream(), from, index + n, n, points4, box);
  const Cloud cloud{points4, box, n, int(blocks)};
  N3D_LAUNCH(search_kernel, blocks, kBox, 0, on.stream(), cloud, index + n, int(k), on.pointer<float>(distances));
  return distances;
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) { m.impl("neighbor_distances", TORCH_BOX(&n3d::neighbor_distances)); }
