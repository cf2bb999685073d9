// A multiresolution hash grid. One thread looks up one point in one level. For the table's gradient the corners of a
// level are sorted by their rows, and a warp adds up what belongs to one row, in a fixed order and without atomics.
#include "../math/hashgrid.h"
#include "adam_rows.h"
#include "launch.h"
#include "order.h"
#include "primitives.h"
#include "warp.h"

namespace n3d {
namespace {

constexpr int kThreads = 256;

template <class S>
struct Hash {
  const S *positions, *table;  // [P,3] [rows,features]
  int64_t points;
  bool smooth;
  HashLevels levels;
  const S* grad;  // [P,levels features]
};

// One point in one level.
template <class S>
struct Place {
  scalar::HashAxis<S> axis[3];
  __device__ __forceinline__ Place(const Hash<S>& a, const HashLevel& level, int64_t point) {
#pragma unroll
    for (int k = 0; k < 3; ++k) axis[k] = scalar::hash_axis(a.positions[3 * point + k], level.cells, a.smooth);
  }
  __device__ __forceinline__ uint32_t row(const HashLevel& level, int k) const {
    return scalar::hash_row(level, uint32_t(axis[0].cell + (k & 1)), uint32_t(axis[1].cell + (k >> 1 & 1)),
                            uint32_t(axis[2].cell + (k >> 2)));
  }
  __device__ __forceinline__ S share(int k, int along) const {
    return scalar::corner_share(k >> along & 1, axis[along].share);
  }
  __device__ __forceinline__ S weight(int k) const { return share(k, 0) * share(k, 1) * share(k, 2); }
};

template <int F, class S>
__global__ void __launch_bounds__(kThreads) encode_kernel(Hash<S> a, S* out) {
  const int64_t point = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (point >= a.points) return;
  const HashLevel& level = a.levels.level[blockIdx.y];
  const Place<S> place(a, level, point);
  S sum[F] = {};
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    const S* row = a.table + (level.first + place.row(level, k)) * F;
    const S weight = place.weight(k);
#pragma unroll
    for (int f = 0; f < F; ++f) sum[f] += weight * __ldg(row + f);
  }
#pragma unroll
  for (int f = 0; f < F; ++f) out[(point * a.levels.count + blockIdx.y) * F + f] = sum[f];
}

template <int F, class S>
__global__ void __launch_bounds__(kThreads) pull_positions_kernel(Hash<S> a, S* d_positions) {
  const int64_t point = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (point >= a.points) return;
  S total[3] = {};
  for (int l = 0; l < a.levels.count; ++l) {
    const HashLevel& level = a.levels.level[l];
    const Place<S> place(a, level, point);
    const S* grad = a.grad + (point * a.levels.count + l) * F;
    S along[3] = {};
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const S* row = a.table + (level.first + place.row(level, k)) * F;
      S dot(0);
#pragma unroll
      for (int f = 0; f < F; ++f) dot += __ldg(row + f) * grad[f];
#pragma unroll
      for (int axis = 0; axis < 3; ++axis) {
        const S side = place.share(k, (axis + 1) % 3) * place.share(k, (axis + 2) % 3);
        along[axis] += (k >> axis & 1 ? side : -side) * dot;
      }
    }
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) total[axis] += place.axis[axis].slope * along[axis];
  }
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) d_positions[3 * point + axis] = total[axis];
}

// What a corner is sorted by, and which it is: 8 point + k.
template <class S>
__global__ void __launch_bounds__(kThreads) corners_kernel(Hash<S> a, int l, uint32_t* rows, int32_t* corners) {
  const int64_t point = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (point >= a.points) return;
  const HashLevel& level = a.levels.level[l];
  const Place<S> place(a, level, point);
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    rows[8 * point + k] = place.row(level, k);
    corners[8 * point + k] = int32_t(8 * point + k);
  }
}

__global__ void __launch_bounds__(kThreads) heads_kernel(const uint32_t* rows, int64_t count, uint32_t* is_head) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) is_head[i] = i == 0 || rows[i] != rows[i - 1];
}

// Where the corners of the n-th row that has any begin.
__global__ void __launch_bounds__(kThreads) begins_kernel(const uint32_t* is_head, const uint32_t* heads_before,
                                                          int64_t count, int32_t* begins, uint32_t* heads) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  if (is_head[i]) begins[heads_before[i]] = int32_t(i);
  if (i == count - 1) *heads = heads_before[i] + is_head[i];
}

// A level's corners, sorted by their rows.
struct Sorted {
  const uint32_t* rows;
  const int32_t *corners, *begins;
  const uint32_t* heads;
  int64_t count;
};

