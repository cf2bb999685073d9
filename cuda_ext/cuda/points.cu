// Points that carry features: a thread finds the points near a place; a lane for each number (two, of 64) blends their
// features there. For the gradients the pairs of places and points are sorted by point, and whoever owns a point adds
// up what its places pull, in their order and without atomics.
//
// To refuse a neighbour that is no point, the host would have to wait for the numbers. So such a place gets NaN for its
// feature and its confidence, which nobody takes for an answer, and nothing is read for it.
#include "../math/neural_points.h"
#include "launch.h"
#include "primitives.h"
#include "sums.h"
#include "warp.h"

namespace n3d {
namespace {

constexpr int kThreads = 128;
constexpr int kMostNeighbors = 16;
constexpr int kPiece = 8;  // points whose pulls on the mix are one partial sum

// The k nearest so far, by (squared distance, name); their places in the arrays are known when compiling, so that they
// stay in registers.
template <class S, int C>
struct Nearest {
  S squared[C], farthest;
  int32_t name[C], farthest_name;
  int k;

  __device__ __forceinline__ explicit Nearest(int count) : farthest(INFINITY), farthest_name(INT32_MAX), k(count) {
#pragma unroll
    for (int i = 0; i < C; ++i) squared[i] = S(INFINITY), name[i] = INT32_MAX;
  }
  __device__ __forceinline__ S reach(S limit) const { return scalar::min(limit, farthest); }
  __device__ __forceinline__ static bool before(S d, int32_t n, S other, int32_t other_name) {
    return d < other || (d == other && n < other_name);
  }
  __device__ __forceinline__ void offer(S d, int32_t n) {
    if (!before(d, n, farthest, farthest_name)) return;
#pragma unroll
    for (int i = C - 1; i >= 0; --i) {
      const int left = i > 0 ? i - 1 : 0;
      if (i > 0 && before(d, n, squared[left], name[left])) {
        squared[i] = squared[left], name[i] = name[left];
      } else if (before(d, n, squared[i], name[i])) {
        squared[i] = d, name[i] = n;
      }
    }
#pragma unroll
    for (int i = 0; i < C; ++i)
      if (i == k - 1) farthest = squared[i], farthest_name = name[i];
  }
};

template <int C, class S>
__global__ void __launch_bounds__(kThreads)
    nearest_kernel(scalar::PointCells<S> a, const S* queries, int64_t count, int k, int32_t* neighbors) {
  const int64_t q = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (q >= count) return;
  Nearest<S, C> found(k);
  scalar::find_points(a, queries + 3 * q, found);
#pragma unroll
  for (int i = 0; i < C; ++i)
    if (i < k) neighbors[q * k + i] = found.squared[i] < S(INFINITY) ? found.name[i] : -1;
}

template <class S>
struct Blend {
  const S *positions, *points, *embeddings, *confidences, *mix;  // [S,3] [P,3] [P,C] [P] [3,C]
  const int32_t* neighbors;                                      // [S,K], -1 for none
  int64_t places, count;
  int k;
  S radius;
};

// The lanes that share a row of C numbers, and how many of these each has: lane + n kGroup is its n-th.
template <int C>
struct Row {
  static constexpr int kGroup = C < kWarp ? C : kWarp, kNumbers = C / kGroup, kGroups = kThreads / kGroup;
};

// relu(u + B offset), one number of it.
template <int C, class S>
__device__ __forceinline__ S answer(const S* u, const S* mix, const S* offset, int at) {
  S sum = scalar::fma(offset[0], __ldg(mix + at), __ldg(u + at));
  sum = scalar::fma(offset[1], __ldg(mix + C + at), sum);
  return scalar::max(scalar::fma(offset[2], __ldg(mix + 2 * C + at), sum), S(0));
}

// Each of the first k lanes of a group weighs one neighbour and tells the others. One that is no point weighs NaN, and
// makes all shares of its place NaN.
template <int C, class S>
__global__ void __launch_bounds__(kThreads) blend_kernel(Blend<S> a, S* features, S* confidence, S* shares) {
  using R = Row<C>;
  const int lane = int(threadIdx.x) % R::kGroup;
  const int64_t s = int64_t(blockIdx.x) * R::kGroups + threadIdx.x / R::kGroup;
  const bool exists = s < a.places, weighs = exists && lane < a.k;
  const int32_t mine = weighs ? a.neighbors[s * a.k + lane] : -1;
  S offset[3] = {}, weight(0), total(1), sums[R::kNumbers] = {}, known(0);
  if (mine >= a.count) weight = S(NAN);
  if (mine >= 0 && mine < a.count)
    weight = scalar::point_weight(a.positions + 3 * s, a.points + 3 * int64_t(mine), a.radius, offset);
  for (int k = 0; k < a.k; ++k) total += __shfl_sync(kWholeWarp, weight, k, R::kGroup);
  const S share = weight / total;
  if (weighs) shares[s * a.k + lane] = share;
  const S mass = share > S(0) ? share * a.confidences[mine] : S(0);
  for (int k = 0; k < a.k; ++k) {
    const S counted = __shfl_sync(kWholeWarp, share, k, R::kGroup), m = __shfl_sync(kWholeWarp, mass, k, R::kGroup);
    const int32_t point = __shfl_sync(kWholeWarp, mine, k, R::kGroup);
    const S away[3] = {__shfl_sync(kWholeWarp, offset[0], k, R::kGroup),
                       __shfl_sync(kWholeWarp, offset[1], k, R::kGroup),
                       __shfl_sync(kWholeWarp, offset[2], k, R::kGroup)};
    if (!(counted > S(0))) continue;
    known += m;
#pragma unroll
    for (int n = 0; n < R::kNumbers; ++n)
      sums[n] =
          scalar::fma(m, answer<C>(a.embeddings + int64_t(point) * C, a.mix, away, lane + n * R::kGroup), sums[n]);
  }
  if (!exists) return;
  const bool answers = total == total;
#pragma unroll
  for (int n = 0; n < R::kNumbers; ++n) features[s * C + lane + n * R::kGroup] = answers ? sums[n] : S(NAN);
  if (lane == 0) confidence[s] = answers ? known : S(NAN);
}

// What a pair is sorted by: its point; those without one come last, as do those whose neighbour is no point.
__global__ void __launch_bounds__(kThreads)
    pairs_kernel(const int32_t* neighbors, int64_t count, uint32_t points, uint32_t* keys, int32_t* pairs) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  keys[i] = uint32_t(neighbors[i]) < points ? uint32_t(neighbors[i]) : points;
  pairs[i] = int32_t(i);
}

struct SortedPairs {
  const uint32_t* points;
  const int32_t* pairs;
  int64_t count;

