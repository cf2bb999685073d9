// Pulls an image's gradient back to the Gaussians. A warp takes a segment of a tile's list and all 256 pixels of the
// tile, eight a lane, in registers: what a Gaussian gets from its pixels is summed in the lanes first and over the warp
// once, and only parts of the tile that it reaches are looked at.
//
// Each (tile, Gaussian) pair has a slot to itself, and each Gaussian sums its slots in their order: no atomics, so the
// same inputs give the same bytes on every run.
#include <cmath>
#include <type_traits>

#include "order.h"
#include "raster_state.h"
#include "spread.h"

namespace n3d {
namespace {

constexpr int kPullThreads = 128, kSumThreads = 256;

// What the image pulls with; one group of channels.
template <class S>
struct ImageGradient {
  const S *image, *alphas;      // [D,H,W] [H,W]
  const S *d_image, *d_alphas;  // d_alphas may be null, and is in all groups but the first
};

// What has been pulled: a slot holds kMomentCount moments and the group's colours.
template <class S>
struct Gradients {
  S *means, *conics, *opacities, *colors;  // [N,2] [N,3] [N] [N,D]
};

// A segment of a tile's list, and where a lane's pixel of part 0 lies.
template <class S>
struct Segment {
  int tile, number, left, top, column, row;  // left, top: of the tile, px
  int32_t begin, length;                     // of the segment
  const S* checkpoint;                       // null for the first

  __device__ __forceinline__ Segment(const TileLists<S>& lists, const RasterState<S>& state, int64_t id, int tile)
      : tile(tile), left(lists.left(tile)), top(lists.top(tile)) {
    const int32_t list = lists.offsets[tile], end = lists.offsets[tile + 1];
    number = int(id - state.first_segment(tile, list));
    begin = list + (number << state.log2_segment);
    length = end - begin < state.segment() ? end - begin : state.segment();
    checkpoint = number > 0 ? state.checkpoint(list, number) : nullptr;
    column = left + pixel_column(lane_in_warp()), row = top + pixel_row(lane_in_warp());
  }
};

// The pixels as they are before anything is blended; those of parts that are not alive, and beyond the border, as they
// never are. With a branch around each: reading all of them at a time would take too many registers.
template <class S, int D>
__device__ __forceinline__ void load_pixels(const TileLists<S>& lists, const ImageGradient<S>& in,
                                            const Segment<S>& segment, unsigned alive, int first,
                                            PixelGradient<S, D>* pixels) {
  const int64_t plane = int64_t(lists.width) * lists.height;
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    PixelGradient<S, D>& p = pixels[part];
    p = {};
    p.transmittance = S(-1);
    const int column = segment.column + part_column(part), row = segment.row + part_row(part);
    if (!(alive >> part & 1) || column >= lists.width || row >= lists.height) continue;
    const int64_t at = int64_t(row) * lists.width + column;
    p.transmittance = S(1);
    if (in.d_alphas) p.pending = (in.alphas[at] - S(1)) * in.d_alphas[at];
#pragma unroll
    for (int c = 0; c < D; ++c) {
      p.grad[c] = in.d_image[(first + c) * plane + at];
      p.pending = scalar::fma(p.grad[c], in.image[(first + c) * plane + at], p.pending);
    }
  }
}

// Takes what the segments in front have blended off the pixels.
template <class S, int D>
__device__ __forceinline__ void pass_front(const S* checkpoint, unsigned alive, int first,
                                           PixelGradient<S, D>* pixels) {
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    if (!(alive >> part & 1)) continue;
    const S* from = checkpoint + part * kWarp + lane_in_warp();
    pixels[part].transmittance = from[0];
#pragma unroll
    for (int c = 0; c < D; ++c)
      pixels[part].pending =
          scalar::fma(-pixels[part].grad[c], from[(1 + first + c) * kTilePixels], pixels[part].pending);
  }
}

// Pulls on one Gaussian, whose splat all lanes share, and leaves each of the sums in one of the lanes.
template <class S, int D>
__device__ __forceinline__ S pull_splat(Splat<S> g, unsigned parts, S x, S y, const Cutoffs<S>& cut,
                                        PixelGradient<S, D>* pixels, int lane) {
  keep_splat<S, D>(g);
  S sums[kMomentCount + D] = {};
#pragma unroll
  for (int part = 0; part < kParts; ++part)
    if (parts >> part & 1) pull_pixel(g, x + S(part_column(part)), y + S(part_row(part)), cut, pixels[part], sums);
  spread_sums<kMomentCount + D>(sums, lane);
  return sums[0];
}

// What a warp works on, one Gaussian a lane: where its sums go, and which parts of the tile it reaches.
struct Item {
  int32_t slot;
  unsigned parts;
};