template <int F, class S>
__global__ void __launch_bounds__(kThreads) pull_rows_kernel(Hash<S> a, int l, Sorted sorted, S* d_table) {
  const int64_t head = int64_t(blockIdx.x) * (kThreads / kWarp) + warp_in_block();
  const uint32_t heads = *sorted.heads;
  if (head >= heads) return;
  const int64_t begin = sorted.begins[head], end = head + 1 < heads ? sorted.begins[head + 1] : sorted.count;
  const HashLevel& level = a.levels.level[l];
  S sum[F] = {};
  for (int64_t i = begin + lane_in_warp(); i < end; i += kWarp) {
    const int64_t point = sorted.corners[i] / 8;
    const S weight = Place<S>(a, level, point).weight(sorted.corners[i] % 8);
    const S* grad = a.grad + (point * a.levels.count + l) * F;
#pragma unroll
    for (int f = 0; f < F; ++f) sum[f] += weight * grad[f];
  }
#pragma unroll
  for (int f = 0; f < F; ++f) sum[f] = warp_sum(sum[f]);
  if (lane_in_warp() > 0) return;
  S* row = d_table + (level.first + sorted.rows[begin]) * F;
#pragma unroll
  for (int f = 0; f < F; ++f) row[f] = sum[f];
}

// Each point adds to its rows by itself: only to measure what order costs.
template <int F, class S>
__global__ void __launch_bounds__(kThreads) add_corners_kernel(Hash<S> a, S* d_table) {
  const int64_t point = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (point >= a.points) return;
  const HashLevel& level = a.levels.level[blockIdx.y];
  const Place<S> place(a, level, point);
  const S* grad = a.grad + (point * a.levels.count + blockIdx.y) * F;
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    S* row = d_table + (level.first + place.row(level, k)) * F;
#pragma unroll
    for (int f = 0; f < F; ++f) leave_part(row + f, place.weight(k) * grad[f]);
  }
}

// The gradient of one level's rows, for all levels in turn in the same work space.
template <int F, class S>
void sum_corners(const OnDevice& on, const Hash<S>& a, S* d_table) {
  const int64_t count = 8 * a.points;
  if (count == 0) return;
  STD_TORCH_CHECK(count < int64_t(1) << 31, "neural3d: a hash grid takes fewer than 2^28 points at a time");
  Tensor work[6];
  for (Tensor& t : work) t = on.fresh({count}, ScalarType::Int);
  Tensor total = on.fresh({1}, ScalarType::Int);
  const auto unsigned_of = [&](const Tensor& t) { return reinterpret_cast<uint32_t*>(on.pointer<int32_t>(t)); };
  uint32_t *rows = unsigned_of(work[0]), *sorted_rows = unsigned_of(work[1]);
  int32_t *corners = on.pointer<int32_t>(work[2]), *sorted_corners = on.pointer<int32_t>(work[3]);
  uint32_t *is_head = rows, *heads_before = unsigned_of(work[4]), *heads = unsigned_of(total);
  int32_t* begins = on.pointer<int32_t>(work[5]);
  const unsigned blocks = blocks_for(count, kThreads);
  for (int l = 0; l < a.levels.count; ++l) {
    const uint32_t level_rows = a.levels.level[l].rows;
    N3D_LAUNCH(corners_kernel<S>, blocks_for(a.points, kThreads), kThreads, 0, on.stream(), a, l, rows, corners);
    sort_pairs(on, rows, sorted_rows, corners, sorted_corners, count, 0, bits_for(level_rows));
    N3D_LAUNCH(heads_kernel, blocks, kThreads, 0, on.stream(), sorted_rows, count, is_head);
    exclusive_sum(on, is_head, heads_before, count);
    N3D_LAUNCH(begins_kernel, blocks, kThreads, 0, on.stream(), is_head, heads_before, count, begins, heads);
    const int64_t most = count < level_rows ? count : level_rows;
    N3D_LAUNCH((pull_rows_kernel<F, S>), blocks_for(most, kThreads / kWarp), kThreads, 0, on.stream(), a, l,
               Sorted{sorted_rows, sorted_corners, begins, heads, count}, d_table);
  }
}

// The gradient of the whole table, which is all 0 before.
template <int F, class S>
void pull_table(const OnDevice& on, const Hash<S>& a, S* d_table) {
  if constexpr (kOrdered)
    sum_corners<F>(on, a, d_table);
  else
    N3D_LAUNCH((add_corners_kernel<F, S>), dim3(blocks_for(a.points, kThreads), a.levels.count), kThreads, 0,
               on.stream(), a, d_table);
}

