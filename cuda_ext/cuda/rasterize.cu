// Blends the tiles' lists to an image. A block takes a tile, and each of its eight warps a part of 8 x 4 pixels: the
// block loads a batch of the list once and finds which Gaussians reach which part; a warp then sees those that reach
// its own. A warp is done when its pixels are opaque, a block when all its warps are. Channels go through in groups of
// four.
//
// Source: Kerbl et al. 2023, sec. 6; culling below the size of a tile: Feng et al. 2024, FlashGS, sec. 3.
#include <cmath>
#include <type_traits>

#include "raster_state.h"

namespace n3d {
namespace {

constexpr int kThreads = kTilePixels, kPrepareThreads = 1024;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int kBlocks = 4;  // at a time on one multiprocessor
#else
constexpr int kBlocks = 5;
#endif
constexpr int kLengthClasses = 33;  // by the leading zeros of an int32

// What the Gaussians are made ready from.
template <class S>
struct Ellipses {
  const S *means, *conics, *opacities, *colors;  // [N,2] [N,3] [N] [N,D]
  const int32_t* slot_offsets;                   // [N+1]
  int32_t count;
  int channels;
};

template <class S>
struct Picture {
  S *image, *alphas;     // [D,H,W] [H,W]
  const S* background;   // [D]
  const int32_t* order;  // [T] the tiles, longest lists first
};

// One group of channels of one Gaussian.
template <class S>
__device__ __forceinline__ Splat<S> make_splat(const Ellipses<S>& in, int64_t i, int first) {
  const S log2_e = S(1.4426950408889634), *conic = in.conics + 3 * i;
  Splat<S> g = {};
  g.x = in.means[2 * i], g.y = in.means[2 * i + 1];
  g.a = S(-0.5) * log2_e * conic[0], g.b = -log2_e * conic[1], g.c = S(-0.5) * log2_e * conic[2];
  g.top = ::log2(in.opacities[i]);
#pragma unroll
  for (int c = 0; c < kChannels; ++c)
    if (first + c < in.channels) g.color[c] = in.colors[i * in.channels + first + c];
  return g;
}

template <class S>
__device__ void pack_splats(const Ellipses<S>& in, int64_t i, Splat<S>* splats) {
  if (i >= in.count || in.slot_offsets[i] == in.slot_offsets[i + 1]) return;
  for (int first = 0; first < in.channels; first += kChannels)
    splats[int64_t(first / kChannels) * in.count + i] = make_splat(in, i, first);
}

// Adds one to a counter of each thread's own choice and returns what it was; once for all lanes of equal choice.
__device__ __forceinline__ int count_up(int* counters, int choice) {
  const unsigned peers = __match_any_sync(kWholeWarp, choice);
  const int lane = lane_in_warp(), leader = __ffs(int(peers)) - 1;
  int before = 0;
  if (lane == leader && choice >= 0) before = atomicAdd(counters + choice, __popc(peers));
  return __shfl_sync(kWholeWarp, before, leader) + __popc(peers & ((1u << lane) - 1));
}

// One block lists the tiles by the magnitude of their lists' lengths: the longest start first, so that none of them
// keeps the GPU waiting at the end. Within a magnitude the order does not matter, and may differ from run to run.
__device__ void order_tiles(const int32_t* offsets, int tiles, int32_t* order) {
  N3D_SHARED(counters, int[kLengthClasses]);
  const int thread = thread_in_block(), rounds = (tiles + kPrepareThreads - 1) / kPrepareThreads;
  if (thread < kLengthClasses) counters[thread] = 0;
  __syncthreads();
  const auto length_class = [&](int tile) {
    return tile < tiles ? __clz(__ldg(offsets + tile + 1) - __ldg(offsets + tile)) : -1;
  };
  for (int r = 0; r < rounds; ++r) count_up(counters, length_class(r * kPrepareThreads + thread));
  __syncthreads();
  if (thread == 0) {
    int start = 0;
    for (int k = 0; k < kLengthClasses; ++k) {
      const int met = counters[k];
      counters[k] = start;
      start += met;
    }
  }
  __syncthreads();
  for (int r = 0; r < rounds; ++r) {
    const int tile = r * kPrepareThreads + thread, at = count_up(counters, length_class(tile));
    if (tile < tiles) order[at] = tile;
  }
}

template <class S>
__global__ void __launch_bounds__(kPrepareThreads)
    prepare_kernel(Ellipses<S> in, Splat<S>* splats, const int32_t* offsets, int tiles, int32_t* order) {
  if (blockIdx.x == 0)
    order_tiles(offsets, tiles, order);
  else
    pack_splats(in, int64_t(blockIdx.x - 1) * kPrepareThreads + threadIdx.x, splats);
}

// A piece of a list, as the block has loaded it.
template <class S>
struct Batch {
  Splat<S> splats[kThreads];
  unsigned hits[kThreads / kWarp][kParts];  // of 32 Gaussians, those that reach each part
};

template <class S>
__device__ __forceinline__ void load_batch(const TileLists<S>& lists, const Splat<S>* splats, int tile, uint32_t at,
                                           uint32_t end, Batch<S>& batch) {
  const int thread = int(threadIdx.x), lane = thread % kWarp;
  const uint32_t i = at + uint32_t(thread);
  unsigned reached = 0, mine = 0;
  if (i < end) {
    const Splat<S> g = splats[lists.gaussians[i]];
    batch.splats[thread] = g;
    reached = parts_reached(g, S(lists.left(tile)) + S(0.5), S(lists.top(tile)) + S(0.5), lists.cut);
  }
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    const unsigned hits = __ballot_sync(kWholeWarp, reached >> part & 1);
    if (lane == part) mine = hits;
  }
  if (lane < kParts) batch.hits[thread / kWarp][lane] = mine;
}

template <class S, int D>
__device__ __forceinline__ void note_checkpoint(S* checkpoint, int first, const Pixel<S, D>& p) {
  const int pixel = int(threadIdx.x);
  if (first == 0) checkpoint[pixel] = p.transmittance;
#pragma unroll
  for (int c = 0; c < D; ++c) checkpoint[(1 + first + c) * kTilePixels + pixel] = p.color[c];
}

// Blends what of the list reaches this warp's part, up to where all its pixels are opaque; returns how much it saw.
template <class S, int D>
__device__ __forceinline__ int blend_list(const TileLists<S>& lists, const RasterState<S>& state, int tile, int first,
                                          const Splat<S>* splats, S x, S y, Pixel<S, D>& p) {
  N3D_SHARED(batch, Batch<S>);
  const int part = int(threadIdx.x) / kWarp;
  // Unsigned, because counting past the last of 2^31 - 1 pairs must not overflow.
  const uint32_t begin = uint32_t(lists.offsets[tile]), end = uint32_t(lists.offsets[tile + 1]);
  const bool keeps = state.checkpoints != nullptr;
  int seen = 0;
  bool alive = true;
  for (uint32_t at = begin; at < end; at += kThreads) {
    if (!__syncthreads_or(alive)) break;
    load_batch(lists, splats, tile, at, end, batch);
    __syncthreads();
    for (int chunk = 0; alive && chunk < kThreads / kWarp && at + uint32_t(chunk * kWarp) < end; ++chunk) {
      if (keeps && seen > 0 && seen % state.segment() == 0)
        note_checkpoint(state.checkpoint(int32_t(begin), seen >> state.log2_segment), first, p);
      for (unsigned hits = batch.hits[chunk][part]; hits; hits &= hits - 1)
        blend_pixel(batch.splats[chunk * kWarp + __ffs(int(hits)) - 1], x, y, lists.cut, p);
      seen += kWarp;
      alive = __any_sync(kWholeWarp, p.transmittance >= lists.cut.transmittance);
    }
  }
  return seen;
}

template <class S>
__device__ __forceinline__ void note_segments(const TileLists<S>& lists, const RasterState<S>& state, int tile,
                                              int seen) {
  const int thread = int(threadIdx.x);
  if (thread % kWarp == 0) state.reach[tile * kParts + thread / kWarp] = seen;
  const int32_t begin = lists.offsets[tile], end = lists.offsets[tile + 1];
  const int64_t first = state.first_segment(tile, begin), next = state.first_segment(tile + 1, end);
  for (int64_t i = first + thread; i < next; i += kThreads)
    state.tiles[i] = (i - first) << state.log2_segment < end - begin ? tile : -1;
}

template <class S, int D>
__global__ void __launch_bounds__(kThreads, sizeof(S) == sizeof(float) ? kBlocks : 1)
    blend_kernel(TileLists<S> lists, RasterState<S> state, const Splat<S>* splats, int first, Picture<S> out) {
  if (state.checkpoints) state.measure(lists.pairs());
  const int tile = out.order[blockIdx.x], part = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int column = lists.left(tile) + part_column(part) + pixel_column(lane);
  const int row = lists.top(tile) + part_row(part) + pixel_row(lane);
  const bool inside = column < lists.width && row < lists.height;
  Pixel<S, D> p = {};
  p.transmittance = inside ? S(1) : S(-1);
  const int seen = blend_list(lists, state, tile, first, splats, S(column) + S(0.5), S(row) + S(0.5), p);
  if (state.checkpoints && first == 0) note_segments(lists, state, tile, seen);
  if (!inside) return;
  const int64_t at = int64_t(row) * lists.width + column, plane = int64_t(lists.width) * lists.height;
#pragma unroll
  for (int c = 0; c < D; ++c)
    out.image[(first + c) * plane + at] = scalar::fma(p.transmittance, out.background[first + c], p.color[c]);
  if (first == 0) out.alphas[at] = S(1) - p.transmittance;
}

template <class S>
void blend_all(const OnDevice& on, const TileLists<S>& lists, const RasterState<S>& state, const Ellipses<S>& in,
               const Picture<S>& out) {
  for (int first = 0; first < in.channels; first += kChannels) {
    const Splat<S>* splats = state.splats + int64_t(first / kChannels) * in.count;
    with_channels(in.channels - first, [&](auto channels) {
      N3D_LAUNCH((blend_kernel<S, channels.value>), unsigned(lists.tiles), kThreads, 0, on.stream(), lists, state,
                 splats, first, out);
    });
  }
}

}  // namespace

