// Features to densities and colours. Groups of rays leave their parts of the weights' gradient, which are added in the
// order of the groups; how many threads work on the groups changes nothing.
#include "driver.h"

namespace n3d {
namespace {

constexpr int64_t kSampleGroup = 1536;  // where there are no rays
constexpr int kWorkSamples = 64;        // at least a block of the kernels'

template <class S>
struct RadianceSpace {
  std::vector<char> rows, columns, partials;
};

int64_t work_space(const RadianceLayers& l) {
  const int64_t widths = padded(l.inputs) + 3 * padded(l.width) + padded(l.geometry) + kPad;
  const int64_t rays = padded(l.ray_inputs) + padded(l.width);
  return 2 * (widths * kWorkSamples + rays * kRadianceRays);
}

// The weights by rows and by columns, with zeros around them.
template <class S>
void arrange(const RadianceLayers& l, const S* weights, S* rows, S* columns) {
  memset(rows, 0, sizeof(S) * size_t(l.work)), memset(columns, 0, sizeof(S) * size_t(l.work));
  for (const RadianceLayer& layer : l.layer)
    for (int i = 0; i < layer.outputs; ++i)
      for (int k = 0; k < layer.inputs; ++k) {
        const S weight = weights[layer.flat + int64_t(i) * layer.flat_stride + k];
        rows[layer.work + int64_t(i) * layer.columns() + k] = weight;
        columns[layer.work + int64_t(k) * layer.rows() + i] = weight;
      }
}

// Which groups there are: of rays, or of samples.
template <class S>
struct Groups {
  int64_t count, grain;
  int64_t pieces() const { return (count + grain - 1) / grain; }
};

template <class S>
Groups<S> begin_radiance(RadianceSpace<S>& space, RadianceArgs<S>& a, const Tensor& features, const Tensor& weights,
                         const std::optional<Tensor>& ray_features, const std::optional<Tensor>& offsets, int64_t width,
                         int64_t geometry) {
  STD_TORCH_CHECK(features.dim() == 2 && ray_features.has_value() == offsets.has_value() &&
                      (!ray_features.has_value() || ray_features->dim() == 2),
                  "neural3d: features are [S, inputs], those of rays [R, inputs] with offsets");
  const int64_t inputs = features.size(1), ray_inputs = ray_features.has_value() ? ray_features->size(1) : 0;
  STD_TORCH_CHECK(inputs >= 1 && inputs <= 256 && ray_inputs <= 256 && width >= 1 && width <= kMaxRadianceWidth &&
                      geometry >= 1 && geometry <= kMaxRadianceWidth,
                  "neural3d: at most 256 features, and layers of at most 128 units");
  a.layers = radiance_layers(int(inputs), int(ray_inputs), int(width), int(geometry), ray_features.has_value());
  STD_TORCH_CHECK(weights.numel() == a.layers.flat, "neural3d: these layers have ", a.layers.flat, " weights");
  a.features = pointer<S>(features), a.ray_features = pointer<S>(ray_features), a.offsets = pointer<int32_t>(offsets);
  S *rows = aligned_space<S>(space.rows, a.layers.work), *columns = aligned_space<S>(space.columns, a.layers.work);
  arrange(a.layers, pointer<S>(weights), rows, columns);
  a.rows = rows, a.columns = columns;
  if (!offsets.has_value()) return {features.size(0), kSampleGroup};
  const int64_t rays = offsets->numel() - 1;
  STD_TORCH_CHECK(
      rays >= 0 && ray_features->size(0) == rays && a.offsets[0] == 0 && a.offsets[rays] == features.size(0),
      "neural3d: the rays' offsets begin at 0 and end at the number of samples");
  for (int64_t r = 0; r < rays; ++r)
    STD_TORCH_CHECK(a.offsets[r] <= a.offsets[r + 1], "neural3d: the rays' offsets descend");
  return {rays, kRadianceRays};
}

// Calls loop(begin, end, work space of this thread) for every group.
template <class S, class F>
void each_group(const Groups<S>& groups, const RadianceLayers& layers, const F& loop) {
  share(groups.count, groups.grain, [&](int64_t begin, int64_t end) {
    static thread_local std::vector<char> bytes;
    loop(begin, end, aligned_space<S>(bytes, work_space(layers)));
  });
}

// The groups' parts, in their order, to the flat tensor.
template <class S>
void sum_weights(const RadianceLayers& l, const S* partials, int64_t pieces, S* d_weights) {
  for (const RadianceLayer& layer : l.layer) {
    share(layer.outputs, 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        S* to = d_weights + layer.flat + i * layer.flat_stride;
        for (int k = 0; k < layer.inputs; ++k) to[k] = S(0);
        for (int64_t piece = 0; piece < pieces; ++piece) {
          const S* from = partials + piece * l.work + layer.work + i * layer.columns();
          for (int k = 0; k < layer.inputs; ++k) to[k] += from[k];
        }
      }
    });
  }
}

}  // namespace

