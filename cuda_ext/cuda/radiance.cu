// Features to densities and colours. For the weights' gradient a fixed number of blocks take the samples in turns; each
// leaves its part, and the parts are added in the blocks' order.
#include "radiance.h"

namespace n3d {
namespace {

constexpr int kThreads = 256;
constexpr unsigned kBackwardBlocks = 256;
constexpr int64_t kSharedBytes = 48 << 10;

// What a ray adds to the units of the layer that mixes: the same for all of its samples.
template <class S>
__global__ void __launch_bounds__(kThreads)
    terms_kernel(RadianceLayers l, const S* weights, const S* ray_features, int64_t count, S* terms) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const RadianceLayer& layer = l.layer[kRay];
  const S *row = weights + layer.flat + i % l.width * layer.flat_stride, *x = ray_features + i / l.width * layer.inputs;
  S sum(0);
  for (int k = 0; k < layer.inputs; ++k) sum = scalar::fma(__ldg(row + k), x[k], sum);
  terms[i] = sum;
}

template <class S>
__global__ void __launch_bounds__(kRadianceThreads) forward_kernel(Radiance<S> a, S* densities, S* colors) {
  N3D_DYNAMIC_SHARED(S, space);
  Tile<S> t(a, space, false);
  const int64_t begin = int64_t(blockIdx.x) * a.tile;
  forward_tile(a, begin, t);
  const int i = thread_in_block();
  if (i < a.tile && begin + i < a.samples) {
    densities[begin + i] = density_of(t.geometry[i * a.layers.geometry]);
    for (int c = 0; c < 3 && a.layers.with_colors; ++c) colors[3 * (begin + i) + c] = t.color[3 * i + c];
  }
}

// Gradients that come in, and those that go out.
template <class S>
struct Pulls {
  const S *d_densities, *d_colors;
  S *d_features, *d_mixed, *partials;  // [S,inputs] [S,width] [blocks,flat]
};

// d x[s][k] = sum_j d y[s][j] W[j][k], where the unit is on if it is rectified; W's own gradient is added to `partial`.
template <class S>
__device__ __forceinline__ void pull(const Radiance<S>& a, RadianceStage stage, const S* x, const S* d_y, S* d_x,
                                     bool rectified, S* partial) {
  const RadianceLayer& layer = a.layers.layer[stage];
  const S* weights = a.weights + layer.flat;
  for (int at = thread_in_block(); at < layer.outputs * layer.inputs; at += kRadianceThreads) {
    const int j = at / layer.inputs, k = at % layer.inputs;
    S sum(0);
    for (int s = 0; s < a.tile; ++s) sum = scalar::fma(d_y[s * layer.outputs + j], x[s * layer.inputs + k], sum);
    partial[layer.flat + int64_t(j) * layer.flat_stride + k] += sum;
  }
  for (int at = thread_in_block(); at < a.tile * layer.inputs; at += kRadianceThreads) {
    const int s = at / layer.inputs, k = at % layer.inputs;
    S sum(0);
    for (int j = 0; j < layer.outputs; ++j)
      sum = scalar::fma(d_y[s * layer.outputs + j], __ldg(weights + int64_t(j) * layer.flat_stride + k), sum);
    d_x[at] = !rectified || x[at] > S(0) ? sum : S(0);
  }
  __syncthreads();
}

template <class S>
__device__ __forceinline__ void pull_colors(const Radiance<S>& a, int64_t begin, Tile<S>& t, const Pulls<S>& p,
                                            S* partial) {
  for (int at = thread_in_block(); at < a.tile * 3; at += kRadianceThreads) {
    const S color = t.color[at];
    const bool there = begin + at / 3 < a.samples;
    t.d_color[at] = there ? p.d_colors[3 * begin + at] * color * (S(1) - color) : S(0);
  }
  __syncthreads();
  pull(a, kColor, t.hidden, t.d_color, t.d_hidden, true, partial);
  pull(a, kHidden, t.mixed, t.d_hidden, t.d_mixed, true, partial);
  for (int at = thread_in_block(); at < a.tile * a.layers.width; at += kRadianceThreads)
    if (begin + at / a.layers.width < a.samples) p.d_mixed[begin * a.layers.width + at] = t.d_mixed[at];
  pull(a, kMix, t.geometry, t.d_mixed, t.d_geometry, false, partial);
}

// At least two blocks at a time: left alone, the compiler aims at a full chip on some architectures, and spills.
template <class S>
__global__ void __launch_bounds__(kRadianceThreads, 2) backward_kernel(Radiance<S> a, Pulls<S> p) {
  N3D_DYNAMIC_SHARED(S, space);
  Tile<S> t(a, space, true);
  const RadianceLayers& l = a.layers;
  S* partial = p.partials + blockIdx.x * l.flat;
  for (int64_t begin = int64_t(blockIdx.x) * a.tile; begin < a.samples; begin += int64_t(gridDim.x) * a.tile) {
    forward_tile(a, begin, t);
    if (l.with_colors) {
      pull_colors(a, begin, t, p, partial);
    } else {
      for (int at = thread_in_block(); at < a.tile * l.geometry; at += kRadianceThreads) t.d_geometry[at] = S(0);
      __syncthreads();
    }
    const int i = thread_in_block();
    if (i < a.tile && begin + i < a.samples)
      t.d_geometry[i * l.geometry] += p.d_densities[begin + i] * density_of(t.geometry[i * l.geometry]);
    __syncthreads();
    pull(a, kGeometry, t.first, t.d_geometry, t.d_first, true, partial);
    // The features are not needed any more: their gradient takes their place once the weights' is done.
    const RadianceLayer& layer = l.layer[kFirst];
    for (int at = thread_in_block(); at < layer.outputs * layer.inputs; at += kRadianceThreads) {
      S sum(0);
      for (int s = 0; s < a.tile; ++s)
        sum = scalar::fma(t.d_first[s * l.width + at / l.inputs], t.features[s * l.inputs + at % l.inputs], sum);
      partial[layer.flat + at] += sum;
    }
    for (int at = thread_in_block(); at < a.tile * l.inputs; at += kRadianceThreads) {
      const int s = at / l.inputs, k = at % l.inputs;
      if (begin + s >= a.samples) continue;
      S sum(0);
      for (int j = 0; j < l.width; ++j)
        sum = scalar::fma(t.d_first[s * l.width + j], __ldg(a.weights + layer.flat + int64_t(j) * l.inputs + k), sum);
      p.d_features[begin * l.inputs + at] = sum;
    }
    __syncthreads();
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    total_kernel(const S* partials, int64_t blocks, int64_t count, S* d_weights) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  S sum(0);
  for (int64_t block = 0; block < blocks; ++block) sum += partials[block * count + i];
  d_weights[i] = sum;
}

// What a ray's samples pull on its part of the mixing layer, in their order.
template <class S>
__global__ void __launch_bounds__(kThreads)
    ray_sums_kernel(const S* d_mixed, const int32_t* offsets, int width, int64_t count, S* d_terms) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t ray = i / width, unit = i % width;
  S sum(0);
  for (int64_t s = offsets[ray]; s < offsets[ray + 1]; ++s) sum += d_mixed[s * width + unit];
  d_terms[i] = sum;
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    pull_rays_kernel(RadianceLayers l, const S* weights, const S* d_terms, int64_t count, S* d_ray_features) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const RadianceLayer& layer = l.layer[kRay];
  const int64_t ray = i / layer.inputs, k = i % layer.inputs;
  S sum(0);
  for (int j = 0; j < l.width; ++j)
    sum =
        scalar::fma(__ldg(weights + layer.flat + int64_t(j) * layer.flat_stride + k), d_terms[ray * l.width + j], sum);
  d_ray_features[i] = sum;
}

// A warp for each weight that a ray's features have.
template <class S>
__global__ void __launch_bounds__(kThreads)
    ray_weights_kernel(RadianceLayers l, const S* ray_features, const S* d_terms, int64_t rays, S* d_weights) {
  const RadianceLayer& layer = l.layer[kRay];
  const int64_t i = int64_t(blockIdx.x) * (kThreads / kWarp) + warp_in_block();
  if (i >= int64_t(layer.outputs) * layer.inputs) return;
  const int64_t j = i / layer.inputs, k = i % layer.inputs;
  S sum(0);
  for (int64_t ray = lane_in_warp(); ray < rays; ray += kWarp)
    sum = scalar::fma(d_terms[ray * l.width + j], ray_features[ray * layer.inputs + k], sum);
  sum = warp_sum(sum);
  if (lane_in_warp() == 0) d_weights[layer.flat + j * layer.flat_stride + k] = sum;
}

// The arguments, and each ray's terms.
template <class S>
Radiance<S> radiance_arguments(const OnDevice& on, const Tensor& features, const Tensor& weights,
                               const std::optional<Tensor>& ray_features, const std::optional<Tensor>& offsets,
                               int64_t width, int64_t geometry, bool backward, Tensor& terms) {
  STD_TORCH_CHECK(features.dim() == 2 && ray_features.has_value() == offsets.has_value() &&
                      (!ray_features.has_value() || ray_features->dim() == 2),
                  "neural3d: features are [S, inputs], those of rays [R, inputs] with offsets");
  const int64_t inputs = features.size(1), ray_inputs = ray_features.has_value() ? ray_features->size(1) : 0;
  STD_TORCH_CHECK(inputs >= 1 && inputs <= 256 && ray_inputs <= 256 && width >= 1 && width <= kMaxRadianceWidth &&
                      geometry >= 1 && geometry <= kMaxRadianceWidth,
                  "neural3d: at most 256 features, and layers of at most 128 units");
  Radiance<S> a = {};
  a.layers = radiance_layers(int(inputs), int(ray_inputs), int(width), int(geometry), ray_features.has_value());
  STD_TORCH_CHECK(weights.numel() == a.layers.flat, "neural3d: these layers have ", a.layers.flat, " weights");
  a.features = on.pointer<S>(features), a.weights = on.pointer<S>(weights);
  a.samples = features.size(0), a.offsets = on.pointer<int32_t>(offsets);
  a.rays = offsets.has_value() ? offsets->numel() - 1 : 0;
  STD_TORCH_CHECK(!offsets.has_value() || (a.rays >= 0 && ray_features->size(0) == a.rays),
                  "neural3d: the rays' offsets are one more than rays");
  const int64_t fitting = kSharedBytes / (tile_numbers(a.layers, backward) * int64_t(sizeof(S)));
  a.tile = int(fitting < kMaxTile ? fitting : kMaxTile);
  terms = on.fresh({a.rays * width}, scalar_type<S>());
  a.terms = on.pointer<S>(terms);
  if (a.rays > 0)
    N3D_LAUNCH(terms_kernel<S>, blocks_for(a.rays * width, kThreads), kThreads, 0, on.stream(), a.layers, a.weights,
               on.pointer<S>(*ray_features), a.rays * width, on.pointer<S>(terms));
  return a;
}

template <class S>
int shared_bytes(const Radiance<S>& a, bool backward) {
  return int(tile_numbers(a.layers, backward) * a.tile * int64_t(sizeof(S)));
}

}  // namespace

