// What the forward and the backward pass of the rasterizer share: the tiles' lists, and the state that the forward pass
// keeps for the backward pass.
//
// A list is cut into segments of equal length. The forward pass notes each pixel's transmittance and colour where a
// segment begins, so that the backward pass can work on all segments at the same time: one long list does not hold up
// the others. Each tile owns an extra segment for its list's rest, so that segments are numbered without counting them.
// How long a segment is follows from the number of pairs that there are, which the device alone knows; how much memory
// there is from the room in the lists. So no bit of a result depends on that room.
//
// Source: Mallick et al. 2024, Taming 3DGS, sec. 4.3, with longer segments and pixels in lanes instead of Gaussians.
#pragma once

#include <algorithm>

#include "blend.h"
#include "launch.h"

namespace n3d {

constexpr int kLog2Shortest = 6, kLog2Longest = 9;  // of a segment's length
constexpr int64_t kManySegments = 8192;  // a few for each place that a large GPU has for a warp of the backward pass

// How long segments are: the fewer, the less there is to note; the more, the better the GPU is filled.
__host__ __device__ inline int log2_segment_length(int64_t pairs) {
  int log2 = kLog2Shortest;
  while (log2 < kLog2Longest && pairs >> log2 > kManySegments) ++log2;
  return log2;
}

template <class S>
struct RasterState {
  Splat<S>* splats;  // [groups,N]
  int32_t* reach;    // [T,kParts] how much of its tile's list a part has seen when all of it was opaque
  int32_t* tiles;    // [segments] the segment's tile, or -1
  S* checkpoints;    // [segments without each tile's first,1+channels,kTilePixels]; null if nothing is to be kept
  int log2_segment, channels;  // the first is found by each kernel: see measure

  // To be called before anything else on the device, with the number of pairs that there are.
  __device__ __forceinline__ void measure(int32_t pairs) { log2_segment = log2_segment_length(pairs); }
  __device__ __forceinline__ int32_t segment() const { return 1 << log2_segment; }
  __device__ __forceinline__ int64_t first_segment(int tile, int32_t begin) const {
    return (begin >> log2_segment) + int64_t(tile);
  }
  // Of a tile whose list begins at `begin`, where its segment `number` > 0 begins: the transmittance of all its pixels,
  // and behind it the channels.
  __device__ __forceinline__ S* checkpoint(int32_t begin, int number) const {
    return checkpoints + int64_t((begin >> log2_segment) + number - 1) * (1 + channels) * kTilePixels;
  }
};

// Bytes of each of the state's arrays, in their order.
struct StateSize {
  int64_t splats, reach, tiles, checkpoints;
  int64_t total() const { return splats + reach + tiles + checkpoints; }
};

inline int64_t whole_lines(int64_t bytes) { return (bytes + 127) / 128 * 128; }
inline int channel_groups(int64_t channels) { return int((channels + kChannels - 1) / kChannels); }

// The most whole segments that `room` or fewer pairs are cut into: where segments get longer, they get fewer.
inline int64_t most_whole_segments(int64_t room) {
  const int log2 = log2_segment_length(room);
  return log2 == kLog2Shortest ? room >> log2 : std::max(kManySegments, room >> log2);
}
inline int64_t most_segments(int64_t room, int64_t tiles) { return most_whole_segments(room) + tiles; }

template <class S>
StateSize state_size(int64_t gaussians, int64_t channels, int64_t tiles, int64_t room) {
  const int64_t checkpoints = most_whole_segments(room) * (1 + channels) * kTilePixels;
  return {whole_lines(channel_groups(channels) * gaussians * int64_t(sizeof(Splat<S>))),
          whole_lines(tiles * kParts * int64_t(sizeof(int32_t))),
          whole_lines(most_segments(room, tiles) * int64_t(sizeof(int32_t))),
          whole_lines(checkpoints * int64_t(sizeof(S)))};
}

template <class S>
RasterState<S> state_at(uint8_t* memory, const StateSize& size, int64_t channels) {
  RasterState<S> state = {};
  state.splats = reinterpret_cast<Splat<S>*>(memory);
  state.reach = reinterpret_cast<int32_t*>(memory + size.splats);
  state.tiles = reinterpret_cast<int32_t*>(memory + size.splats + size.reach);
  state.checkpoints = reinterpret_cast<S*>(memory + size.splats + size.reach + size.tiles);
  state.channels = int(channels);
  return state;
}

// The tiles' lists and the image that they are for.
template <class S>
struct TileLists {
  const int32_t *offsets, *gaussians, *slots;  // [T+1] [room] [room], of which the first offsets[T] are pairs
  int width, height, tiles_x, tiles;
  Cutoffs<S> cut;

  __device__ __forceinline__ int32_t pairs() const { return offsets[tiles]; }
  __device__ __forceinline__ int left(int tile) const { return tile % tiles_x * kTile; }
  __device__ __forceinline__ int top(int tile) const { return tile / tiles_x * kTile; }
};

template <class S>
TileLists<S> tile_lists(const OnDevice& on, const Tensor& offsets, const Tensor& gaussians, const Tensor& slots,
                        int64_t width, int64_t height, double alpha_min, double transmittance_min) {
  const int64_t tiles_x = (width + kTile - 1) / kTile, tiles = tiles_x * ((height + kTile - 1) / kTile);
  STD_TORCH_CHECK(tiles == offsets.size(0) - 1 && tiles < INT32_MAX, "neural3d: the tiles are not those of the image");
  const Cutoffs<S> cut{alpha_min > 0 ? S(std::log2(alpha_min)) : S(-126), S(transmittance_min)};
  return {on.pointer<int32_t>(offsets),
          on.pointer<int32_t>(gaussians),
          on.pointer<int32_t>(slots),
          int(width),
          int(height),
          int(tiles_x),
          int(tiles),
          cut};
}

// Calls f with the number of channels of a group as a constant.
template <class F>
void with_channels(int channels, const F& f) {
  if (channels == 1) return f(std::integral_constant<int, 1>());
  if (channels == 2) return f(std::integral_constant<int, 2>());
  if (channels == 3) return f(std::integral_constant<int, 3>());
  f(std::integral_constant<int, 4>());
}

}  // namespace n3d