static std::tuple<Tensor, Tensor> radiance_mlp(Tensor features, Tensor weights, std::optional<Tensor> ray_features,
                                               std::optional<Tensor> offsets, int64_t width, int64_t geometry) {
  return N3D_FOR_SCALAR(features, S, [&] {
    static thread_local RadianceSpace<S> space;
    RadianceArgs<S> a = {};
    const auto groups = begin_radiance(space, a, features, weights, ray_features, offsets, width, geometry);
    const int64_t samples = features.size(0);
    Tensor densities = fresh({samples}, scalar_type<S>());
    Tensor colors = fresh({a.layers.with_colors ? samples : 0, 3}, scalar_type<S>());
    a.densities = pointer<S>(densities), a.colors = pointer<S>(colors);
    each_group(groups, a.layers,
               [&](int64_t begin, int64_t end, S* work) { kernels<S>().radiance(a, begin, end, work); });
    return std::make_tuple(densities, colors);
  });
}

static std::tuple<Tensor, Tensor, Tensor> radiance_mlp_vjp(Tensor features, Tensor weights,
                                                           std::optional<Tensor> ray_features,
                                                           std::optional<Tensor> offsets, int64_t width,
                                                           int64_t geometry, Tensor d_densities, Tensor d_colors) {
  return N3D_FOR_SCALAR(features, S, [&] {
    static thread_local RadianceSpace<S> space;
    RadianceArgs<S> a = {};
    const auto groups = begin_radiance(space, a, features, weights, ray_features, offsets, width, geometry);
    const int64_t samples = features.size(0);
    STD_TORCH_CHECK(d_densities.numel() == samples && d_colors.numel() == (a.layers.with_colors ? 3 * samples : 0),
                    "neural3d: gradients are as many as samples");
    Tensor d_features = fresh({samples, features.size(1)}, scalar_type<S>());
    Tensor d_ray_features = fresh({a.layers.with_colors ? groups.count : 0, a.layers.ray_inputs}, scalar_type<S>());
    Tensor d_weights = fresh({weights.numel()}, scalar_type<S>());
    a.d_densities = pointer<S>(d_densities), a.d_colors = pointer<S>(d_colors);
    a.d_features = pointer<S>(d_features), a.d_ray_features = pointer<S>(d_ray_features);
    S* partials = aligned_space<S>(space.partials, groups.pieces() * a.layers.work);
    each_group(groups, a.layers, [&](int64_t begin, int64_t end, S* work) {
      kernels<S>().radiance_vjp(a, begin, end, partials + begin / groups.grain * a.layers.work, work);
    });
    sum_weights(a.layers, partials, groups.pieces(), pointer<S>(d_weights));
    return std::make_tuple(d_features, d_weights, d_ray_features);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("radiance_mlp", TORCH_BOX(&n3d::radiance_mlp));
  m.impl("radiance_mlp_vjp", TORCH_BOX(&n3d::radiance_mlp_vjp));
}
