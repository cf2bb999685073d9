// Which Gaussians meet which tile, front to back.
//
// The Gaussians are sorted by depth once (N long keys), deal their tiles out in that order, and the pairs are sorted by
// tile: stable, and over no more bits than there are tiles. Sorting all pairs by (tile, depth) would move each of the
// many pairs six times instead of twice.
//
// How many pairs there are decides how large the outputs are. bin_gaussians makes them just as large, for which the
// host must read one number: it is on its way while the device goes on to sort by depth. bin_gaussians_within is told
// how large they are, and the host need not know: the kernels ask the device's memory how many pairs there are, keys
// behind the last pair are the greatest and come before none, and if there are too many all lists are left empty.
//
// Source: the order of sorting and the tiles of an ellipse: Hanson et al. 2024, Speedy-Splat; warps that share the
// tiles of large Gaussians: Radl et al. 2024, StopThePop, sec. 5.
#include <algorithm>
#include <optional>

#include "../math/tiles.h"
#include "launch.h"
#include "mailbox.h"
#include "primitives.h"
#include "warp.h"

namespace n3d {
namespace {

constexpr int kThreads = 256;
constexpr uint32_t kSharedFrom = 16;  // tiles from which a Gaussian's are listed by a whole warp

template <class S>
struct DepthKey;
template <>
struct DepthKey<float> {
  using type = uint32_t;
};
template <>
struct DepthKey<double> {
  using type = uint64_t;
};

struct Grid {
  int tiles_x, tiles_y;
};

template <class S>
struct Ellipses {
  const S *means, *conics, *extents, *depths;  // [N,2] [N,3] [N,2] [N]
  int32_t count;
  Grid grid;
};

// How many pairs there are, which only the device needs to know, and for how many the lists have room.
struct Room {
  const int64_t* total;
  int64_t capacity;

