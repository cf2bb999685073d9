// Which Gaussians meet which tile, front to back.
//
// The visible Gaussians are sorted by depth once (N keys, not I); dealing them out in that order leaves every tile's
// list sorted. Tiles are found from the exact extent of the ellipse on each row of tiles, so a thin diagonal Gaussian
// does not pay for its bounding box.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "../math/tiles.h"
#include "driver.h"
#include "prefetch.h"

namespace n3d {
namespace {

constexpr int64_t kAhead = 12;  // Gaussians between asking for one and reading it

struct Grid {
  int tiles_x, tiles_y;
};

// Tiles first to last - 1 of one row of tiles.
struct Span {
  int32_t row, first, last;
};

// The depth's bits: positive floats and doubles sort like integers.
template <class S>
using KeyOf = std::conditional_t<sizeof(S) == 4, uint32_t, uint64_t>;

template <class S>
struct Item {
  KeyOf<S> key;
  int32_t gaussian;
};

// Stable sort by key, eleven bits at a time; passes in which all keys agree are skipped.
template <class S>
void sort_items(std::vector<Item<S>>& items, std::vector<Item<S>>& spare) {
  constexpr int bits = 11, radix = 1 << bits;
  spare.resize(items.size());
  KeyOf<S> all_or = 0, all_and = ~KeyOf<S>(0);
  for (const Item<S>& item : items) all_or |= item.key, all_and &= item.key;
  for (int shift = 0; shift < int(8 * sizeof(S)); shift += bits) {
    if ((((all_or ^ all_and) >> shift) & (radix - 1)) == 0) continue;
    int32_t count[radix] = {};
    for (const Item<S>& item : items) ++count[(item.key >> shift) & (radix - 1)];
    int32_t start = 0;
    for (int32_t& c : count) {
      const int32_t n = c;
      c = start;
      start += n;
    }
    for (const Item<S>& item : items) spare[size_t(count[(item.key >> shift) & (radix - 1)]++)] = item;
    items.swap(spare);
  }
}

template <class S>
void nearest_first(const S* depths, const S* extents, int64_t n, std::vector<Item<S>>& items,
                   std::vector<Item<S>>& spare) {
  items.clear();
  for (int64_t i = 0; i < n; ++i) {
    if (!(extents[2 * i] > S(0))) continue;
    Item<S> item{0, int32_t(i)};
    std::memcpy(&item.key, depths + i, sizeof(S));
    items.push_back(item);
  }
  sort_items<S>(items, spare);
}

// Work space that lives on, so that a training step asks the system for no memory.
template <class S>
struct BinSpace {
  std::vector<Item<S>> items, spare;
  std::vector<int32_t> counts;           // [part, tile]: where each part of the sorted list writes next
  std::vector<std::vector<Span>> spans;  // of each part, in the order of its Gaussians
};

// The sorted list in parts, several for a thread so that one that comes late still finds some. They are joined in
// order, so their number changes nothing.
struct Parts {
  int64_t count, total, each;

  explicit Parts(int64_t items) : total(items) {
    count = std::max<int64_t>(1, std::min<int64_t>(4 * torch::stable::get_num_threads(), items / 1024));
    each = (items + count - 1) / count;
  }
  int64_t begin(int64_t part) const { return part * each; }
  int64_t end(int64_t part) const { return std::min(total, (part + 1) * each); }
};

template <class S>
struct Ellipses {
  const S *means, *conics, *extents;

