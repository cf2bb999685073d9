// Which Gaussians meet which tile, front to back.
//
// The visible Gaussians are sorted by depth once (N keys, not I); dealing them out in that order leaves every tile's
// list sorted. Tiles are found from the exact extent of the ellipse on each row of tiles, so a thin diagonal Gaussian
// does not pay for its bounding box.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../math/tiles.h"
#include "driver.h"

namespace n3d {
namespace {

struct Grid {
  int tiles_x, tiles_y;
};

// Tiles first to last - 1 of one row of tiles.
struct Span {
  int32_t row, first, last;
};

struct Item {
  uint64_t key;  // the depth's bits: positive floats and doubles sort like integers
  int32_t gaussian;
};

template <class S>
scalar::Ellipse<double> ellipse_at(const S* mean, const S* conic, const S* extent) {
  return {mean[0], mean[1], conic[0], conic[1], conic[2], extent[0], extent[1]};
}

// Stable sort by 64-bit key, eleven bits at a time; passes in which all keys agree are skipped.
void sort_items(std::vector<Item>& items, std::vector<Item>& spare) {
  constexpr int bits = 11, radix = 1 << bits;
  spare.resize(items.size());
  uint64_t all_or = 0, all_and = ~uint64_t(0);
  for (const Item& item : items) all_or |= item.key, all_and &= item.key;
  for (int shift = 0; shift < 64; shift += bits) {
    if ((((all_or ^ all_and) >> shift) & (radix - 1)) == 0) continue;
    int32_t count[radix] = {};
    for (const Item& item : items) ++count[(item.key >> shift) & (radix - 1)];
    int32_t start = 0;
    for (int32_t& c : count) {
      const int32_t n = c;
      c = start;
      start += n;
    }
    for (const Item& item : items) spare[count[(item.key >> shift) & (radix - 1)]++] = item;
    items.swap(spare);
  }
}

template <class S>
void nearest_first(const S* depths, const S* extents, int64_t n, std::vector<Item>& items, std::vector<Item>& spare) {
  items.clear();
  for (int64_t i = 0; i < n; ++i) {
    if (!(extents[2 * i] > S(0))) continue;
    Item item{0, int32_t(i)};
    std::memcpy(&item.key, depths + i, sizeof(S));
    items.push_back(item);
  }
  sort_items(items, spare);
}

}  // namespace

// Work space that lives on, so that a training step asks the system for no memory.
struct BinSpace {
  std::vector<Item> items, spare;
  std::vector<int32_t> counts;           // [part, tile]: where each part of the sorted list writes next
  std::vector<std::vector<Span>> spans;  // of each part, in the order of its Gaussians
};

static std::tuple<Tensor, Tensor, Tensor, Tensor> bin_gaussians(Tensor means_px, Tensor conics, Tensor depths,
                                                                Tensor extents, int64_t width, int64_t height) {
  return N3D_FOR_SCALAR(means_px, S, [&] {
    static thread_local BinSpace space;
    const int64_t n = means_px.size(0);
    const Grid grid{int((width + kTile - 1) / kTile), int((height + kTile - 1) / kTile)};
    const int64_t tiles = int64_t(grid.tiles_x) * grid.tiles_y;
    const S *mean = pointer<S>(means_px), *conic = pointer<S>(conics), *extent = pointer<S>(extents);
    std::vector<Item>& items = space.items;
    nearest_first(pointer<S>(depths), extent, n, items, space.spare);

    // Each thread deals out one part of the sorted list; parts are joined in order, so their number changes nothing.
    const int64_t total_items = int64_t(items.size());
    const int64_t parts = std::max<int64_t>(1, std::min<int64_t>(torch::stable::get_num_threads(), total_items / 256));
    const int64_t per_part = (total_items + parts - 1) / parts;
    std::vector<int32_t>& counts = space.counts;
    counts.assign(size_t(parts * tiles), 0);
    Tensor slot_offsets = fresh({n + 1}, ScalarType::Int), tile_offsets = fresh({tiles + 1}, ScalarType::Int);
    int32_t* slots = pointer<int32_t>(slot_offsets);
    std::memset(slots, 0, size_t(n + 1) * sizeof(int32_t));
    std::atomic<int64_t> total{0};
    if (int64_t(space.spans.size()) < parts) space.spans.resize(size_t(parts));
    std::vector<Span>* spans_of = space.spans.data();  // the work space is this thread's: others must not name it
    share(parts, 1, [&](int64_t part, int64_t) {
      int32_t* count = counts.data() + part * tiles;
      std::vector<Span>& spans = spans_of[part];
      spans.clear();
      int64_t part_total = 0;
      const int64_t end = std::min(total_items, (part + 1) * per_part);
      for (int64_t i = part * per_part; i < end; ++i) {
        const int64_t g = items[size_t(i)].gaussian;
        int32_t met = 0;
        const auto note = [&](int row, int first, int last) {
          met += last - first;
          spans.push_back({row, first, last});
          for (int column = first; column < last; ++column) ++count[int64_t(row) * grid.tiles_x + column];
        };
        scalar::tile_rows(ellipse_at(mean + 2 * g, conic + 3 * g, extent + 2 * g), grid.tiles_x, grid.tiles_y, note);
        slots[g + 1] = met;
        part_total += met;
      }
      total += part_total;
    });
    STD_TORCH_CHECK(total <= INT32_MAX, "neural3d: ", int64_t(total),
                    " (tile, Gaussian) pairs in one image; at most 2147483647. ",
                    "Render a smaller image or fewer Gaussians.");
    for (int64_t i = 0; i < n; ++i) slots[i + 1] += slots[i];
    int32_t* offsets = pointer<int32_t>(tile_offsets);
    int32_t start = 0;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      offsets[tile] = start;
      for (int64_t part = 0; part < parts; ++part) {
        int32_t& c = counts[size_t(part * tiles + tile)];
        const int32_t met = c;
        c = start;
        start += met;
      }
    }
    offsets[tiles] = start;

    Tensor gaussians = fresh({int64_t(start)}, ScalarType::Int), slot_of = fresh({int64_t(start)}, ScalarType::Int);
    int32_t *gaussian_out = pointer<int32_t>(gaussians), *slot_out = pointer<int32_t>(slot_of);
    share(parts, 1, [&](int64_t part, int64_t) {
      int32_t* next = counts.data() + part * tiles;
      const Span* span = spans_of[part].data();
      const int64_t end = std::min(total_items, (part + 1) * per_part);
      for (int64_t i = part * per_part; i < end; ++i) {
        const int32_t g = items[size_t(i)].gaussian;
        for (int32_t slot = slots[g]; slot < slots[g + 1]; ++span)
          for (int tx = span->first; tx < span->last; ++tx) {
            const int32_t at = next[int64_t(span->row) * grid.tiles_x + tx]++;
            gaussian_out[at] = g;
            slot_out[at] = slot++;
          }
      }
    });
    return std::make_tuple(tile_offsets, gaussians, slot_of, slot_offsets);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) { m.impl("bin_gaussians", TORCH_BOX(&n3d::bin_gaussians)); }