  __device__ __forceinline__ bool fits() const { return *total <= capacity; }
};

// Gaussians in the order of their depths, and where their pairs lie before and after the sort by tile.
struct Deal {
  const int32_t* gaussians;  // [N] nearest first
  const uint32_t* starts;    // [N] of each rank's pairs among the unsorted
  uint32_t* slot_offsets;    // [N+1] by Gaussian
  Room room;
};

template <class S>
__device__ __forceinline__ bool visible(const Ellipses<S>& in, int32_t g) {
  return in.extents[2 * int64_t(g)] > S(0);
}

template <class S>
__device__ __forceinline__ scalar::Ellipse<S> ellipse_at(const Ellipses<S>& in, int64_t g) {
  const S *mean = in.means + 2 * g, *conic = in.conics + 3 * g, *extent = in.extents + 2 * g;
  return {mean[0], mean[1], conic[0], conic[1], conic[2], extent[0], extent[1]};
}

__device__ __forceinline__ uint32_t bits_of(float depth) { return __float_as_uint(depth); }
__device__ __forceinline__ uint64_t bits_of(double depth) { return uint64_t(__double_as_longlong(depth)); }

// Depths are positive, so their bits sort as they do; who is not visible comes last and meets no tile.
template <class S>
__global__ void __launch_bounds__(kThreads)
    count_kernel(Ellipses<S> in, uint32_t* counts, typename DepthKey<S>::type* keys, int32_t* gaussians) {
  const int32_t g = int32_t(blockIdx.x) * kThreads + int32_t(threadIdx.x);
  if (g > in.count) return;
  uint32_t met = 0;
  if (g < in.count) {
    keys[g] = ~typename DepthKey<S>::type(0);
    gaussians[g] = g;
    if (visible(in, g)) {
      keys[g] = bits_of(in.depths[g]);
      scalar::tile_rows(ellipse_at(in, g), in.grid.tiles_x, in.grid.tiles_y,
                        [&](int, int first, int last) { met += uint32_t(last - first); });
    }
  }
  counts[g] = met;  // the one behind the last is 0, so that the offsets end with the total
}

__global__ void __launch_bounds__(kThreads)
    rank_kernel(const int32_t* gaussians, const uint32_t* counts, int32_t n, uint32_t* ranked) {
  const int32_t rank = int32_t(blockIdx.x) * kThreads + int32_t(threadIdx.x);
  if (rank < n) ranked[rank] = counts[gaussians[rank]];
}

// A (tile, Gaussian) pair before it is sorted by tile.
__device__ __forceinline__ uint64_t pack_pair(int32_t gaussian, uint32_t slot) {
  return uint64_t(slot) << 32 | uint32_t(gaussian);
}

template <class K>
struct Pairs {
  K* tiles;
  uint64_t* owners;
};

template <class S, class K>
__device__ __forceinline__ void list_alone(const scalar::Ellipse<S>& e, Grid grid, int32_t g, uint32_t slot,
                                           uint32_t at, const Pairs<K>& out) {
  scalar::tile_rows(e, grid.tiles_x, grid.tiles_y, [&](int row, int first, int last) {
    for (int column = first; column < last; ++column, ++at, ++slot) {
      out.tiles[at] = K(row * grid.tiles_x + column);
      out.owners[at] = pack_pair(g, slot);
    }
  });
}

// Each lane finds the span of one row, and all lanes write the rows one after the other.
template <class S, class K>
__device__ __forceinline__ void list_together(const scalar::Ellipse<S>& e, Grid grid, int32_t g, uint32_t slot,
                                              uint32_t at, const Pairs<K>& out) {
  const scalar::TileRows<S> rows = scalar::tile_box(e, grid.tiles_x, grid.tiles_y);
  const int lane = lane_in_warp();
  const int bottom = int(rows.y1);
  for (int begin = int(rows.y0); begin < bottom; begin += kWarp) {
    scalar::TileSpan<S> mine = {0, 0};
    if (begin + lane < bottom) mine = scalar::tile_span(e, rows, S(begin + lane), grid.tiles_x);
    const int end = begin + kWarp < bottom ? begin + kWarp : bottom;
    for (int row = begin; row < end; ++row) {
      const int first = __shfl_sync(kWholeWarp, int(mine.first), row - begin);
      const int last = __shfl_sync(kWholeWarp, int(mine.last), row - begin);
      for (int k = lane; k < last - first; k += kWarp) {
        out.tiles[at + uint32_t(k)] = K(row * grid.tiles_x + first + k);
        out.owners[at + uint32_t(k)] = pack_pair(g, slot + uint32_t(k));
      }
      if (last > first) at += uint32_t(last - first), slot += uint32_t(last - first);
    }
  }
}

template <class S, class K>
__global__ void __launch_bounds__(kThreads) list_kernel(Ellipses<S> in, Deal deal, Pairs<K> out) {
  const int32_t rank = int32_t(blockIdx.x) * kThreads + int32_t(threadIdx.x);
  const bool exists = rank < in.count && deal.room.fits();
  const int32_t g = exists ? deal.gaussians[rank] : 0;
  const uint32_t slot = exists ? deal.slot_offsets[g] : 0, met = exists ? deal.slot_offsets[g + 1] - slot : 0;
  const uint32_t at = exists ? deal.starts[rank] : 0;
  if (met > 0 && met < kSharedFrom) list_alone(ellipse_at(in, g), in.grid, g, slot, at, out);
  for (unsigned left = __ballot_sync(kWholeWarp, met >= kSharedFrom); left; left &= left - 1) {
    const int from = __ffs(int(left)) - 1;
    const int32_t large = __shfl_sync(kWholeWarp, g, from);
    list_together(ellipse_at(in, large), in.grid, large, __shfl_sync(kWholeWarp, slot, from),
                  __shfl_sync(kWholeWarp, at, from), out);
  }
}

// The first of the sorted tiles that is `tile` or more.
template <class K>
__device__ __forceinline__ int32_t lower_bound(const K* tiles, int32_t count, int64_t tile) {
  int32_t low = 0, high = count;
  while (low < high) {
    const int32_t middle = low + (high - low) / 2;
    if (int64_t(tiles[middle]) < tile)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

struct TileBins {
  int32_t *tile_offsets, *gaussians, *slots;  // [T+1] [capacity] [capacity]
};

template <class K>
__global__ void __launch_bounds__(kThreads)
    unpack_kernel(Pairs<K> sorted, Deal deal, int32_t gaussians, int64_t tiles, TileBins out) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  const bool fits = deal.room.fits();
  const int32_t pairs = fits ? int32_t(*deal.room.total) : 0;
  if (i < deal.room.capacity) {
    const uint64_t owner = i < pairs ? sorted.owners[i] : ~uint64_t(0);
    out.gaussians[i] = int32_t(uint32_t(owner));
    out.slots[i] = int32_t(owner >> 32);
  }
  if (i <= tiles) out.tile_offsets[i] = lower_bound(sorted.tiles, pairs, i);
  if (i <= gaussians && !fits) deal.slot_offsets[i] = 0;
}

// The numbers of a tensor of int32 that are counted modulo 2^32 until it is known that they fit.
uint32_t* unsigned_pointer(const OnDevice& on, const Tensor& t) {
  return reinterpret_cast<uint32_t*>(on.pointer<int32_t>(t));
}

template <class K>
K* keys_pointer(const OnDevice& on, const Tensor& bytes) {
  return reinterpret_cast<K*>(on.pointer<uint8_t>(bytes));
}

Tensor fresh_bytes(const OnDevice& on, int64_t bytes) { return on.fresh({bytes}, ScalarType::Byte); }

// The Gaussians nearest first, then by index: [N].
template <class S>
Tensor sort_by_depth(const OnDevice& on, const Tensor& keys, const Tensor& gaussians, int64_t n) {
  using K = typename DepthKey<S>::type;
  Tensor sorted_keys = fresh_bytes(on, n * int64_t(sizeof(K))), sorted = on.fresh({n}, ScalarType::Int);
  sort_pairs(on, keys_pointer<K>(on, keys), keys_pointer<K>(on, sorted_keys), on.pointer<int32_t>(gaussians),
             on.pointer<int32_t>(sorted), n);
  return sorted;
}

// Where the pairs of each rank begin when they are listed nearest first: [N].
Tensor starts_by_depth(const OnDevice& on, const Tensor& sorted, const Tensor& counts, int64_t n) {
  Tensor ranked = on.fresh({n}, ScalarType::Int), starts = on.fresh({n}, ScalarType::Int);
  N3D_LAUNCH(rank_kernel, blocks_for(n, kThreads), kThreads, 0, on.stream(), on.pointer<int32_t>(sorted),
             unsigned_pointer(on, counts), int32_t(n), unsigned_pointer(on, ranked));
  exclusive_sum(on, unsigned_pointer(on, ranked), unsigned_pointer(on, starts), n);
  return starts;
}

int bit_length(int64_t x) {
  int bits = 0;
  while (x >> bits) ++bits;
  return bits;
}

struct Lists {
  Tensor tile_offsets, gaussians, slots;
};

// Lists the pairs nearest first and sorts them by tile. K holds every tile. With spare room the keys behind the last
// pair are made the greatest there are: a stable sort leaves them behind the pairs of the last tile.
template <class K, class S>
Lists list_pairs(const OnDevice& on, const Ellipses<S>& in, const Deal& deal, bool spare) {
  const int64_t tiles = int64_t(in.grid.tiles_x) * in.grid.tiles_y, room = deal.room.capacity;
  Lists lists{on.fresh({tiles + 1}, ScalarType::Int), on.fresh({room}, ScalarType::Int),
              on.fresh({room}, ScalarType::Int)};
  Tensor keys = fresh_bytes(on, 2 * room * int64_t(sizeof(K))), owners = on.fresh({2, room}, ScalarType::Long);
  K* key = keys_pointer<K>(on, keys);
  uint64_t* owner = reinterpret_cast<uint64_t*>(on.pointer<int64_t>(owners));
  if (spare && room > 0)
    check_cuda(cudaMemsetAsync(key, 0xff, size_t(room) * sizeof(K), on.stream()), "cudaMemsetAsync");
  N3D_LAUNCH((list_kernel<S, K>), blocks_for(in.count, kThreads), kThreads, 0, on.stream(), in, deal,
             (Pairs<K>{key, owner}));
  sort_pairs(on, key, key + room, owner, owner + room, room, 0, bit_length(tiles - 1));
  const TileBins out{on.pointer<int32_t>(lists.tile_offsets), on.pointer<int32_t>(lists.gaussians),
                     on.pointer<int32_t>(lists.slots)};
  const int64_t most = std::max({room, tiles + 1, int64_t(in.count) + 1});
  N3D_LAUNCH(unpack_kernel<K>, blocks_for(most, kThreads), kThreads, 0, on.stream(),
             (Pairs<K>{key + room, owner + room}), deal, in.count, tiles, out);
  return lists;
}

struct Binned {
  Lists lists;
  Tensor slot_offsets, total;
};

// Lists all pairs: in room for `capacity` of them, or else in just the room that they need, for which the host waits.
template <class S>
Binned bin(const OnDevice& on, const Ellipses<S>& in, std::optional<int64_t> capacity) {
  const int64_t n = in.count, tiles = int64_t(in.grid.tiles_x) * in.grid.tiles_y;
  using K = typename DepthKey<S>::type;
  Tensor counts = on.fresh({n + 1}, ScalarType::Int), slot_offsets = on.fresh({n + 1}, ScalarType::Int);
  Tensor keys = fresh_bytes(on, n * int64_t(sizeof(K))), gaussians = on.fresh({n}, ScalarType::Int);
  Tensor total = on.fresh({}, ScalarType::Long);
  N3D_LAUNCH(count_kernel<S>, blocks_for(n + 1, kThreads), kThreads, 0, on.stream(), in, unsigned_pointer(on, counts),
             keys_pointer<K>(on, keys), on.pointer<int32_t>(gaussians));
  total_sum(on, unsigned_pointer(on, counts), on.pointer<int64_t>(total), n + 1);
  std::optional<Mailbox> mailbox;
  if (!capacity) mailbox.emplace(on, on.pointer<int64_t>(total));

  exclusive_sum(on, unsigned_pointer(on, counts), unsigned_pointer(on, slot_offsets), n + 1);
  const Tensor sorted = sort_by_depth<S>(on, keys, gaussians, n);
  const Tensor starts = starts_by_depth(on, sorted, counts, n);
  const int64_t room = capacity ? *capacity : mailbox->read();
  STD_TORCH_CHECK(room <= INT32_MAX, "neural3d: ", room, " (tile, Gaussian) pairs in one image; at most 2147483647. ",
                  "Render a smaller image or fewer Gaussians.");
  const Deal deal{on.pointer<int32_t>(sorted),
                  unsigned_pointer(on, starts),
                  unsigned_pointer(on, slot_offsets),
                  {on.pointer<int64_t>(total), room}};
  const bool spare = capacity.has_value();
  const Lists lists = tiles <= 65536 ? list_pairs<uint16_t>(on, in, deal, spare)  // a third fewer bytes to move
                                     : list_pairs<uint32_t>(on, in, deal, spare);
  return {lists, slot_offsets, total};
}

template <class S>
Ellipses<S> ellipses_of(const OnDevice& on, const Tensor& means_px, const Tensor& conics, const Tensor& depths,
                        const Tensor& extents, int64_t width, int64_t height) {
  const int64_t tiles_x = (width + kTile - 1) / kTile, tiles_y = (height + kTile - 1) / kTile;
  const int64_t n = means_px.size(0);
  STD_TORCH_CHECK(n < INT32_MAX && tiles_x < INT32_MAX && tiles_y < INT32_MAX && tiles_x * tiles_y < INT32_MAX,
                  "neural3d: an image has at most 2147483646 tiles and Gaussians");
  return {on.pointer<S>(means_px),     on.pointer<S>(conics), on.pointer<S>(extents), on.pointer<S>(depths), int32_t(n),
          {int(tiles_x), int(tiles_y)}};
}

}  // namespace

static std::tuple<Tensor, Tensor, Tensor, Tensor> bin_gaussians(Tensor means_px, Tensor conics, Tensor depths,
                                                                Tensor extents, int64_t width, int64_t height) {
  return N3D_FOR_SCALAR(means_px, S, [&] {
    const OnDevice on(means_px);
    const Binned made = bin<S>(on, ellipses_of<S>(on, means_px, conics, depths, extents, width, height), std::nullopt);
    return std::make_tuple(made.lists.tile_offsets, made.lists.gaussians, made.lists.slots, made.slot_offsets);
  });
}

static std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> bin_gaussians_within(Tensor means_px, Tensor conics,
                                                                               Tensor depths, Tensor extents,
                                                                               int64_t width, int64_t height,
                                                                               int64_t capacity) {
  return N3D_FOR_SCALAR(means_px, S, [&] {
    const OnDevice on(means_px);
    STD_TORCH_CHECK(capacity >= 0 && capacity <= INT32_MAX, "neural3d: lists have room for 0 to 2147483647 pairs");
    const Binned made = bin<S>(on, ellipses_of<S>(on, means_px, conics, depths, extents, width, height), capacity);
    return std::make_tuple(made.lists.tile_offsets, made.lists.gaussians, made.lists.slots, made.slot_offsets,
                           made.total);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("bin_gaussians", TORCH_BOX(&n3d::bin_gaussians));
  m.impl("bin_gaussians_within", TORCH_BOX(&n3d::bin_gaussians_within));
}
