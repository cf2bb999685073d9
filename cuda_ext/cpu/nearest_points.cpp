// The nearest points around places, from a hashed grid of cells. Points lie sorted by slot, so that a cell's are found
// in one stretch; those of another cell in the same slot are told apart by their own cell.
#include <cmath>

#include "driver.h"
// After driver.h, whose kernels.h declares no loops for the instruction set "scalar".
#include "../math/neural_points.h"

namespace n3d {
namespace {

constexpr int64_t kQueryGrain = 512;
constexpr int kMostNeighbors = 16;
constexpr double kFarthestCell = 1 << 24;

template <class S>
struct PointCells {
  const S* points;                       // [P,3], sorted by slot
  const int32_t *cells, *names, *first;  // [P,3] [P] [slots + 1]
  uint32_t mask;
  double radius, cells_per_unit;
};

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
void look_into(const PointCells<S>& a, const int32_t* cell, const S* x, S limit, Found<S>& found) {
  const uint32_t slot = scalar::cell_slot(cell[0], cell[1], cell[2], a.mask);
  for (int32_t i = a.first[slot]; i < a.first[slot + 1]; ++i) {
    const S *p = a.points + 3 * int64_t(i), dx = x[0] - p[0], dy = x[1] - p[1], dz = x[2] - p[2];
    const S d = dx * dx + dy * dy + dz * dz;
    if (!(d < limit)) continue;
    const int32_t* own = a.cells + 3 * int64_t(i);
    if (own[0] == cell[0] && own[1] == cell[1] && own[2] == cell[2]) found.offer(d, a.names[i]);
  }
}

// The squared distance of a place to the cells `step` away along one axis, in cells; `inside` is its place in its own.
double gap(double inside, int step) { return step < 0 ? inside * inside : step > 0 ? (1 - inside) * (1 - inside) : 0; }

// The place's own cell first, then its neighbours as far as something nearer can lie there.
template <class S>
void find(const PointCells<S>& a, const S* x, Found<S>& found) {
  static const int kOrder[3] = {0, -1, 1};
  const S limit = S(a.radius * a.radius);
  const double cell_squared = 1 / (a.cells_per_unit * a.cells_per_unit);
  double inside[3];
  int32_t own[3];
  for (int k = 0; k < 3; ++k) {
    const double u = double(x[k]) * a.cells_per_unit;
    if (!(std::fabs(u) < kFarthestCell)) return;
    own[k] = scalar::point_cell(double(x[k]), a.cells_per_unit), inside[k] = u - own[k];
  }
  for (int dz : kOrder)
    for (int dy : kOrder)
      for (int dx : kOrder) {
        const double away = (gap(inside[0], dx) + gap(inside[1], dy) + gap(inside[2], dz)) * cell_squared;
        if (away > double(found.reach(limit)) * 1.00001) continue;
        const int32_t cell[3] = {own[0] + dx, own[1] + dy, own[2] + dz};
        look_into(a, cell, x, limit, found);
      }
}

template <class S>
PointCells<S> cells_of(const Tensor& points, const Tensor& cells, const Tensor& names, const Tensor& first,
                       double radius, double cells_per_unit) {
  const int64_t count = points.size(0), slots = first.numel() - 1;
  STD_TORCH_CHECK(points.numel() == 3 * count && cells.numel() == 3 * count && names.numel() == count,
                  "neural3d: an index holds a place, a cell and a name for each point");
  STD_TORCH_CHECK(slots >= 1 && slots <= int64_t(1) << 31 && (slots & (slots - 1)) == 0,
                  "neural3d: slots are a power of two");
  STD_TORCH_CHECK(radius > 0 && cells_per_unit > 0 && cells_per_unit * radius <= 1,
                  "neural3d: a cell is at least as large as the radius");
  PointCells<S> a = {pointer<S>(points), pointer<int32_t>(cells), pointer<int32_t>(names), pointer<int32_t>(first),
                     uint32_t(slots - 1), radius, cells_per_unit};
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
        find(a, x + 3 * i, found);
        for (int j = 0; j < k; ++j) out[i * k + j] = j < found.count ? found.name[j] : -1;
      }
    });
    return neighbors;
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) { m.impl("nearest_points", TORCH_BOX(&n3d::nearest_points)); }