template <class S>
Hash<S> hash_arguments(const OnDevice& on, const Tensor& positions, const Tensor& table, int64_t levels,
                       int64_t coarsest, int64_t finest, int64_t log2_rows, bool smooth) {
  Hash<S> a = {};
  STD_TORCH_CHECK(levels >= 1 && levels <= kMaxHashLevels && coarsest >= 1 && finest >= coarsest &&
                      finest <= (1 << 20) && log2_rows >= 1 && log2_rows <= 30,
                  "neural3d: a hash grid has 1 to 32 levels of 1 to 2^20 cells and 2 to 2^30 rows");
  a.levels = hash_levels(int(levels), coarsest, finest, int(log2_rows));
  STD_TORCH_CHECK(positions.dim() == 2 && positions.size(1) == 3, "neural3d: positions are [P, 3]");
  STD_TORCH_CHECK(table.dim() == 2 && table.size(0) == a.levels.rows, "neural3d: the levels have ", a.levels.rows,
                  " rows, the table has others");
  a.positions = on.pointer<S>(positions), a.table = on.pointer<S>(table);
  a.points = positions.size(0), a.smooth = smooth;
  return a;
}

// Calls f with the constant number of features of a row.
template <class F>
void for_features(int64_t features, const F& f) {
  switch (features) {
    case 1:
      return f(std::integral_constant<int, 1>());
    case 2:
      return f(std::integral_constant<int, 2>());
    case 4:
      return f(std::integral_constant<int, 4>());
    case 8:
      return f(std::integral_constant<int, 8>());
    default:
      STD_TORCH_CHECK(false, "neural3d: a row has 1, 2, 4 or 8 features");
  }
}

}  // namespace

static Tensor hash_encode(Tensor positions, Tensor table, int64_t levels, int64_t coarsest, int64_t finest,
                          int64_t log2_rows, bool smooth) {
  return N3D_FOR_SCALAR(positions, S, [&] {
    const OnDevice on(positions);
    const auto a = hash_arguments<S>(on, positions, table, levels, coarsest, finest, log2_rows, smooth);
    Tensor out = on.fresh({a.points, a.levels.count * table.size(1)}, scalar_type<S>());
    for_features(table.size(1), [&](auto features) {
      N3D_LAUNCH((encode_kernel<decltype(features)::value, S>), dim3(blocks_for(a.points, kThreads), a.levels.count),
                 kThreads, 0, on.stream(), a, on.pointer<S>(out));
    });
    return out;
  });
}

static std::tuple<Tensor, Tensor> hash_encode_vjp(Tensor positions, Tensor table, int64_t levels, int64_t coarsest,
                                                  int64_t finest, int64_t log2_rows, bool smooth, Tensor grad,
                                                  bool with_positions, bool with_table) {
  return N3D_FOR_SCALAR(positions, S, [&] {
    const OnDevice on(positions);
    auto a = hash_arguments<S>(on, positions, table, levels, coarsest, finest, log2_rows, smooth);
    STD_TORCH_CHECK(grad.numel() == a.points * a.levels.count * table.size(1),
                    "neural3d: a gradient has the features' size");
    a.grad = on.pointer<S>(grad);
    Tensor d_positions = on.fresh({with_positions ? a.points : 0, 3}, scalar_type<S>());
    Tensor d_table = on.zeros({with_table ? table.size(0) : 0, table.size(1)}, scalar_type<S>());
    for_features(table.size(1), [&](auto features) {
      constexpr int F = decltype(features)::value;
      if (with_table) pull_table<F>(on, a, on.pointer<S>(d_table));
      if (with_positions)
        N3D_LAUNCH((pull_positions_kernel<F, S>), blocks_for(a.points, kThreads), kThreads, 0, on.stream(), a,
                   on.pointer<S>(d_positions));
    });
    return std::make_tuple(d_positions, d_table);
  });
}

static Tensor adam_hash(Tensor table, Tensor positions, Tensor grad, int64_t levels, int64_t coarsest, int64_t finest,
                        int64_t log2_rows, bool smooth, Tensor first, Tensor second, Tensor rates, int64_t step,
                        double beta1, double beta2, double eps) {
  const Tensor d_table =
      std::get<1>(hash_encode_vjp(positions, table, levels, coarsest, finest, log2_rows, smooth, grad, false, true));
  STD_TORCH_CHECK(rates.numel() == table.size(1), "neural3d: a learning rate for each feature");
  return move_rows(table, d_table, first, second, rates, std::nullopt, true, step, beta1, beta2, eps);
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("hash_encode", TORCH_BOX(&n3d::hash_encode));
  m.impl("hash_encode_vjp", TORCH_BOX(&n3d::hash_encode_vjp));
  m.impl("adam_hash", TORCH_BOX(&n3d::adam_hash));
}
