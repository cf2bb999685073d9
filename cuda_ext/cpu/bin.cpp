// Which Gaussians meet which tile, front to back.
//
// The visible Gaussians are sorted by depth once (N keys, not I) while other threads find the tiles of each, in the
// Gaussians' own order; dealing the tiles out in the order of the depths leaves every tile's list sorted. Tiles are
// found from the exact extent of the ellipse on each row of tiles, so a thin diagonal Gaussian does not pay for its
// bounding box. How many tiles a Gaussian has cannot be predicted, so loops over all tiles of many Gaussians run over
// flat lists: a branch that goes wrong for each Gaussian costs more than its tiles.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "denormals.h"
#include "driver.h"
#include "prefetch.h"

namespace n3d {
namespace {

constexpr int64_t kAhead = 12;  // Gaussians between asking for one and reading it

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

// The Gaussians in blocks, and the tiles of each block's.
struct Block {
  std::vector<int32_t> tiles, spans;
  int64_t count;
};

// A (tile, Gaussian) pair for each place in the lists, in the order of the depths.
struct Pairs {
  std::vector<int32_t> tiles, slots, gaussians;
  int64_t count;
};

// Work space that lives on, so that a training step asks the system for no memory.
template <class S>
struct BinSpace {
  std::vector<Item<S>> items, spare;
  std::vector<Block> blocks;
  std::vector<ListedTiles> listed;  // of each block
  std::vector<Pairs> pairs;         // of each part of the sorted list
  std::vector<int32_t> counts;      // [part, tile]: where each part writes next
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

int32_t* grow(void* owner, int64_t room) {
  std::vector<int32_t>& tiles = *static_cast<std::vector<int32_t>*>(owner);
  tiles.resize(size_t(room));
  return tiles.data();
}

// Lists the tiles of a block's Gaussians; their ends are counted within the block.
template <class S>
void list_block(TileArgs<S> args, int64_t begin, int64_t end, Block& block) {
  const DenormalMode keep(false);  // all devices shall find the same tiles, for numbers without sense as well
  block.spans.resize(size_t(args.tiles_y) * 2 * 16);
  TileSink sink{block.tiles.data(), int64_t(block.tiles.size()), &block.tiles, grow, block.spans.data()};
  block.count = kernels<S>().list_tiles(args, begin, end, sink);
}

// Turns ends counted within each block into ends among all tiles.
template <class S>
void join_blocks(BinSpace<S>& space, int64_t blocks, int64_t n, int32_t* ends) {
  space.listed.resize(size_t(blocks));
  int32_t start = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    const Block& block = space.blocks[size_t(b)];
    space.listed[size_t(b)] = {block.tiles.data(), start};
    for (int64_t i = b * kTileBlock; i < std::min(n, (b + 1) * kTileBlock); ++i) ends[i] += start;
    start += int32_t(block.count);
  }
}

// The pairs of a part's Gaussians, and how many of them each tile has.
template <class S>
void list_part(PairArgs args, int64_t begin, int64_t end, Pairs& pairs, int32_t* count) {
  int64_t total = 0;
  for (int64_t i = begin; i < end; ++i) {
    if (i + kAhead < end) prefetch(args.slots + args.ranked[(i + kAhead) * args.stride]);
    const int32_t* slots = args.slots + args.ranked[i * args.stride];
    total += slots[1] - slots[0];
  }
  pairs.count = total;
  for (std::vector<int32_t>* list : {&pairs.tiles, &pairs.slots, &pairs.gaussians})
    if (int64_t(list->size()) < total + kListStep) list->resize(size_t(total + total / 2 + kListStep));
  args.tiles = pairs.tiles.data(), args.pair_slots = pairs.slots.data(), args.gaussians = pairs.gaussians.data();
  kernels<S>().list_pairs(args, begin, end);
  for (int64_t i = 0; i < total; ++i) ++count[args.tiles[i]];
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

void deal_out(const Pairs& pairs, int32_t* next, int32_t* gaussian_out, int32_t* slot_out) {
  constexpr int64_t ahead = 16;
  for (int64_t i = 0; i < pairs.count; ++i) {
    // The outputs are larger than the second-level cache, and each tile's end is a line of its own.
    const int32_t soon = next[pairs.tiles[size_t(i + ahead < pairs.count ? i + ahead : i)]];
    prefetch_write(gaussian_out + soon), prefetch_write(slot_out + soon);
    const int32_t at = next[pairs.tiles[size_t(i)]]++;
    gaussian_out[at] = pairs.gaussians[size_t(i)];
    slot_out[at] = pairs.slots[size_t(i)];
  }
}

}  // namespace

static std::tuple<Tensor, Tensor, Tensor, Tensor> bin_gaussians(Tensor means_px, Tensor conics, Tensor depths,
                                                                Tensor extents, int64_t width, int64_t height) {
  return N3D_FOR_SCALAR(means_px, S, [&] {
    static thread_local BinSpace<S> own;
    BinSpace<S>& space = own;  // other threads must not name what is thread-local
    const int64_t n = means_px.size(0);
    Tensor slot_offsets = fresh({n + 1}, ScalarType::Int);
    int32_t* slots = pointer<int32_t>(slot_offsets);
    const TileArgs<S> args{pointer<S>(means_px),
                           pointer<S>(conics),
                           pointer<S>(extents),
                           int((width + kTile - 1) / kTile),
                           int((height + kTile - 1) / kTile),
                           slots + 1};
    const int64_t tiles = int64_t(args.tiles_x) * args.tiles_y, blocks = (n + kTileBlock - 1) / kTileBlock;
    if (int64_t(space.blocks.size()) < blocks) space.blocks.resize(size_t(blocks));
    const S* depth = pointer<S>(depths);
    std::atomic<int64_t> total{0};
    share(blocks + 1, 1, [&](int64_t piece, int64_t) {
      if (piece == 0) return nearest_first(depth, args.extents, n, space.items, space.spare);
      if (total > INT32_MAX) return;
      Block& block = space.blocks[size_t(piece - 1)];
      list_block(args, (piece - 1) * kTileBlock, std::min(n, piece * kTileBlock), block);
      total += block.count;
    });
    STD_TORCH_CHECK(total <= INT32_MAX, "neural3d: ", int64_t(total),
                    " (tile, Gaussian) pairs in one image; at most 2147483647. ",
                    "Render a smaller image or fewer Gaussians.");
    slots[0] = 0;
    join_blocks(space, blocks, n, slots + 1);

    const Parts parts(int64_t(space.items.size()));
    space.counts.assign(size_t(parts.count * tiles), 0);
    if (int64_t(space.pairs.size()) < parts.count) space.pairs.resize(size_t(parts.count));
    PairArgs pairs = {};
    pairs.ranked = space.items.empty() ? nullptr : &space.items[0].gaussian;
    pairs.stride = sizeof(Item<S>) / sizeof(int32_t);
    pairs.slots = slots, pairs.blocks = space.listed.data();
    share(parts.count, 1, [&](int64_t part, int64_t) {
      list_part<S>(pairs, parts.begin(part), parts.end(part), space.pairs[size_t(part)],
                   space.counts.data() + part * tiles);
    });
    Tensor tile_offsets = fresh({tiles + 1}, ScalarType::Int);
    add_up(space.counts.data(), parts.count, tiles, pointer<int32_t>(tile_offsets));

    const int64_t intersections = total;
    Tensor gaussians = fresh({intersections}, ScalarType::Int), slot_of = fresh({intersections}, ScalarType::Int);
    int32_t *gaussian_out = pointer<int32_t>(gaussians), *slot_out = pointer<int32_t>(slot_of);
    share(parts.count, 1, [&](int64_t part, int64_t) {
      deal_out(space.pairs[size_t(part)], space.counts.data() + part * tiles, gaussian_out, slot_out);
    });
    return std::make_tuple(tile_offsets, gaussians, slot_of, slot_offsets);
  });
}

// The first `count` entries in a tensor of another length, and -1 behind them.
static Tensor with_length(const Tensor& entries, int64_t count, int64_t length) {
  Tensor out = fresh({length}, ScalarType::Int);
  const int32_t* from = pointer<int32_t>(entries);
  std::fill_n(std::copy_n(from, count, pointer<int32_t>(out)), length - count, -1);
  return out;
}

static std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> bin_gaussians_within(Tensor means_px, Tensor conics,
                                                                               Tensor depths, Tensor extents,
                                                                               int64_t width, int64_t height,
                                                                               int64_t capacity) {
  STD_TORCH_CHECK(capacity >= 0 && capacity <= INT32_MAX, "neural3d: lists have room for 0 to 2147483647 pairs");
  const auto [tile_offsets, gaussians, slots, slot_offsets] =
      bin_gaussians(means_px, conics, depths, extents, width, height);
  Tensor pairs = fresh({}, ScalarType::Long);
  const int64_t found = gaussians.size(0), kept = found <= capacity ? found : 0;
  *pointer<int64_t>(pairs) = found;
  if (kept < found)
    for (const Tensor& offsets : {tile_offsets, slot_offsets})
      std::fill_n(pointer<int32_t>(offsets), offsets.numel(), 0);
  return {tile_offsets, with_length(gaussians, kept, capacity), with_length(slots, kept, capacity), slot_offsets,
          pairs};
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("bin_gaussians", TORCH_BOX(&n3d::bin_gaussians));
  m.impl("bin_gaussians_within", TORCH_BOX(&n3d::bin_gaussians_within));
}
