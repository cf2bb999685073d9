// A multiresolution hash grid. The gradient of each row of the table is a sum over the points in their order, whoever
// adds it up, so the number of threads does not change a bit.
#include <algorithm>

#include "adam_rows.h"
#include "driver.h"

namespace n3d {
namespace {

constexpr int64_t kHashGrain = 4096;
constexpr int64_t kRowBlock = 64;

template <class S>
HashArgs<S> hash_arguments(const Tensor& positions, const Tensor& table, int64_t levels, int64_t coarsest,
                           int64_t finest, int64_t log2_rows, bool smooth) {
  HashArgs<S> a = {};
  STD_TORCH_CHECK(levels >= 1 && levels <= kMaxHashLevels && coarsest >= 1 && finest >= coarsest &&
                      finest <= (1 << 20) && log2_rows >= 1 && log2_rows <= 30,
                  "neural3d: a hash grid has 1 to 32 levels of 1 to 2^20 cells and 2 to 2^30 rows");
  a.levels = hash_levels(int(levels), coarsest, finest, int(log2_rows));
  STD_TORCH_CHECK(positions.dim() == 2 && positions.size(1) == 3, "neural3d: positions are [P, 3]");
  STD_TORCH_CHECK(table.dim() == 2 && table.size(0) == a.levels.rows, "neural3d: the levels have ", a.levels.rows,
                  " rows, the table has others");
  a.features = int(table.size(1));
  STD_TORCH_CHECK(a.features == 1 || a.features == 2 || a.features == 4 || a.features == 8,
                  "neural3d: a row has 1, 2, 4 or 8 features");
  a.positions = pointer<S>(positions), a.table = pointer<S>(table);
  a.points = positions.size(0), a.smooth = smooth;
  return a;
}

template <class S>
void take_gradient(HashArgs<S>& a, const Tensor& grad) {
  STD_TORCH_CHECK(grad.numel() == a.points * a.levels.count * a.features,
                  "neural3d: a gradient has the features' size");
  a.d_out = pointer<S>(grad);
}

// Calls f(level, first row, end row) for pieces of all levels' rows, as many as give all threads some. Pieces begin at
// whole blocks of rows, so that whoever walks them in lanes finds the same rows in the same lanes.
template <class F>
void each_piece(const HashLevels& levels, const F& f) {
  const int64_t threads = torch::stable::get_num_threads(), parts = (threads + levels.count - 1) / levels.count;
  // The finest levels, which take longest, come first.
  share(levels.count * parts, 1, [&](int64_t piece, int64_t) {
    const int l = levels.count - 1 - int(piece / parts);
    const int64_t part = piece % parts, blocks = (levels.level[l].rows + kRowBlock - 1) / kRowBlock;
    const auto at = [&](int64_t i) {
      return uint32_t(std::min<int64_t>(blocks * i / parts * kRowBlock, levels.level[l].rows));
    };
    if (at(part) < at(part + 1)) f(l, at(part), at(part + 1));
  });
}

template <class S>
void pull_table(const HashArgs<S>& a, S* d_table) {
  each_piece(a.levels, [&](int l, uint32_t first, uint32_t end) {
    kernels<S>().hash_table_vjp(a, l, first, end, d_table + (a.levels.level[l].first + first) * a.features);
  });
}

// What is pulled at a piece of the table never leaves the cache: its rows move as soon as it is known.
template <class S>
int64_t pull_and_move(const HashArgs<S>& a, const AdamArgs<S>& adam, int l, uint32_t first, uint32_t end) {
  static thread_local std::vector<char> space;
  S* const pulls = aligned_space<S>(space, int64_t(end - first) * a.features);
  kernels<S>().hash_table_vjp(a, l, first, end, pulls);
  AdamArgs<S> piece = from_row(adam, a.levels.level[l].first + first);
  piece.grad = pulls;
  return kernels<S>().adam(piece, 0, end - first);
}

}  // namespace

static Tensor hash_encode(Tensor positions, Tensor table, int64_t levels, int64_t coarsest, int64_t finest,
                          int64_t log2_rows, bool smooth) {
  return N3D_FOR_SCALAR(positions, S, [&] {
    auto a = hash_arguments<S>(positions, table, levels, coarsest, finest, log2_rows, smooth);
    Tensor out = fresh({a.points, a.levels.count * a.features}, scalar_type<S>());
    a.out = pointer<S>(out);
    share(a.points, kHashGrain, [&](int64_t begin, int64_t end) { kernels<S>().hash_encode(a, begin, end); });
    return out;
  });
}

static std::tuple<Tensor, Tensor> hash_encode_vjp(Tensor positions, Tensor table, int64_t levels, int64_t coarsest,
                                                  int64_t finest, int64_t log2_rows, bool smooth, Tensor grad,
                                                  bool with_positions, bool with_table) {
  return N3D_FOR_SCALAR(positions, S, [&] {
    auto a = hash_arguments<S>(positions, table, levels, coarsest, finest, log2_rows, smooth);
    take_gradient(a, grad);
    Tensor d_positions = fresh({with_positions ? a.points : 0, 3}, scalar_type<S>());
    Tensor d_table = fresh({with_table ? table.size(0) : 0, table.size(1)}, scalar_type<S>());
    a.d_positions = pointer<S>(d_positions);
    if (with_table) pull_table(a, pointer<S>(d_table));
    if (with_positions)
      share(a.points, kHashGrain, [&](int64_t begin, int64_t end) { kernels<S>().hash_positions_vjp(a, begin, end); });
    return std::make_tuple(d_positions, d_table);
  });
}

static Tensor adam_hash(Tensor table, Tensor positions, Tensor grad, int64_t levels, int64_t coarsest, int64_t finest,
                        int64_t log2_rows, bool smooth, Tensor first, Tensor second, Tensor rates, int64_t step,
                        double beta1, double beta2, double eps) {
  return N3D_FOR_SCALAR(table, S, [&] {
    auto a = hash_arguments<S>(positions, table, levels, coarsest, finest, log2_rows, smooth);
    take_gradient(a, grad);
    AdamArgs<S> adam = adam_args<S>(table, first, second, rates, std::nullopt, step, beta1, beta2, eps);
    STD_TORCH_CHECK(adam.columns == a.features, "neural3d: a learning rate for each feature");
    adam.only_pulled = true;
    std::atomic<int64_t> poisoned{0};
    each_piece(a.levels,
               [&](int l, uint32_t begin, uint32_t end) { poisoned += pull_and_move(a, adam, l, begin, end); });
    return count_of(poisoned);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("hash_encode", TORCH_BOX(&n3d::hash_encode));
  m.impl("hash_encode_vjp", TORCH_BOX(&n3d::hash_encode_vjp));
  m.impl("adam_hash", TORCH_BOX(&n3d::adam_hash));
}