static std::tuple<Tensor, Tensor> radiance_mlp(Tensor features, Tensor weights, std::optional<Tensor> ray_features,
                                               std::optional<Tensor> offsets, int64_t width, int64_t geometry) {
  return N3D_FOR_SCALAR(features, S, [&] {
    const OnDevice on(features);
    Tensor terms;
    const auto a = radiance_arguments<S>(on, features, weights, ray_features, offsets, width, geometry, false, terms);
    Tensor densities = on.fresh({a.samples}, scalar_type<S>());
    Tensor colors = on.fresh({a.layers.with_colors ? a.samples : 0, 3}, scalar_type<S>());
    N3D_LAUNCH(forward_kernel<S>, blocks_for(a.samples, a.tile), kRadianceThreads, shared_bytes(a, false), on.stream(),
               a, on.pointer<S>(densities), on.pointer<S>(colors));
    return std::make_tuple(densities, colors);
  });
}

static std::tuple<Tensor, Tensor, Tensor> radiance_mlp_vjp(Tensor features, Tensor weights,
                                                           std::optional<Tensor> ray_features,
                                                           std::optional<Tensor> offsets, int64_t width,
                                                           int64_t geometry, Tensor d_densities, Tensor d_colors) {
  return N3D_FOR_SCALAR(features, S, [&] {
    const OnDevice on(features);
    Tensor terms;
    const auto a = radiance_arguments<S>(on, features, weights, ray_features, offsets, width, geometry, true, terms);
    const RadianceLayers& l = a.layers;
    STD_TORCH_CHECK(d_densities.numel() == a.samples && d_colors.numel() == (l.with_colors ? 3 * a.samples : 0),
                    "neural3d: gradients are as many as samples");
    Tensor d_features = on.fresh({a.samples, features.size(1)}, scalar_type<S>());
    Tensor d_ray_features = on.fresh({a.rays, l.ray_inputs}, scalar_type<S>());
    Tensor d_weights = on.fresh({l.flat}, scalar_type<S>());
    const unsigned tiles = blocks_for(a.samples, a.tile), blocks = tiles < kBackwardBlocks ? tiles : kBackwardBlocks;
    Tensor partials = on.zeros({int64_t(blocks), l.flat}, scalar_type<S>());
    Tensor d_mixed = on.fresh({l.with_colors ? a.samples : 0, width}, scalar_type<S>());
    const Pulls<S> p{on.pointer<S>(d_densities), on.pointer<S>(d_colors), on.pointer<S>(d_features),
                     on.pointer<S>(d_mixed), on.pointer<S>(partials)};
    N3D_LAUNCH(backward_kernel<S>, blocks, kRadianceThreads, shared_bytes(a, true), on.stream(), a, p);
    N3D_LAUNCH(total_kernel<S>, blocks_for(l.flat, kThreads), kThreads, 0, on.stream(), p.partials, int64_t(blocks),
               l.flat, on.pointer<S>(d_weights));
    if (l.with_colors) {
      Tensor d_terms = on.fresh({a.rays, width}, scalar_type<S>());
      S* sums = on.pointer<S>(d_terms);
      N3D_LAUNCH(ray_sums_kernel<S>, blocks_for(a.rays * width, kThreads), kThreads, 0, on.stream(), p.d_mixed,
                 a.offsets, int(width), a.rays * width, sums);
      N3D_LAUNCH(pull_rays_kernel<S>, blocks_for(a.rays * l.ray_inputs, kThreads), kThreads, 0, on.stream(), l,
                 a.weights, sums, a.rays * l.ray_inputs, on.pointer<S>(d_ray_features));
      N3D_LAUNCH(ray_weights_kernel<S>, blocks_for(width * l.ray_inputs, kThreads / kWarp), kThreads, 0, on.stream(), l,
                 on.pointer<S>(*ray_features), sums, a.rays, on.pointer<S>(d_weights));
    }
    return std::make_tuple(d_features, d_weights, d_ray_features);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("radiance_mlp", TORCH_BOX(&n3d::radiance_mlp));
  m.impl("radiance_mlp_vjp", TORCH_BOX(&n3d::radiance_mlp_vjp));
}