static std::tuple<Tensor, Tensor, Tensor> rasterize(Tensor means_px, Tensor conics, Tensor opacities, Tensor colors,
                                                    Tensor background, Tensor tile_offsets, Tensor gaussians,
                                                    Tensor slots, Tensor slot_offsets, int64_t width, int64_t height,
                                                    double alpha_min, double transmittance_min, bool with_state) {
  return N3D_FOR_SCALAR(means_px, S, [&] {
    const OnDevice on(means_px);
    const int64_t n = means_px.size(0), channels = colors.size(1), room = gaussians.size(0);
    const auto lists = tile_lists<S>(on, tile_offsets, gaussians, slots, width, height, alpha_min, transmittance_min);
    const StateSize size = state_size<S>(n, channels, lists.tiles, room);
    Tensor memory = on.fresh({with_state ? size.total() : size.splats}, ScalarType::Byte);
    RasterState<S> state = state_at<S>(on.pointer<uint8_t>(memory), size, channels);
    if (!with_state) state.checkpoints = nullptr;
    Tensor image = on.fresh({channels, height, width}, scalar_type<S>());
    Tensor alphas = on.fresh({height, width}, scalar_type<S>()), order = on.fresh({lists.tiles}, ScalarType::Int);
    const Ellipses<S> in{on.pointer<S>(means_px),
                         on.pointer<S>(conics),
                         on.pointer<S>(opacities),
                         on.pointer<S>(colors),
                         on.pointer<int32_t>(slot_offsets),
                         int32_t(n),
                         int(channels)};
    N3D_LAUNCH(prepare_kernel<S>, 1 + blocks_for(n, kPrepareThreads), kPrepareThreads, 0, on.stream(), in, state.splats,
               lists.offsets, lists.tiles, on.pointer<int32_t>(order));
    blend_all<S>(on, lists, state, in,
                 {on.pointer<S>(image), on.pointer<S>(alphas), on.pointer<S>(background), on.pointer<int32_t>(order)});
    return std::make_tuple(image, alphas, with_state ? memory : on.fresh({0}, ScalarType::Byte));
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) { m.impl("rasterize", TORCH_BOX(&n3d::rasterize)); }
