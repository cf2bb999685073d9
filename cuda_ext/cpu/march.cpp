// Rays to samples. Rays go in groups, each of which keeps what it finds until all know where it belongs.
#include <algorithm>

#include "driver.h"
// After driver.h, whose kernels.h declares no loops for the instruction set "scalar".
#include "../math/march.h"

namespace n3d {
namespace {

constexpr int64_t kGroup = 32;  // rays

template <class S>
scalar::March<S> march_arguments(const Tensor& origins, const Tensor& directions, const Tensor& offsets,
                                 const Tensor& box, const Tensor& occupied, bool contracted, double near, double far,
                                 double step, double cone, int64_t max_steps) {
  scalar::March<S> m = {};
  m.rays = offsets.numel();
  STD_TORCH_CHECK(origins.numel() == 3 * m.rays && directions.numel() == 3 * m.rays && box.numel() == 4,
                  "neural3d: a ray has an origin and a direction, a box four numbers");
  STD_TORCH_CHECK(occupied.dim() == 3 && occupied.numel() > 0 && occupied.size(0) == occupied.size(1) &&
                      occupied.size(1) == occupied.size(2) && occupied.size(0) <= 1024,
                  "neural3d: a grid of cells is a cube");
  STD_TORCH_CHECK(step > 0 && max_steps >= 0 && max_steps <= 1 << 20, "neural3d: steps are positive, and at most 2^20");
  m.origins = pointer<S>(origins), m.directions = pointer<S>(directions), m.offsets = pointer<S>(offsets);
  m.box = pointer<S>(box), m.occupied = pointer<uint8_t>(occupied);
  m.cells = int(occupied.size(0)), m.max_steps = int(max_steps), m.contracted = contracted;
  m.near = S(near), m.far = S(far), m.step = S(step), m.cone = S(cone);
  return m;
}

constexpr int64_t kCells = scalar::kBlockCells;

// Whether one of a block's cells along an axis is occupied; all at once, but at the grid's end.
uint8_t any_of(const uint8_t* cells, int64_t count) {
  uint64_t word = 0;
  static_assert(sizeof(word) == kCells, "a block's row is a word");
  if (count == kCells)
    memcpy(&word, cells, sizeof(word));
  else
    for (int64_t i = 0; i < count; ++i) word |= cells[i];
  return word != 0;
}

// Which blocks of cells hold an occupied one.
template <class S>
void find_blocks(scalar::March<S>& m, std::vector<uint8_t>& blocks) {
  const int64_t side = m.blocks_along(), cells = m.cells;
  blocks.assign(size_t(side * side * side), 0);
  uint8_t* const found = blocks.data();
  share(side, 1, [&](int64_t layer, int64_t) {
    for (int64_t z = layer * kCells; z < std::min(cells, (layer + 1) * kCells); ++z)
      for (int64_t y = 0; y < cells; ++y) {
        const uint8_t* row = m.occupied + (z * cells + y) * cells;
        uint8_t* to = found + (layer * side + y / kCells) * side;
        for (int64_t x = 0; x < cells; x += kCells) to[x / kCells] |= any_of(row + x, std::min(kCells, cells - x));
      }
  });
  m.blocks = found;
}

// What a group of rays found: t, length and place in the grid of each sample.
template <class S>
struct Group {
  std::vector<S> numbers;
};
constexpr int kNumbers = 5;

template <class S>
void march_group(const scalar::March<S>& m, int64_t begin, int64_t end, int32_t* counts, Group<S>& group) {
  group.numbers.clear();
  for (int64_t ray = begin; ray < end; ++ray) {
    const size_t before = group.numbers.size();
    scalar::march_ray(m, ray, [&](S t, S delta, const S*, const S* u) {
      const S found[kNumbers] = {t, delta, u[0], u[1], u[2]};
      group.numbers.insert(group.numbers.end(), found, found + kNumbers);
    });
    counts[ray] = int32_t((group.numbers.size() - before) / kNumbers);
  }
}

// Counts to the places where the rays begin.
int64_t sum_up(int32_t* counts, int64_t rays) {
  int64_t total = 0;
  for (int64_t r = 0; r <= rays; ++r) {
    const int64_t count = r < rays ? counts[r] : 0;
    STD_TORCH_CHECK(total < int64_t(1) << 31, "neural3d: more than 2^31 samples; take fewer rays at a time");
    counts[r] = int32_t(total), total += count;
  }
  return counts[rays];
}

}  // namespace

static std::tuple<Tensor, Tensor, Tensor, Tensor> march(Tensor origins, Tensor directions, Tensor offsets, Tensor box,
                                                        Tensor occupied, bool contracted, double near, double far,
                                                        double step, double cone, int64_t max_steps) {
  return N3D_FOR_SCALAR(origins, S, [&] {
    auto m =
        march_arguments<S>(origins, directions, offsets, box, occupied, contracted, near, far, step, cone, max_steps);
    static thread_local std::vector<uint8_t> blocks;
    find_blocks(m, blocks);
    Tensor ray_offsets = fresh({m.rays + 1}, ScalarType::Int);
    int32_t* first = pointer<int32_t>(ray_offsets);
    static thread_local std::vector<Group<S>> kept;
    std::vector<Group<S>>& groups = kept;  // of this thread, which the helpers know by reference
    groups.resize(size_t((m.rays + kGroup - 1) / kGroup));
    share(m.rays, kGroup,
          [&](int64_t begin, int64_t end) { march_group(m, begin, end, first, groups[size_t(begin / kGroup)]); });
    const int64_t samples = sum_up(first, m.rays);
    Tensor positions = fresh({samples, 3}, scalar_type<S>());
    Tensor ts = fresh({samples}, scalar_type<S>()), deltas = fresh({samples}, scalar_type<S>());
    S *position = pointer<S>(positions), *t = pointer<S>(ts), *delta = pointer<S>(deltas);
    share(m.rays, kGroup, [&](int64_t begin, int64_t end) {
      const S* found = groups[size_t(begin / kGroup)].numbers.data();
      for (int64_t i = first[begin]; i < first[end]; ++i, found += kNumbers) {
        t[i] = found[0], delta[i] = found[1];
        for (int k = 0; k < 3; ++k) position[3 * i + k] = found[2 + k];
      }
    });
    return std::make_tuple(positions, ts, deltas, ray_offsets);
  });
}

static std::tuple<Tensor, Tensor> march_vjp(Tensor origins, Tensor directions, Tensor box, bool contracted, Tensor ts,
                                            Tensor ray_offsets, Tensor d_positions) {
  return N3D_FOR_SCALAR(origins, S, [&] {
    scalar::March<S> m = {};
    m.rays = ray_offsets.numel() - 1, m.contracted = contracted, m.box = pointer<S>(box);
    m.origins = pointer<S>(origins), m.directions = pointer<S>(directions);
    const S *t = pointer<S>(ts), *grad = pointer<S>(d_positions);
    const int32_t* first = pointer<int32_t>(ray_offsets);
    STD_TORCH_CHECK(m.rays >= 0 && origins.numel() == 3 * m.rays && directions.numel() == 3 * m.rays &&
                        box.numel() == 4 && d_positions.numel() == 3 * ts.numel() && first[m.rays] == ts.numel(),
                    "neural3d: these samples are not those of these rays");
    Tensor d_origins = fresh({m.rays, 3}, scalar_type<S>()), d_directions = fresh({m.rays, 3}, scalar_type<S>());
    S *to_origin = pointer<S>(d_origins), *to_direction = pointer<S>(d_directions);
    share(m.rays, kGroup, [&](int64_t begin, int64_t end) {
      for (int64_t ray = begin; ray < end; ++ray)
        scalar::pull_ray(m, ray, t, grad, first[ray], first[ray + 1], to_origin + 3 * ray, to_direction + 3 * ray);
    });
    return std::make_tuple(d_origins, d_directions);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("march", TORCH_BOX(&n3d::march));
  m.impl("march_vjp", TORCH_BOX(&n3d::march_vjp));
}
