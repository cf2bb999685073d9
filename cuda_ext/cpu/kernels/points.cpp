// Features of near points, blended at places, and their gradients: a row of features is a few registers.
#include "../kernels.h"
#include "../prefetch.h"
#include "../simd.h"
// simd.h's functions must be seen before the formulas that use them.
#include "../../math/neural_points.h"

namespace n3d {
namespace N3D_ISA {

// relu(u + B offset), `N` registers of it.
template <class V, int N>
static N3D_INLINE void answer(const typename V::scalar* u, const typename V::scalar* mix,
                              const typename V::scalar* offset, V* h) {
  using S = typename V::scalar;
  constexpr int kWidth = N * V::lanes;
  const V x(offset[0]), y(offset[1]), z(offset[2]);
  for (int n = 0; n < N; ++n) {
    const int at = n * V::lanes;
    V sum = fma(x, V::load(mix + at), V::load(u + at));
    sum = fma(y, V::load(mix + kWidth + at), sum);
    h[n] = max(fma(z, V::load(mix + 2 * kWidth + at), sum), V(S(0)));
  }
}

template <class V, int C>
static void blend_points_of(const PointBlendArgs<typename V::scalar>& a, int64_t begin, int64_t end) {
  using S = typename V::scalar;
  constexpr int N = C / V::lanes;
  for (int64_t s = begin; s < end; ++s) {
    const int32_t* neighbors = a.neighbors + s * a.k;
    S *shares = a.shares + s * a.k, offsets[3 * kMaxPointNeighbors], total(1), confidence(0);
    for (int k = 0; k < a.k; ++k) {
      const int32_t i = neighbors[k];
      shares[k] = S(0);
      if (i < 0) continue;
      prefetch(a.embeddings + int64_t(i) * C);
      shares[k] = point_weight(a.positions + 3 * s, a.points + 3 * int64_t(i), a.radius, offsets + 3 * k);
      total += shares[k];
    }
    V sums[N], h[N];
    for (int n = 0; n < N; ++n) sums[n] = V(S(0));
    for (int k = 0; k < a.k; ++k) {
      if (!(shares[k] > S(0))) continue;
      const int32_t i = neighbors[k];
      shares[k] /= total;
      const S weight = shares[k] * a.confidences[i];
      confidence += weight;
      answer<V, N>(a.embeddings + int64_t(i) * C, a.mix, offsets + 3 * k, h);
      for (int n = 0; n < N; ++n) sums[n] = fma(V(weight), h[n], sums[n]);
    }
    for (int n = 0; n < N; ++n) sums[n].store(a.features + s * C + n * V::lanes);
    a.confidence[s] = confidence;
  }
}

// Points [begin, end): each adds up what its places pull, in their order, whoever does it.
template <class V, int C>
static void pull_points_of(const PointBlendArgs<typename V::scalar>& a, int64_t begin, int64_t end,
                           typename V::scalar* d_mix) {
  using S = typename V::scalar;
  constexpr int N = C / V::lanes;
  V d_rows[3][N];
  for (int n = 0; n < N; ++n) d_rows[0][n] = d_rows[1][n] = d_rows[2][n] = V(S(0));
  for (int64_t i = begin; i < end; ++i) {
    const S *u = a.embeddings + i * C, confidence = a.confidences[i];
    V d_u[N], h[N];
    for (int n = 0; n < N; ++n) d_u[n] = V(S(0));
    S d_confidence(0);
    for (int32_t at = a.first_pairs[i]; at < a.first_pairs[i + 1]; ++at) {
      const int64_t pair = a.pairs[at], s = pair / a.k;
      const S* grad = a.d_features + s * C;
      S offset[3];
      point_weight(a.positions + 3 * s, a.points + 3 * i, a.radius, offset);
      answer<V, N>(u, a.mix, offset, h);
      V dot(S(0));
      const V weight(a.shares[pair] * confidence);
      for (int n = 0; n < N; ++n) {
        const V g = V::load(grad + n * V::lanes);
        dot = fma(g, h[n], dot);
        const V pull = zero_unless(h[n] > V(S(0)), weight * g);
        d_u[n] = d_u[n] + pull;
        for (int k = 0; k < 3; ++k) d_rows[k][n] = fma(V(offset[k]), pull, d_rows[k][n]);
      }
      d_confidence += a.shares[pair] * (sum(dot) + a.d_confidence[s]);
    }
    for (int n = 0; n < N; ++n) d_u[n].store(a.d_embeddings + i * C + n * V::lanes);
    a.d_confidences[i] = d_confidence;
  }
  for (int k = 0; k < 3; ++k)
    for (int n = 0; n < N; ++n) d_rows[k][n].store(d_mix + k * C + n * V::lanes);
}

// Calls the loop that was made for rows of a.width numbers.
#define N3D_FOR_WIDTH(V, loop, ...)       \
  switch (a.width) {                      \
    case 16:                              \
      return loop<V, 16>(a, __VA_ARGS__); \
    case 32:                              \
      return loop<V, 32>(a, __VA_ARGS__); \
    case 64:                              \
      return loop<V, 64>(a, __VA_ARGS__); \
  }

#define N3D_POINT_LOOPS(S, V)                                                          \
  void blend_points(const PointBlendArgs<S>& a, int64_t begin, int64_t end) {          \
    N3D_FOR_WIDTH(V, blend_points_of, begin, end)                                      \
  }                                                                                    \
  void pull_points(const PointBlendArgs<S>& a, int64_t begin, int64_t end, S* d_mix) { \
    N3D_FOR_WIDTH(V, pull_points_of, begin, end, d_mix)                                \
  }
N3D_POINT_LOOPS(float, VectorF)
N3D_POINT_LOOPS(double, VectorD)
#undef N3D_POINT_LOOPS

}  // namespace N3D_ISA
}  // namespace n3d
