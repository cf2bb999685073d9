// A multiresolution hash grid. The gradient of each row of the table is a sum over the points in their order, whoever
// adds it up, so the number of threads does not change a bit.
#include "driver.h"

namespace n3d {
namespace {

constexpr int64_t kHashGrain = 4096;

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

// Pieces of a level's rows, so that all threads have some.
int64_t pieces_per_level(const HashLevels& levels) {
  const int64_t threads = torch::stable::get_num_threads();
  return (threads + levels.count - 1) / levels.count;
}

template <class S>
void pull_table(const HashArgs<S>& a) {
  const int64_t parts = pieces_per_level(a.levels);
  // The finest levels, which take longest, come first.
  share(a.levels.count * parts, 1, [&](int64_t piece, int64_t) {
    const int l = a.levels.count - 1 - int(piece / parts);
    const int64_t part = piece % parts, rows = a.levels.level[l].rows;
    kernels<S>().hash_table_vjp(a, l, uint32_t(rows * part / parts), uint32_t(rows * (part + 1) / parts));
  });
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
                                                  bool with_positions) {
  return N3D_FOR_SCALAR(positions, S, [&] {
    auto a = hash_arguments<S>(positions, table, levels, coarsest, finest, log2_rows, smooth);
    STD_TORCH_CHECK(grad.numel() == a.points * a.levels.count * a.features,
                    "neural3d: a gradient has the features' size");
    Tensor d_positions = fresh({with_positions ? a.points : 0, 3}, scalar_type<S>());
    Tensor d_table = fresh({table.size(0), table.size(1)}, scalar_type<S>());
    a.d_out = pointer<S>(grad), a.d_table = pointer<S>(d_table), a.d_positions = pointer<S>(d_positions);
    pull_table(a);
    if (with_positions)
      share(a.points, kHashGrain, [&](int64_t begin, int64_t end) { kernels<S>().hash_positions_vjp(a, begin, end); });
    return std::make_tuple(d_positions, d_table);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("hash_encode", TORCH_BOX(&n3d::hash_encode));
  m.impl("hash_encode_vjp", TORCH_BOX(&n3d::hash_encode_vjp));
}
