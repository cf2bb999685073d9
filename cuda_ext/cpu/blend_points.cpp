// Features of near points, blended at places. For the gradients the pairs of places and points are sorted by point, so
// that each point's sum has an owner and an order, however many threads there are.
#include "driver.h"

namespace n3d {
namespace {

constexpr int64_t kPlaceGrain = 1024;
constexpr int64_t kPointGrain = 512;  // part of a result's bytes: what the points of a piece pull on the mix is one sum

template <class S>
PointBlendArgs<S> blend_arguments(const Tensor& positions, const Tensor& points, const Tensor& embeddings,
                                  const Tensor& confidences, const Tensor& mix, const Tensor& neighbors,
                                  double radius) {
  PointBlendArgs<S> a = {};
  STD_TORCH_CHECK(neighbors.dim() == 2 && embeddings.dim() == 2, "neural3d: neighbours are [S, K], embeddings [P, C]");
  a.places = neighbors.size(0), a.k = int(neighbors.size(1)), a.count = embeddings.size(0);
  a.width = int(embeddings.size(1)), a.radius = S(radius);
  STD_TORCH_CHECK(a.k >= 1 && a.k <= kMaxPointNeighbors && a.places * a.k < int64_t(1) << 31 && radius > 0,
                  "neural3d: 1 to 16 neighbours of fewer than 2^31 in all, within a radius");
  STD_TORCH_CHECK(a.width == 16 || a.width == 32 || a.width == 64, "neural3d: a point has 16, 32 or 64 numbers");
  STD_TORCH_CHECK(positions.numel() == 3 * a.places && points.numel() == 3 * a.count &&
                      confidences.numel() == a.count && mix.numel() == 3 * int64_t(a.width),
                  "neural3d: a place and a point have three coordinates, a point a confidence, a mix three rows");
  a.positions = pointer<S>(positions), a.points = pointer<S>(points), a.embeddings = pointer<S>(embeddings);
  a.confidences = pointer<S>(confidences), a.mix = pointer<S>(mix), a.neighbors = pointer<int32_t>(neighbors);
  bool fits = true;
  for (int64_t i = 0; i < a.places * a.k; ++i) fits &= a.neighbors[i] < a.count;
  STD_TORCH_CHECK(fits, "neural3d: there is no such point");
  return a;
}

// Pairs in the order of their points, and within a point in their own.
struct PairsByPoint {
  std::vector<int32_t> first, pairs, next;

  void sort(const int32_t* neighbors, int64_t count, int64_t points) {
    first.assign(size_t(points) + 1, 0);
    for (int64_t i = 0; i < count; ++i)
      if (neighbors[i] >= 0) ++first[size_t(neighbors[i]) + 1];
    for (int64_t i = 0; i < points; ++i) first[size_t(i) + 1] += first[size_t(i)];
    next.assign(first.begin(), first.end());
    pairs.resize(size_t(first.back()));
    for (int64_t i = 0; i < count; ++i)
      if (neighbors[i] >= 0) pairs[size_t(next[size_t(neighbors[i])]++)] = int32_t(i);
  }
};

}  // namespace

static std::tuple<Tensor, Tensor, Tensor> blend_points(Tensor positions, Tensor points, Tensor embeddings,
                                                       Tensor confidences, Tensor mix, Tensor neighbors,
                                                       double radius) {
  return N3D_FOR_SCALAR(positions, S, [&] {
    auto a = blend_arguments<S>(positions, points, embeddings, confidences, mix, neighbors, radius);
    Tensor features = fresh({a.places, a.width}, scalar_type<S>()), confidence = fresh({a.places}, scalar_type<S>());
    Tensor shares = fresh({a.places, a.k}, scalar_type<S>());
    a.features = pointer<S>(features), a.confidence = pointer<S>(confidence), a.shares = pointer<S>(shares);
    share(a.places, kPlaceGrain, [&](int64_t begin, int64_t end) { kernels<S>().blend_points(a, begin, end); });
    return std::make_tuple(features, confidence, shares);
  });
}

static std::tuple<Tensor, Tensor, Tensor> blend_points_vjp(Tensor positions, Tensor points, Tensor embeddings,
                                                           Tensor confidences, Tensor mix, Tensor neighbors,
                                                           double radius, Tensor shares, Tensor grad_features,
                                                           Tensor grad_confidence) {
  return N3D_FOR_SCALAR(positions, S, [&] {
    auto a = blend_arguments<S>(positions, points, embeddings, confidences, mix, neighbors, radius);
    STD_TORCH_CHECK(shares.numel() == a.places * a.k && grad_features.numel() == a.places * a.width &&
                        grad_confidence.numel() == a.places,
                    "neural3d: gradients are as large as what they belong to");
    static thread_local PairsByPoint kept;
    kept.sort(a.neighbors, a.places * a.k, a.count);
    a.shares = pointer<S>(shares), a.first_pairs = kept.first.data(), a.pairs = kept.pairs.data();
    a.d_features = pointer<S>(grad_features), a.d_confidence = pointer<S>(grad_confidence);
    Tensor d_embeddings = fresh({a.count, a.width}, scalar_type<S>());
    Tensor d_confidences = fresh({a.count}, scalar_type<S>()), d_mix = fresh({3, a.width}, scalar_type<S>());
    a.d_embeddings = pointer<S>(d_embeddings), a.d_confidences = pointer<S>(d_confidences);
    const int64_t numbers = 3 * int64_t(a.width), pieces = (a.count + kPointGrain - 1) / kPointGrain;
    static thread_local std::vector<char> space;
    S* partials = aligned_space<S>(space, pieces * numbers);
    share(a.count, kPointGrain, [&](int64_t begin, int64_t end) {
      kernels<S>().pull_points(a, begin, end, partials + begin / kPointGrain * numbers);
    });
    S* sums = pointer<S>(d_mix);
    for (int64_t n = 0; n < numbers; ++n) {
      sums[n] = S(0);
      for (int64_t piece = 0; piece < pieces; ++piece) sums[n] += partials[piece * numbers + n];
    }
    return std::make_tuple(d_embeddings, d_confidences, d_mix);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("blend_points", TORCH_BOX(&n3d::blend_points));
  m.impl("blend_points_vjp", TORCH_BOX(&n3d::blend_points_vjp));
}
