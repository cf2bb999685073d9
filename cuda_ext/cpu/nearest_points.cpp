// The nearest points around places.
#include "driver.h"
// After driver.h, whose kernels.h declares no loops for the instruction set "scalar".
#include "../math/neural_points.h"

namespace n3d {
namespace {

constexpr int64_t kQueryGrain = 512;
constexpr int kMostNeighbors = 16;

// The nearest found so far, by (squared distance, name).
template <class S>
struct Found {
  int k, count;
  S squared[kMostNeighbors];
  int32_t name[kMostNeighbors];

  S reach(S limit) const { return count < k ? limit : squared[k - 1]; }
  void offer(S d, int32_t n) {
    if (count == k && !(d < squared[k - 1] || (d == squared[k - 1] && n < name[k - 1]))) return;
    int i = count < k ? count++ : k - 1;
    for (; i > 0 && (squared[i - 1] > d || (squared[i - 1] == d && name[i - 1] > n)); --i)
      squared[i] = squared[i - 1], name[i] = name[i - 1];
    squared[i] = d, name[i] = n;
  }
};

template <class S>
scalar::PointCells<S> cells_of(const Tensor& points, const Tensor& cells, const Tensor& names, const Tensor& first,
                               double radius, double cells_per_unit) {
  const int64_t count = points.size(0), slots = first.numel() - 1;
  STD_TORCH_CHECK(points.numel() == 3 * count && cells.numel() == 3 * count && names.numel() == count,
                  "neural3d: an index holds a place, a cell and a name for each point");
  STD_TORCH_CHECK(slots >= 1 && slots <= int64_t(1) << 31 && (slots & (slots - 1)) == 0,
                  "neural3d: slots are a power of two");
  STD_TORCH_CHECK(radius > 0 && cells_per_unit > 0 && cells_per_unit * radius <= 1,
                  "neural3d: a cell is at least as large as the radius");
  scalar::PointCells<S> a = {pointer<S>(points),      pointer<int32_t>(cells), pointer<int32_t>(names),
                             pointer<int32_t>(first), uint32_t(slots - 1),     radius,
                             cells_per_unit};
  STD_TORCH_CHECK(a.first[0] == 0 && a.first[slots] == count, "neural3d: slots hold all points, and no others");
  for (int64_t i = 0; i < slots; ++i) STD_TORCH_CHECK(a.first[i] <= a.first[i + 1], "neural3d: slots descend");
  return a;
}

}  // namespace

static Tensor nearest_points(Tensor queries, Tensor points, Tensor cells, Tensor names, Tensor first, double radius,
                             double cells_per_unit, int64_t k) {
  return N3D_FOR_SCALAR(queries, S, [&] {
    const auto a = cells_of<S>(points, cells, names, first, radius, cells_per_unit);
    const int64_t count = queries.size(0);
    STD_TORCH_CHECK(k >= 1 && k <= kMostNeighbors && queries.numel() == 3 * count,
                    "neural3d: nearest_points finds 1 to 16 points around places [S, 3]");
    Tensor neighbors = fresh({count, k}, ScalarType::Int);
    const S* x = pointer<S>(queries);
    int32_t* out = pointer<int32_t>(neighbors);
    share(count, kQueryGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        Found<S> found = {int(k), 0, {}, {}};
        scalar::find_points(a, x + 3 * i, found);
        for (int j = 0; j < k; ++j) out[i * k + j] = j < found.count ? found.name[j] : -1;
      }
    });
    return neighbors;
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) { m.impl("nearest_points", TORCH_BOX(&n3d::nearest_points)); }
