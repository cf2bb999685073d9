// Where along rays to look closely, and how wrong the guess was. Rays share nothing: plain loops.
#include "driver.h"
// After driver.h, whose kernels.h declares no loops for the instruction set "scalar".
#include "../math/proposal.h"

namespace n3d {
namespace {

constexpr int64_t kRayGrain = 64;

template <class S>
struct Guesses {
  const S *features, *edges;  // [R, P, L], [R, P + 1]
  int64_t rays;
  int count, levels;
  scalar::RayScale<S> scale;

  scalar::Guess<S> ray(int64_t r) const {
    return {features + r * count * levels, edges + r * (count + 1), count, levels};
  }
};

template <class S>
Guesses<S> guesses(const Tensor& features, const Tensor& edges, double near, double knee, double far) {
  STD_TORCH_CHECK(features.dim() == 3 && features.size(1) >= 1 && edges.dim() == 2 &&
                      edges.size(0) == features.size(0) && edges.size(1) == features.size(1) + 1,
                  "neural3d: features are [R, P, L], edges [R, P + 1]");
  return {pointer<S>(features),  pointer<S>(edges),     features.size(0),
          int(features.size(1)), int(features.size(2)), {S(near), S(knee), S(far)}};
}

// Calls loop(ray, work space of `rows` rows of P + 1 numbers).
template <class S, class F>
void each_ray(const Guesses<S>& g, int rows, const F& loop) {
  share(g.rays, kRayGrain, [&](int64_t begin, int64_t end) {
    static thread_local std::vector<char> bytes;
    S* work = aligned_space<S>(bytes, int64_t(rows) * (g.count + 1));
    for (int64_t r = begin; r < end; ++r) loop(r, work);
  });
}

}  // namespace

static Tensor proposal_edges(Tensor features, Tensor edges, Tensor offsets, double near, double knee, double far,
                             int64_t count, double uniform) {
  return N3D_FOR_SCALAR(features, S, [&] {
    const auto g = guesses<S>(features, edges, near, knee, far);
    STD_TORCH_CHECK(offsets.numel() == g.rays && count >= 1, "neural3d: one offset a ray, and at least one interval");
    Tensor out = fresh({g.rays, count + 1}, scalar_type<S>());
    const S* offset = pointer<S>(offsets);
    S* fine = pointer<S>(out);
    each_ray(g, 1, [&](int64_t r, S* work) {
      scalar::proposal_ray(g.ray(r), g.scale, offset[r], int(count), S(uniform), work, fine + r * (count + 1));
    });
    return out;
  });
}

static Tensor interlevel(Tensor features, Tensor edges, Tensor densities, Tensor fine_edges, double near, double knee,
                         double far) {
  return N3D_FOR_SCALAR(features, S, [&] {
    const auto g = guesses<S>(features, edges, near, knee, far);
    STD_TORCH_CHECK(
        densities.dim() == 2 && densities.size(0) == g.rays && fine_edges.numel() == densities.numel() + g.rays,
        "neural3d: fine densities are [R, N], their edges [R, N + 1]");
    const int64_t count = densities.size(1);
    Tensor losses = fresh({g.rays}, scalar_type<S>());
    const S *density = pointer<S>(densities), *fine = pointer<S>(fine_edges);
    S* loss = pointer<S>(losses);
    each_ray(g, 1, [&](int64_t r, S* work) {
      loss[r] =
          scalar::interlevel_ray(g.ray(r), g.scale, density + r * count, fine + r * (count + 1), int(count), work);
    });
    return losses;
  });
}

static Tensor interlevel_vjp(Tensor features, Tensor edges, Tensor densities, Tensor fine_edges, double near,
                             double knee, double far, Tensor grad) {
  return N3D_FOR_SCALAR(features, S, [&] {
    const auto g = guesses<S>(features, edges, near, knee, far);
    STD_TORCH_CHECK(densities.dim() == 2 && densities.size(0) == g.rays &&
                        fine_edges.numel() == densities.numel() + g.rays && grad.numel() == g.rays,
                    "neural3d: fine densities are [R, N], their edges [R, N + 1], gradients one a ray");
    const int64_t count = densities.size(1);
    Tensor out = fresh({g.rays, g.count, g.levels}, scalar_type<S>());
    const S *density = pointer<S>(densities), *fine = pointer<S>(fine_edges), *pull = pointer<S>(grad);
    S* d_features = pointer<S>(out);
    each_ray(g, 2, [&](int64_t r, S* work) {
      scalar::interlevel_ray_vjp(g.ray(r), g.scale, density + r * count, fine + r * (count + 1), int(count), pull[r],
                                 work, work + g.count + 1, d_features + r * g.count * g.levels);
    });
    return out;
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("proposal_edges", TORCH_BOX(&n3d::proposal_edges));
  m.impl("interlevel", TORCH_BOX(&n3d::interlevel));
  m.impl("interlevel_vjp", TORCH_BOX(&n3d::interlevel_vjp));
}