template <class S, int kCount>
__device__ __forceinline__ Item load_item(const TileLists<S>& lists, const Splat<S>* splats, const Segment<S>& segment,
                                          int at, unsigned alive, Splat<S>* shared, S* slots) {
  if (at >= segment.length) return {0, 0};
  Item item = {(kOrdered ? lists.slots : lists.gaussians)[segment.begin + at], 0};
  if (alive) {
    const Splat<S> g = splats[lists.gaussians[segment.begin + at]];
    *shared = g;
    item.parts = parts_reached(g, S(segment.left) + S(0.5), S(segment.top) + S(0.5), lists.cut) & alive;
  }
  if (kOrdered && item.parts == 0)
    for (int k = 0; k < kCount; ++k) slots[int64_t(item.slot) * kCount + k] = S(0);
  return item;
}

template <class S, int D>
__device__ __forceinline__ void pull_segment(const TileLists<S>& lists, const RasterState<S>& state,
                                             const Splat<S>* splats, const ImageGradient<S>& in, int first,
                                             const Segment<S>& segment, Splat<S>* shared, S* slots) {
  constexpr int kCount = kMomentCount + D;
  const int lane = lane_in_warp();
  int index = spread_index<kCount>(lane);
  keep(index);
  // Of each part, up to where in this segment it is not opaque yet; lane k knows part k's.
  const int reach =
      lane < kParts ? state.reach[segment.tile * kParts + lane] - (segment.number << state.log2_segment) : 0;
  const unsigned alive_first = __ballot_sync(kWholeWarp, reach > 0);
  PixelGradient<S, D> pixels[kParts];
  load_pixels(lists, in, segment, alive_first, first, pixels);
  if (segment.checkpoint) pass_front(segment.checkpoint, alive_first, first, pixels);
  const S x = S(segment.column) + S(0.5), y = S(segment.row) + S(0.5);
  for (int at = 0; at < segment.length; at += kWarp) {
    const unsigned alive = __ballot_sync(kWholeWarp, reach > at);
    const Item item = load_item<S, kCount>(lists, splats, segment, at + lane, alive, shared + lane, slots);
    __syncwarp();
    for (unsigned todo = __ballot_sync(kWholeWarp, item.parts != 0); todo; todo &= todo - 1) {
      const int from = __ffs(int(todo)) - 1;
      const unsigned parts = __shfl_sync(kWholeWarp, item.parts, from);
      const int32_t slot = __shfl_sync(kWholeWarp, item.slot, from);
      const S sum = pull_splat<S, D>(shared[from], parts, x, y, lists.cut, pixels, lane);
      if (index >= 0) leave_part(slots + int64_t(slot) * kCount + index, sum);
    }
    __syncwarp();
  }
}

template <class S, int D>
__global__ void __launch_bounds__(kPullThreads)
    pull_kernel(TileLists<S> lists, RasterState<S> state, const Splat<S>* splats, ImageGradient<S> in, int first,
                S* slots) {
  N3D_SHARED(shared, Splat<S>[kPullThreads]);
  const int64_t id = int64_t(blockIdx.x) * (kPullThreads / kWarp) + warp_in_block();
  const int32_t pairs = lists.pairs();
  state.measure(pairs);
  const int64_t segments = state.first_segment(lists.tiles, pairs);
  const int tile = id < segments ? state.tiles[id] : -1;
  if (tile < 0) return;
  pull_segment<S, D>(lists, state, splats, in, first, Segment<S>(lists, state, id, tile),
                     shared + warp_in_block() * kWarp, slots);
}

// Turns the sums of vp = d loss / d log alpha times 1, dx, dy, dx^2, dx dy, dy^2 into the gradient that lane k of a
// Gaussian's warp has to write, with log alpha = log opacity - 1/2 d^T conic d.
template <class S>
__device__ __forceinline__ S gradient_of(int k, S sum, S sum_x, S sum_y, const S* conic, S opacity) {
  if (k == 0) return sum / opacity;
  if (k == 1) return conic[0] * sum_x + conic[1] * sum_y;
  if (k == 2) return conic[1] * sum_x + conic[2] * sum_y;
  if (k == 4) return -sum;
  return k < kMomentCount ? S(-0.5) * sum : sum;
}

template <class S>
__device__ __forceinline__ S* gradient_place(int k, int64_t i, int first, int channels, const Gradients<S>& out) {
  if (k == 0) return out.opacities + i;
  if (k < 3) return out.means + 2 * i + k - 1;
  if (k < kMomentCount) return out.conics + 3 * i + k - 3;
  return out.colors + i * channels + first + k - kMomentCount;
}