  // Where the pairs of `point` begin.
  __device__ __forceinline__ int64_t first(uint32_t point) const {
    int64_t low = 0, high = count;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (points[middle] < point) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

template <class S>
struct Pulls {
  const S *shares, *features, *confidence;  // [S,K] [S,C] [S]: the first as blended, the others by the results
  S *embeddings, *confidences, *mix;        // [P,C] [P] [pieces,3,C]
};

// A group for kPiece points.
template <int C, class S>
__global__ void __launch_bounds__(kThreads) pull_kernel(Blend<S> a, SortedPairs sorted, Pulls<S> pulls) {
  using R = Row<C>;
  const int lane = int(threadIdx.x) % R::kGroup;
  const int64_t piece = int64_t(blockIdx.x) * R::kGroups + threadIdx.x / R::kGroup;
  S d_rows[3][R::kNumbers] = {};
  for (int64_t p = piece * kPiece; p < (piece + 1) * kPiece; ++p) {  // all of a warp's lanes go round as often
    const bool exists = p < a.count;
    const int64_t begin = exists ? sorted.first(uint32_t(p)) : 0, end = exists ? sorted.first(uint32_t(p) + 1) : 0;
    S d_u[R::kNumbers] = {}, d_confidence(0);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t pair = sorted.pairs[i], s = pair / a.k;
      S offset[3];
      scalar::point_weight(a.positions + 3 * s, a.points + 3 * p, a.radius, offset);
      const S share = pulls.shares[pair], weight = share * a.confidences[p];
      if (lane == 0) d_confidence += share * pulls.confidence[s];
#pragma unroll
      for (int n = 0; n < R::kNumbers; ++n) {
        const int at = lane + n * R::kGroup;
        const S h = answer<C>(a.embeddings + p * C, a.mix, offset, at), g = pulls.features[s * C + at];
        d_confidence = scalar::fma(share * g, h, d_confidence);
        const S pull = h > S(0) ? weight * g : S(0);
        d_u[n] += pull;
#pragma unroll
        for (int axis = 0; axis < 3; ++axis) d_rows[axis][n] = scalar::fma(offset[axis], pull, d_rows[axis][n]);
      }
    }
#pragma unroll
    for (int d = R::kGroup / 2; d > 0; d /= 2) d_confidence += __shfl_xor_sync(kWholeWarp, d_confidence, d);
    if (!exists) continue;
#pragma unroll
    for (int n = 0; n < R::kNumbers; ++n) pulls.embeddings[p * C + lane + n * R::kGroup] = d_u[n];
    if (lane == 0) pulls.confidences[p] = d_confidence;
  }
  if (piece * kPiece >= a.count) return;
#pragma unroll
  for (int axis = 0; axis < 3; ++axis)
#pragma unroll
    for (int n = 0; n < R::kNumbers; ++n) pulls.mix[(piece * 3 + axis) * C + lane + n * R::kGroup] = d_rows[axis][n];
}

// A block for each number of the mix.
template <class S>
__global__ void __launch_bounds__(kThreads) mix_kernel(const S* partials, int64_t pieces, S* d_mix) {
  S sum[1] = {};
  for (int64_t piece = threadIdx.x; piece < pieces; piece += kThreads)
    sum[0] += partials[piece * gridDim.x + blockIdx.x];
  N3D_SHARED(total, double[1]);
  write_block_sums<kThreads, 1>(sum, total);
  if (threadIdx.x == 0) d_mix[blockIdx.x] = S(total[0]);
}

// Where the cells' points begin lies on the device, so the sizes alone are checked.
template <class S>
scalar::PointCells<S> cells_of(const OnDevice& on, const Tensor& points, const Tensor& cells, const Tensor& names,
                               const Tensor& first, double radius, double cells_per_unit) {
  const int64_t count = points.size(0), slots = first.numel() - 1;
  STD_TORCH_CHECK(points.numel() == 3 * count && cells.numel() == 3 * count && names.numel() == count,
                  "neural3d: an index holds a place, a cell and a name for each point");
  STD_TORCH_CHECK(slots >= 1 && slots <= int64_t(1) << 31 && (slots & (slots - 1)) == 0,
                  "neural3d: slots are a power of two");
  STD_TORCH_CHECK(radius > 0 && cells_per_unit > 0 && cells_per_unit * radius <= 1,
                  "neural3d: a cell is at least as large as the radius");
  return {on.pointer<S>(points),
          on.pointer<int32_t>(cells),
          on.pointer<int32_t>(names),
          on.pointer<int32_t>(first),
          uint32_t(slots - 1),
          radius,
          cells_per_unit};
}

template <class S>
Blend<S> blend_of(const OnDevice& on, const Tensor& positions, const Tensor& points, const Tensor& embeddings,
                  const Tensor& confidences, const Tensor& mix, const Tensor& neighbors, double radius) {
  STD_TORCH_CHECK(neighbors.dim() == 2 && embeddings.dim() == 2, "neural3d: neighbours are [S, K], embeddings [P, C]");
  const int64_t places = neighbors.size(0), k = neighbors.size(1), count = embeddings.size(0);
  const int64_t width = embeddings.size(1);
  STD_TORCH_CHECK(k >= 1 && k <= kMostNeighbors && places * k < int64_t(1) << 31 && radius > 0,
                  "neural3d: 1 to 16 neighbours of fewer than 2^31 in all, within a radius");
  STD_TORCH_CHECK(width == 16 || width == 32 || width == 64, "neural3d: a point has 16, 32 or 64 numbers");
  STD_TORCH_CHECK(positions.numel() == 3 * places && points.numel() == 3 * count && confidences.numel() == count &&
                      mix.numel() == 3 * width,
                  "neural3d: a place and a point have three coordinates, a point a confidence, a mix three rows");
  return {on.pointer<S>(positions),
          on.pointer<S>(points),
          on.pointer<S>(embeddings),
          on.pointer<S>(confidences),
          on.pointer<S>(mix),
          on.pointer<int32_t>(neighbors),
          places,
          count,
          int(k),
          S(radius)};
}

// Calls f with the constant number of numbers of a row.
template <class F>
void for_width(int64_t width, const F& f) {
  if (width == 16) return f(std::integral_constant<int, 16>());
  if (width == 32) return f(std::integral_constant<int, 32>());
  f(std::integral_constant<int, 64>());
}

}  // namespace

static Tensor nearest_points(Tensor queries, Tensor points, Tensor cells, Tensor names, Tensor first, double radius,
                             double cells_per_unit, int64_t k) {
  return N3D_FOR_SCALAR(queries, S, [&] {
    const OnDevice on(queries);
    const auto a = cells_of<S>(on, points, cells, names, first, radius, cells_per_unit);
    const int64_t count = queries.size(0);
    STD_TORCH_CHECK(k >= 1 && k <= kMostNeighbors && queries.numel() == 3 * count,
                    "neural3d: nearest_points finds 1 to 16 points around places [S, 3]");
    Tensor neighbors = on.fresh({count, k}, ScalarType::Int);
    const auto search = [&](auto most) {
      N3D_LAUNCH((nearest_kernel<decltype(most)::value, S>), blocks_for(count, kThreads), kThreads, 0, on.stream(), a,
                 on.pointer<S>(queries), count, int(k), on.pointer<int32_t>(neighbors));
    };
    k <= 8 ? search(std::integral_constant<int, 8>()) : search(std::integral_constant<int, kMostNeighbors>());
    return neighbors;
  });
}

static std::tuple<Tensor, Tensor, Tensor> blend_points(Tensor positions, Tensor points, Tensor embeddings,
                                                       Tensor confidences, Tensor mix, Tensor neighbors,
                                                       double radius) {
  return N3D_FOR_SCALAR(positions, S, [&] {
    const OnDevice on(positions);
    const auto a = blend_of<S>(on, positions, points, embeddings, confidences, mix, neighbors, radius);
    const int64_t width = embeddings.size(1);
    Tensor features = on.fresh({a.places, width}, scalar_type<S>());
    Tensor confidence = on.fresh({a.places}, scalar_type<S>()), shares = on.fresh({a.places, a.k}, scalar_type<S>());
    for_width(width, [&](auto numbers) {
      constexpr int C = decltype(numbers)::value;
      N3D_LAUNCH((blend_kernel<C, S>), blocks_for(a.places, Row<C>::kGroups), kThreads, 0, on.stream(), a,
                 on.pointer<S>(features), on.pointer<S>(confidence), on.pointer<S>(shares));
    });
    return std::make_tuple(features, confidence, shares);
  });
}

static std::tuple<Tensor, Tensor, Tensor> blend_points_vjp(Tensor positions, Tensor points, Tensor embeddings,
                                                           Tensor confidences, Tensor mix, Tensor neighbors,
                                                           double radius, Tensor shares, Tensor grad_features,
                                                           Tensor grad_confidence) {
  return N3D_FOR_SCALAR(positions, S, [&] {
    const OnDevice on(positions);
    const auto a = blend_of<S>(on, positions, points, embeddings, confidences, mix, neighbors, radius);
    const int64_t width = embeddings.size(1), count = a.places * a.k, pieces = (a.count + kPiece - 1) / kPiece;
    STD_TORCH_CHECK(shares.numel() == count && grad_features.numel() == a.places * width &&
                        grad_confidence.numel() == a.places && a.count < int64_t(1) << 31,
                    "neural3d: gradients are as large as what they belong to");
    Tensor work[4];
    for (Tensor& t : work) t = on.fresh({count}, ScalarType::Int);
    const auto keys_of = [&](const Tensor& t) { return reinterpret_cast<uint32_t*>(on.pointer<int32_t>(t)); };
    uint32_t *keys = keys_of(work[0]), *sorted_keys = keys_of(work[1]);
    int32_t *pairs = on.pointer<int32_t>(work[2]), *sorted_pairs = on.pointer<int32_t>(work[3]);
    N3D_LAUNCH(pairs_kernel, blocks_for(count, kThreads), kThreads, 0, on.stream(), a.neighbors, count,
               uint32_t(a.count), keys, pairs);
    sort_pairs(on, keys, sorted_keys, pairs, sorted_pairs, count, 0, bits_for(uint32_t(a.count) + 1));
    Tensor d_embeddings = on.fresh({a.count, width}, scalar_type<S>());
    Tensor d_confidences = on.fresh({a.count}, scalar_type<S>()), d_mix = on.fresh({3, width}, scalar_type<S>());
    Tensor partials = on.fresh({pieces, 3, width}, scalar_type<S>());
    const Pulls<S> pulls = {on.pointer<S>(shares),       on.pointer<S>(grad_features), on.pointer<S>(grad_confidence),
                            on.pointer<S>(d_embeddings), on.pointer<S>(d_confidences), on.pointer<S>(partials)};
    for_width(width, [&](auto numbers) {
      constexpr int C = decltype(numbers)::value;
      N3D_LAUNCH((pull_kernel<C, S>), blocks_for(pieces, Row<C>::kGroups), kThreads, 0, on.stream(), a,
                 SortedPairs{sorted_keys, sorted_pairs, count}, pulls);
    });
    N3D_LAUNCH(mix_kernel<S>, unsigned(3 * width), kThreads, 0, on.stream(), on.pointer<S>(partials), pieces,
               on.pointer<S>(d_mix));
    return std::make_tuple(d_embeddings, d_confidences, d_mix);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("nearest_points", TORCH_BOX(&n3d::nearest_points));
  m.impl("blend_points", TORCH_BOX(&n3d::blend_points));
  m.impl("blend_points_vjp", TORCH_BOX(&n3d::blend_points_vjp));
}