  scalar::Ellipse<double> at(int64_t g) const {
    const S *mean = means + 2 * g, *conic = conics + 3 * g, *extent = extents + 2 * g;
    return {mean[0], mean[1], conic[0], conic[1], conic[2], extent[0], extent[1]};
  }
  void fetch(int64_t g) const { prefetch(means + 2 * g), prefetch(conics + 3 * g), prefetch(extents + 2 * g); }
};

// The spans of a part's Gaussians, how many of them each tile has, and how many tiles each Gaussian meets; returns all.
template <class S>
int64_t find_spans(const Ellipses<S>& ellipses, const std::vector<Item<S>>& items, int64_t begin, int64_t end,
                   Grid grid, std::vector<Span>& spans, int32_t* count, int32_t* tiles_met) {
  spans.clear();
  int64_t total = 0;
  for (int64_t i = begin; i < end; ++i) {
    if (i + kAhead < end) ellipses.fetch(items[size_t(i + kAhead)].gaussian);
    const int64_t g = items[size_t(i)].gaussian;
    int32_t met = 0;
    const auto note = [&](int row, int first, int last) {
      met += last - first;
      spans.push_back({row, first, last});
      int32_t* of_row = count + int64_t(row) * grid.tiles_x;
      for (int column = first; column < last; ++column) ++of_row[column];
    };
    scalar::tile_rows(ellipses.at(g), grid.tiles_x, grid.tiles_y, note);
    tiles_met[g] = met;
    total += met;
  }
  return total;
}

// Turns counts into the places where each tile, and in it each part, begins.
void add_up(int32_t* counts, int64_t parts, int64_t tiles, int32_t* tile_offsets) {
  int32_t start = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    tile_offsets[tile] = start;
    for (int64_t part = 0; part < parts; ++part) {
      int32_t& c = counts[part * tiles + tile];
      const int32_t met = c;
      c = start;
      start += met;
    }
  }
  tile_offsets[tiles] = start;
}

template <class S>
void deal_out(const std::vector<Item<S>>& items, int64_t begin, int64_t end, const Span* span, Grid grid,
              const int32_t* slots, int32_t* next, int32_t* gaussian_out, int32_t* slot_out) {
  for (int64_t i = begin; i < end; ++i) {
    if (i + kAhead < end) prefetch(slots + items[size_t(i + kAhead)].gaussian);
    const int32_t g = items[size_t(i)].gaussian;
    for (int32_t slot = slots[g]; slot < slots[g + 1]; ++span) {
      int32_t* of_row = next + int64_t(span->row) * grid.tiles_x;
      for (int column = span->first; column < span->last; ++column) {
        const int32_t at = of_row[column]++;
        gaussian_out[at] = g;
        slot_out[at] = slot++;
      }
    }
  }
}

}  // namespace

static std::tuple<Tensor, Tensor, Tensor, Tensor> bin_gaussians(Tensor means_px, Tensor conics, Tensor depths,
                                                                Tensor extents, int64_t width, int64_t height) {
  return N3D_FOR_SCALAR(means_px, S, [&] {
    static thread_local BinSpace<S> own;
    BinSpace<S>& space = own;  // other threads must not name what is thread-local
    const int64_t n = means_px.size(0);
    const Grid grid{int((width + kTile - 1) / kTile), int((height + kTile - 1) / kTile)};
    const int64_t tiles = int64_t(grid.tiles_x) * grid.tiles_y;
    const Ellipses<S> ellipses{pointer<S>(means_px), pointer<S>(conics), pointer<S>(extents)};
    nearest_first(pointer<S>(depths), ellipses.extents, n, space.items, space.spare);

    const Parts parts(int64_t(space.items.size()));
    space.counts.assign(size_t(parts.count * tiles), 0);
    if (int64_t(space.spans.size()) < parts.count) space.spans.resize(size_t(parts.count));
    Tensor slot_offsets = fresh({n + 1}, ScalarType::Int), tile_offsets = fresh({tiles + 1}, ScalarType::Int);
    int32_t* slots = pointer<int32_t>(slot_offsets);
    std::memset(slots, 0, size_t(n + 1) * sizeof(int32_t));
    std::atomic<int64_t> total{0};
    share(parts.count, 1, [&](int64_t part, int64_t) {
      total += find_spans(ellipses, space.items, parts.begin(part), parts.end(part), grid, space.spans[size_t(part)],
                          space.counts.data() + part * tiles, slots + 1);
    });
    STD_TORCH_CHECK(total <= INT32_MAX, "neural3d: ", int64_t(total),
                    " (tile, Gaussian) pairs in one image; at most 2147483647. ",
                    "Render a smaller image or fewer Gaussians.");
    for (int64_t i = 0; i < n; ++i) slots[i + 1] += slots[i];
    add_up(space.counts.data(), parts.count, tiles, pointer<int32_t>(tile_offsets));

    const int64_t intersections = total;
    Tensor gaussians = fresh({intersections}, ScalarType::Int), slot_of = fresh({intersections}, ScalarType::Int);
    int32_t *gaussian_out = pointer<int32_t>(gaussians), *slot_out = pointer<int32_t>(slot_of);
    share(parts.count, 1, [&](int64_t part, int64_t) {
      deal_out(space.items, parts.begin(part), parts.end(part), space.spans[size_t(part)].data(), grid, slots,
               space.counts.data() + part * tiles, gaussian_out, slot_out);
    });
    return std::make_tuple(tile_offsets, gaussians, slot_of, slot_offsets);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) { m.impl("bin_gaussians", TORCH_BOX(&n3d::bin_gaussians)); }
