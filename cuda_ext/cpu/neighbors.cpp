// Mean distance of each point to its nearest neighbours, by a k-d tree: how large a Gaussian must start so that a
// sparse point cloud looks closed.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "driver.h"

namespace n3d {
namespace {

constexpr int kLeaf = 8, kMaxNeighbors = 16;

// Points ordered so that every subtree is a contiguous range and its root is the middle element.
struct Tree {
  const float* points;
  std::vector<int32_t> order;
  std::vector<int8_t> axis;  // of the split at each position of `order`

  const float* at(int64_t i) const { return points + 3 * int64_t(order[size_t(i)]); }

  void build(int64_t begin, int64_t end) {
    if (end - begin <= kLeaf) return;
    float low[3] = {INFINITY, INFINITY, INFINITY}, high[3] = {-INFINITY, -INFINITY, -INFINITY};
    for (int64_t i = begin; i < end; ++i)
      for (int k = 0; k < 3; ++k) low[k] = std::min(low[k], at(i)[k]), high[k] = std::max(high[k], at(i)[k]);
    int widest = 0;
    for (int k = 1; k < 3; ++k)
      if (high[k] - low[k] > high[widest] - low[widest]) widest = k;
    const int64_t middle = begin + (end - begin) / 2;
    std::nth_element(order.begin() + begin, order.begin() + middle, order.begin() + end, [&](int32_t i, int32_t j) {
      const float a = points[3 * int64_t(i) + widest], b = points[3 * int64_t(j) + widest];
      return a < b || (a == b && i < j);
    });
    axis[size_t(middle)] = int8_t(widest);
    build(begin, middle);
    build(middle + 1, end);
  }
};

// The k smallest squared distances seen so far, ascending.
struct Nearest {
  int k;
  float squared[kMaxNeighbors];

  void offer(float d) {
    if (d >= squared[k - 1]) return;
    int i = k - 1;
    for (; i > 0 && squared[i - 1] > d; --i) squared[i] = squared[i - 1];
    squared[i] = d;
  }
};

void search(const Tree& tree, int64_t begin, int64_t end, const float* p, int32_t self, Nearest& nearest) {
  const auto visit = [&](int64_t i) {
    if (tree.order[size_t(i)] == self) return;
    const float *q = tree.at(i), dx = q[0] - p[0], dy = q[1] - p[1], dz = q[2] - p[2];
    nearest.offer(dx * dx + dy * dy + dz * dz);
  };
  if (end - begin <= kLeaf) {
    for (int64_t i = begin; i < end; ++i) visit(i);
    return;
  }
  const int64_t middle = begin + (end - begin) / 2;
  const float offset = p[tree.axis[size_t(middle)]] - tree.at(middle)[tree.axis[size_t(middle)]];
  const bool right = offset > 0;
  search(tree, right ? middle + 1 : begin, right ? end : middle, p, self, nearest);
  visit(middle);
  if (offset * offset < nearest.squared[nearest.k - 1])
    search(tree, right ? begin : middle + 1, right ? middle : end, p, self, nearest);
}

}  // namespace

static Tensor neighbor_distances(Tensor points, int64_t k) {
  const int64_t n = points.size(0);
  STD_TORCH_CHECK(k >= 1 && k <= kMaxNeighbors && k < n,
                  "neural3d: neighbor_distances needs 1 <= k <= 16 and more than k points");
  Tree tree{pointer<float>(points), std::vector<int32_t>(size_t(n)), std::vector<int8_t>(size_t(n))};
  std::iota(tree.order.begin(), tree.order.end(), 0);
  tree.build(0, n);
  Tensor distances = fresh({n}, ScalarType::Float);
  float* out = pointer<float>(distances);
  share(n, 512, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Nearest nearest{int(k), {}};
      std::fill(nearest.squared, nearest.squared + k, INFINITY);
      search(tree, 0, n, tree.points + 3 * i, int32_t(i), nearest);
      float sum = 0;
      for (int j = 0; j < k; ++j) sum += std::sqrt(nearest.squared[j]);
      out[i] = sum / float(k);
    }
  });
  return distances;
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) { m.impl("neighbor_distances", TORCH_BOX(&n3d::neighbor_distances)); }
