// What forward and backward passes of the radiance layers share: a block of threads takes a few samples through all
// layers in shared memory; weights come through the read-only cache.
#pragma once

#include "../math/radiance_layers.h"
#include "../math/scalar.h"
#include "launch.h"
#include "warp.h"

namespace n3d {

constexpr int kRadianceThreads = 128, kMaxTile = 32;

template <class S>
struct Radiance {
  const S *features, *weights, *terms;  // [S,inputs] [flat] [R,width]: what a ray adds to the layer that mixes
  const int32_t* offsets;               // [R + 1], or null
  int64_t samples, rays;
  RadianceLayers layers;
  int tile;  // samples of a block
};

// The activations of a block's samples, and their gradients; rows are a sample each.
template <class S>
struct Tile {
  S *features, *first, *geometry, *mixed, *hidden, *color;
  S *d_first, *d_geometry, *d_mixed, *d_hidden, *d_color;
  __device__ __forceinline__ Tile(const Radiance<S>& a, S* at, bool backward) {
    const RadianceLayers& l = a.layers;
    const auto take = [&](int numbers) { return at += numbers * a.tile, at - numbers * a.tile; };
    features = take(l.inputs), first = take(l.width), geometry = take(l.geometry);
    mixed = take(l.width), hidden = take(l.width), color = take(3);
    if (!backward) return;
    d_first = take(l.width), d_geometry = take(l.geometry), d_mixed = take(l.width), d_hidden = take(l.width);
    d_color = take(3);
  }
};

// Numbers that a sample takes of shared memory.
inline int64_t tile_numbers(const RadianceLayers& l, bool backward) {
  const int64_t activations = 3 * int64_t(l.width) + l.geometry + 3;
  return l.inputs + (backward ? 2 : 1) * activations;
}

__device__ __forceinline__ int64_t ray_of(const int32_t* offsets, int64_t rays, int64_t sample) {
  int64_t low = 0, high = rays;  // offsets[low] <= sample < offsets[high]
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (offsets[middle] <= sample)
      low = middle;
    else
      high = middle;
  }
  return low;
}

// y[s][j] = (y[s][j] where `add`) + sum_k W[j][k] x[s][k].
template <class S>
__device__ __forceinline__ void apply(const Radiance<S>& a, RadianceStage stage, const S* x, S* y, bool add,
                                      bool rectified) {
  const RadianceLayer& layer = a.layers.layer[stage];
  for (int at = thread_in_block(); at < a.tile * layer.outputs; at += kRadianceThreads) {
    const int s = at / layer.outputs, j = at % layer.outputs;
    const S* row = a.weights + layer.flat + int64_t(j) * layer.flat_stride;
    S sum = add ? y[at] : S(0);
    for (int k = 0; k < layer.inputs; ++k) sum = scalar::fma(__ldg(row + k), x[s * layer.inputs + k], sum);
    y[at] = rectified ? scalar::max(sum, S(0)) : sum;
  }
  __syncthreads();
}

template <class S>
__device__ __forceinline__ S density_of(S logarithm) {
  return scalar::exp(scalar::min(logarithm, S(kMaxLogDensity)));
}

// A tile's samples through all layers. Samples behind the last are zero.
template <class S>
__device__ __forceinline__ void forward_tile(const Radiance<S>& a, int64_t begin, Tile<S>& t) {
  const RadianceLayers& l = a.layers;
  for (int at = thread_in_block(); at < a.tile * l.inputs; at += kRadianceThreads)
    t.features[at] = begin + at / l.inputs < a.samples ? a.features[begin * l.inputs + at] : S(0);
  __syncthreads();
  apply(a, kFirst, t.features, t.first, false, true);
  apply(a, kGeometry, t.first, t.geometry, false, false);
  if (!l.with_colors) return;
  for (int at = thread_in_block(); at < a.tile * l.width; at += kRadianceThreads) {
    const int64_t sample = begin + at / l.width;
    t.mixed[at] = sample < a.samples ? a.terms[ray_of(a.offsets, a.rays, sample) * l.width + at % l.width] : S(0);
  }
  __syncthreads();
  apply(a, kMix, t.geometry, t.mixed, true, true);
  apply(a, kHidden, t.mixed, t.hidden, false, true);
  apply(a, kColor, t.hidden, t.color, false, false);
  for (int at = thread_in_block(); at < a.tile * 3; at += kRadianceThreads)
    t.color[at] = S(1) / (S(1) + scalar::exp(-t.color[at]));
  __syncthreads();
}

}  // namespace n3d
