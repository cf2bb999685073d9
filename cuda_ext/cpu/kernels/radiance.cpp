// Features to densities and colours through small matrices, and the gradients. A block of samples goes through all
// layers while it lies in the first level of the cache, with the weights beside it; the backward pass computes the
// forward pass again instead of reading it from memory.
#include "../kernels.h"
#include "../simd.h"
#include "products.h"

namespace n3d {
namespace N3D_ISA {

constexpr int kBlock = 48;  // samples; whole tiles of six

// What a block of samples is between the layers, and the work space of a group of rays.
template <class S>
struct Space {
  S *features, *first, *geometry, *mixed, *hidden, *color;              // [kBlock, padded width of the layer]
  S *d_features, *d_first, *d_geometry, *d_mixed, *d_hidden, *d_color;  // likewise
  S *rays, *terms, *d_rays, *d_terms;                                   // [kRadianceRays, ...]
  int64_t sample[kBlock];                                               // of all samples
  int of_ray[kBlock];                                                   // which of the group's rays it is on
};

template <class S>
static Space<S> divide_space(const RadianceLayers& l, S* at) {
  Space<S> s = {};
  const int inputs = padded(l.inputs), width = padded(l.width), geometry = padded(l.geometry);
  const int rays = padded(l.ray_inputs);
  const auto take = [&](int rows, int columns) { return at += int64_t(rows) * columns, at - int64_t(rows) * columns; };
  s.features = take(kBlock, inputs), s.d_features = take(kBlock, inputs);
  s.first = take(kBlock, width), s.d_first = take(kBlock, width);
  s.geometry = take(kBlock, geometry), s.d_geometry = take(kBlock, geometry);
  s.mixed = take(kBlock, width), s.d_mixed = take(kBlock, width);
  s.hidden = take(kBlock, width), s.d_hidden = take(kBlock, width);
  s.color = take(kBlock, kPad), s.d_color = take(kBlock, kPad);
  s.rays = take(kRadianceRays, rays), s.d_rays = take(kRadianceRays, rays);
  s.terms = take(kRadianceRays, width), s.d_terms = take(kRadianceRays, width);
  return s;
}

// Rows of `columns` numbers to rows of `stride`, with zeros behind them and below; row(i) is where the i-th begins.
template <class S, class F>
static N3D_INLINE void copy_rows(const F& row, int columns, int count, int rows, S* to, int stride) {
  for (int i = 0; i < count; ++i, to += stride) {
    memcpy(to, row(i), sizeof(S) * size_t(columns));
    for (int k = columns; k < stride; ++k) to[k] = S(0);
  }
  memset(to, 0, sizeof(S) * size_t((rows - count) * stride));
}

template <class V>
static N3D_INLINE void rectify(typename V::scalar* x, int count) {
  using S = typename V::scalar;
  for (int i = 0; i < count; i += V::lanes) max(V::load(x + i), V(S(0))).store(x + i);
}

// Gradients end where the unit was off.
template <class V>
static N3D_INLINE void switch_off(const typename V::scalar* x, typename V::scalar* d, int count) {
  using S = typename V::scalar;
  for (int i = 0; i < count; i += V::lanes) zero_unless(V::load(x + i) > V(S(0)), V::load(d + i)).store(d + i);
}

template <class V>
static N3D_INLINE void forward(const RadianceArgs<typename V::scalar>& a, RadianceStage stage,
                               const typename V::scalar* x, typename V::scalar* y) {
  const RadianceLayer& layer = a.layers.layer[stage];
  multiply<V, 6, false>(x, layer.columns(), 1, a.columns + layer.work, layer.rows(), kBlock, layer.rows(), layer.inputs,
                        y, layer.rows());
}

// The densities of a block, from the first of its geometry features.
template <class V>
static N3D_INLINE void densities_of(const Space<typename V::scalar>& s, int stride, typename V::scalar* densities) {
  using S = typename V::scalar;
  for (int i = 0; i < kBlock; i += V::lanes) {
    S lane[V::lanes];
    for (int k = 0; k < V::lanes; ++k) lane[k] = s.geometry[(i + k) * stride];
    exp(min(V::load(lane), V(S(kMaxLogDensity)))).store(densities + i);
  }
}

// The block's samples through the layers; `densities` is of kBlock, colours lie in s.color.
template <class V>
static void forward_block(const RadianceArgs<typename V::scalar>& a, int count, Space<typename V::scalar>& s,
                          typename V::scalar* densities) {
  using S = typename V::scalar;
  const RadianceLayers& l = a.layers;
  const int width = padded(l.width);
  const auto features = [&](int i) { return a.features + s.sample[i] * l.inputs; };
  copy_rows(features, l.inputs, count, kBlock, s.features, padded(l.inputs));
  forward<V>(a, kFirst, s.features, s.first);
  rectify<V>(s.first, kBlock * width);
  forward<V>(a, kGeometry, s.first, s.geometry);
  densities_of<V>(s, padded(l.geometry), densities);
  if (!l.with_colors) return;
  for (int i = 0; i < kBlock; ++i)
    memcpy(s.mixed + i * width, s.terms + s.of_ray[i] * width, sizeof(S) * size_t(width));
  const RadianceLayer& mix = l.layer[kMix];
  multiply<V, 6, true>(s.geometry, mix.columns(), 1, a.columns + mix.work, mix.rows(), kBlock, mix.rows(), mix.inputs,
                       s.mixed, width);
  rectify<V>(s.mixed, kBlock * width);
  forward<V>(a, kHidden, s.mixed, s.hidden);
  rectify<V>(s.hidden, kBlock * width);
  forward<V>(a, kColor, s.hidden, s.color);
  const V one(S(1));
  for (int i = 0; i < kBlock * kPad; i += kPad) (one / (one + exp(-V::load(s.color + i)))).store(s.color + i);
}

// d x = d y W, d W += d y^T x.
template <class V>
static N3D_INLINE void backward(const RadianceArgs<typename V::scalar>& a, RadianceStage stage,
                                const typename V::scalar* x, const typename V::scalar* d_y, typename V::scalar* d_rows,
                                typename V::scalar* d_x) {
  const RadianceLayer& layer = a.layers.layer[stage];
  const int rows = layer.rows(), columns = layer.columns();
  multiply<V, 4, true>(d_y, 1, rows, x, columns, (layer.outputs + 3) / 4 * 4, columns, kBlock, d_rows + layer.work,
                       columns);
  multiply<V, 6, false>(d_y, rows, 1, a.rows + layer.work, columns, kBlock, columns, layer.outputs, d_x, columns);
}

// The block's gradients; s.d_terms is added to.
template <class V>
static void backward_colors(const RadianceArgs<typename V::scalar>& a, int count, Space<typename V::scalar>& s,
                            typename V::scalar* d_rows) {
  using S = typename V::scalar;
  const int width = padded(a.layers.width);
  memset(s.d_color, 0, sizeof(S) * kBlock * kPad);
  for (int i = 0; i < count; ++i)
    for (int c = 0; c < 3; ++c) {
      const S color = s.color[i * kPad + c];
      s.d_color[i * kPad + c] = a.d_colors[3 * s.sample[i] + c] * color * (S(1) - color);
    }
  backward<V>(a, kColor, s.hidden, s.d_color, d_rows, s.d_hidden);
  switch_off<V>(s.hidden, s.d_hidden, kBlock * width);
  backward<V>(a, kHidden, s.mixed, s.d_hidden, d_rows, s.d_mixed);
  switch_off<V>(s.mixed, s.d_mixed, kBlock * width);
  for (int i = 0; i < count; ++i)
    for (int k = 0; k < width; k += V::lanes) {
      S* term = s.d_terms + s.of_ray[i] * width + k;
      (V::load(term) + V::load(s.d_mixed + i * width + k)).store(term);
    }
  backward<V>(a, kMix, s.geometry, s.d_mixed, d_rows, s.d_geometry);
}

template <class V>
static void backward_block(const RadianceArgs<typename V::scalar>& a, int count, Space<typename V::scalar>& s,
                           typename V::scalar* d_rows) {
  using S = typename V::scalar;
  const RadianceLayers& l = a.layers;
  const int geometry = padded(l.geometry), inputs = padded(l.inputs);
  N3D_ALIGN64 S densities[kBlock];
  forward_block<V>(a, count, s, densities);
  if (l.with_colors)
    backward_colors<V>(a, count, s, d_rows);
  else
    memset(s.d_geometry, 0, sizeof(S) * size_t(kBlock * geometry));
  for (int i = 0; i < count; ++i) s.d_geometry[i * geometry] += a.d_densities[s.sample[i]] * densities[i];
  backward<V>(a, kGeometry, s.first, s.d_geometry, d_rows, s.d_first);
  switch_off<V>(s.first, s.d_first, kBlock * padded(l.width));
  backward<V>(a, kFirst, s.features, s.d_first, d_rows, s.d_features);
  for (int i = 0; i < count; ++i)
    memcpy(a.d_features + s.sample[i] * l.inputs, s.d_features + i * inputs, sizeof(S) * size_t(l.inputs));
}

// What a group of rays adds to the second part's first layer.
template <class V>
static void enter_rays(const RadianceArgs<typename V::scalar>& a, int64_t begin, int count,
                       Space<typename V::scalar>& s) {
  const RadianceLayer& layer = a.layers.layer[kRay];
  const auto features = [&](int i) { return a.ray_features + (begin + i) * layer.inputs; };
  copy_rows(features, layer.inputs, count, kRadianceRays, s.rays, layer.columns());
  multiply<V, 4, false>(s.rays, layer.columns(), 1, a.columns + layer.work, layer.rows(), kRadianceRays, layer.rows(),
                        layer.inputs, s.terms, layer.rows());
}

template <class V>
static void leave_rays(const RadianceArgs<typename V::scalar>& a, int64_t begin, int count,
                       Space<typename V::scalar>& s, typename V::scalar* d_rows) {
  const RadianceLayer& layer = a.layers.layer[kRay];
  const int rows = layer.rows(), columns = layer.columns();
  multiply<V, 4, true>(s.d_terms, 1, rows, s.rays, columns, rows, columns, kRadianceRays, d_rows + layer.work, columns);
  multiply<V, 4, false>(s.d_terms, rows, 1, a.rows + layer.work, columns, kRadianceRays, columns, layer.outputs,
                        s.d_rays, columns);
  for (int i = 0; i < count; ++i)
    for (int k = 0; k < layer.inputs; ++k) a.d_ray_features[(begin + i) * layer.inputs + k] = s.d_rays[i * columns + k];
}

// Calls f(count) for blocks of samples on rays [begin, end) that take(sample) is true of; s knows which they are.
template <class S, class P, class F>
static N3D_INLINE void each_block(const RadianceArgs<S>& a, int64_t begin, int64_t end, Space<S>& s, const P& take,
                                  const F& f) {
  const bool rays = a.offsets != nullptr;
  const int64_t first = rays ? a.offsets[begin] : begin, last = rays ? a.offsets[end] : end;
  int64_t ray = begin;
  int count = 0;
  for (int64_t at = first; at < last; ++at) {
    while (rays && at >= a.offsets[ray + 1]) ++ray;
    if (take(at)) s.sample[count] = at, s.of_ray[count] = rays ? int(ray - begin) : 0, ++count;
    if (count < kBlock && at + 1 < last) continue;
    for (int i = count; i < kBlock; ++i) s.of_ray[i] = 0;
    if (count > 0) f(count);
    count = 0;
  }
}

template <class V>
static void forward_group(const RadianceArgs<typename V::scalar>& a, int64_t begin, int64_t end,
                          typename V::scalar* space) {
  using S = typename V::scalar;
  Space<S> s = divide_space(a.layers, space);
  if (a.layers.with_colors) enter_rays<V>(a, begin, int(end - begin), s);
  const auto all = [](int64_t) { return true; };
  each_block(a, begin, end, s, all, [&](int count) {
    N3D_ALIGN64 S densities[kBlock];
    forward_block<V>(a, count, s, densities);
    for (int i = 0; i < count; ++i) a.densities[s.sample[i]] = densities[i];
    for (int i = 0; i < count && a.layers.with_colors; ++i)
      for (int c = 0; c < 3; ++c) a.colors[3 * s.sample[i] + c] = s.color[i * kPad + c];
  });
}

template <class V>
static void backward_group(const RadianceArgs<typename V::scalar>& a, int64_t begin, int64_t end,
                           typename V::scalar* d_rows, typename V::scalar* space) {
  using S = typename V::scalar;
  Space<S> s = divide_space(a.layers, space);
  memset(d_rows, 0, sizeof(S) * size_t(a.layers.work));
  if (a.layers.with_colors) {
    enter_rays<V>(a, begin, int(end - begin), s);
    memset(s.d_terms, 0, sizeof(S) * size_t(kRadianceRays * padded(a.layers.width)));
  }
  // Nothing pulls at what lies behind something opaque, and it pulls at nothing.
  const auto pulled = [&](int64_t i) {
    bool any = a.d_densities[i] != S(0);
    for (int c = 0; c < 3 && a.layers.with_colors; ++c) any |= a.d_colors[3 * i + c] != S(0);
    if (!any) memset(a.d_features + i * a.layers.inputs, 0, sizeof(S) * size_t(a.layers.inputs));
    return any;
  };
  each_block(a, begin, end, s, pulled, [&](int count) { backward_block<V>(a, count, s, d_rows); });
  if (a.layers.with_colors) leave_rays<V>(a, begin, int(end - begin), s, d_rows);
}

void radiance(const RadianceArgs<float>& a, int64_t begin, int64_t end, float* space) {
  forward_group<VectorF>(a, begin, end, space);
}
void radiance(const RadianceArgs<double>& a, int64_t begin, int64_t end, double* space) {
  forward_group<VectorD>(a, begin, end, space);
}
void radiance_vjp(const RadianceArgs<float>& a, int64_t begin, int64_t end, float* d_rows, float* space) {
  backward_group<VectorF>(a, begin, end, d_rows, space);
}
void radiance_vjp(const RadianceArgs<double>& a, int64_t begin, int64_t end, double* d_rows, double* space) {
  backward_group<VectorD>(a, begin, end, d_rows, space);
}

}  // namespace N3D_ISA
}  // namespace n3d