// The sum of a Gaussian's slots, one number in each of the first kCount lanes. The warp reads as many slots at a time
// as it has lanes for.
template <int kCount, class S>
__device__ __forceinline__ S sum_slots(const S* slots, int32_t begin, int32_t end, int lane) {
  constexpr int kAtOnce = kWarp / kCount;
  const S* p = slots + int64_t(begin) * kCount + lane;
  const int32_t mine = lane < kAtOnce * kCount ? (end - begin - lane / kCount + kAtOnce - 1) / kAtOnce : 0;
  S part(0);
#pragma unroll 4
  for (int32_t i = 0; i < mine; ++i) part += p[int64_t(i) * (kAtOnce * kCount)];
  S sum = part;
#pragma unroll
  for (int k = 1; k < kAtOnce; ++k) sum += __shfl_down_sync(kWholeWarp, part, unsigned(k * kCount));
  return sum;
}

template <class S, int D>
__global__ void __launch_bounds__(kSumThreads)
    sum_kernel(const S* slots, const int32_t* slot_offsets, const S* conics, const S* opacities, int64_t count,
               int first, int channels, Gradients<S> out) {
  constexpr int kCount = kMomentCount + D;
  const int64_t i = int64_t(blockIdx.x) * (kSumThreads / kWarp) + warp_in_block();
  if (i >= count) return;
  const int lane = lane_in_warp();
  const int32_t begin = slot_offsets[i], end = slot_offsets[i + 1];
  const S sum = sum_slots<kCount>(slots, kOrdered ? begin : int32_t(i), kOrdered ? end : int32_t(i) + 1, lane);
  const S sum_x = __shfl_sync(kWholeWarp, sum, 1), sum_y = __shfl_sync(kWholeWarp, sum, 2);
  if (lane >= kCount) return;
  S* place = gradient_place(lane, i, first, channels, out);
  // The gradient of alpha is a sum over channels: what the groups pull on the ellipse adds up.
  const S before = first > 0 && lane < kMomentCount ? *place : S(0);
  *place = begin == end ? before : before + gradient_of(lane, sum, sum_x, sum_y, conics + 3 * i, opacities[i]);
}

}  // namespace

static std::tuple<Tensor, Tensor, Tensor, Tensor> rasterize_vjp(Tensor means_px, Tensor conics, Tensor opacities,
                                                                Tensor colors, Tensor background, Tensor tile_offsets,
                                                                Tensor gaussians, Tensor slots, Tensor slot_offsets,
                                                                int64_t width, int64_t height, double alpha_min,
                                                                double transmittance_min, Tensor image, Tensor alphas,
                                                                Tensor state, Tensor d_image,
                                                                std::optional<Tensor> d_alphas) {
  return N3D_FOR_SCALAR(means_px, S, [&] {
    const OnDevice on(means_px);
    constexpr ScalarType type = scalar_type<S>();
    const int64_t n = means_px.size(0), channels = colors.size(1), room = gaussians.size(0);
    const auto lists = tile_lists<S>(on, tile_offsets, gaussians, slots, width, height, alpha_min, transmittance_min);
    const StateSize size = state_size<S>(n, channels, lists.tiles, room);
    STD_TORCH_CHECK(state.numel() == size.total(), "neural3d: rasterize kept no state for this backward pass");
    const RasterState<S> kept = state_at<S>(on.pointer<uint8_t>(state), size, channels);
    Tensor d_means = on.fresh({n, 2}, type), d_conics = on.fresh({n, 3}, type), d_opacities = on.fresh({n}, type);
    Tensor d_colors = on.fresh({n, channels}, type);
    const Gradients<S> out{on.pointer<S>(d_means), on.pointer<S>(d_conics), on.pointer<S>(d_opacities),
                           on.pointer<S>(d_colors)};
    const int64_t segments = most_segments(room, lists.tiles);
    for (int first = 0; first < channels; first += kChannels) {
      const Splat<S>* splats = kept.splats + int64_t(first / kChannels) * n;
      const ImageGradient<S> in{on.pointer<S>(image), on.pointer<S>(alphas), on.pointer<S>(d_image),
                                first == 0 ? on.pointer<S>(d_alphas) : nullptr};
      with_channels(int(channels) - first, [&](auto group) {
        constexpr int D = group.value, count = kMomentCount + D;
        Tensor space = kOrdered ? on.fresh({room, count}, type) : on.zeros({n, count}, type);
        N3D_LAUNCH((pull_kernel<S, D>), blocks_for(segments, kPullThreads / kWarp), kPullThreads, 0, on.stream(), lists,
                   kept, splats, in, first, on.pointer<S>(space));
        N3D_LAUNCH((sum_kernel<S, D>), blocks_for(n, kSumThreads / kWarp), kSumThreads, 0, on.stream(),
                   on.pointer<S>(space), on.pointer<int32_t>(slot_offsets), on.pointer<S>(conics),
                   on.pointer<S>(opacities), n, first, int(channels), out);
      });
    }
    return std::make_tuple(d_means, d_conics, d_opacities, d_colors);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) { m.impl("rasterize_vjp", TORCH_BOX(&n3d::rasterize_vjp)); }
