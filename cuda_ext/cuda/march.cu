// Rays to samples: a thread walks along each ray, once to count and once to write.
#include "../math/march.h"
#include "launch.h"
#include "mailbox.h"
#include "primitives.h"

namespace n3d {
namespace {

constexpr int kThreads = 128;

// The last count is 0, so that the sum of all before it is the number of samples.
template <class S>
__global__ void __launch_bounds__(kThreads) count_kernel(scalar::March<S> m, uint32_t* counts) {
  const int64_t ray = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (ray > m.rays) return;
  uint32_t count = 0;
  if (ray < m.rays) scalar::march_ray(m, ray, [&](S, S, const S*, const S*) { ++count; });
  counts[ray] = count;
}

template <class S>
__global__ void __launch_bounds__(kThreads)
    write_kernel(scalar::March<S> m, const int32_t* ray_offsets, S* positions, S* ts, S* deltas) {
  const int64_t ray = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (ray >= m.rays) return;
  int64_t at = ray_offsets[ray];
  scalar::march_ray(m, ray, [&](S t, S delta, const S*, const S* u) {
    ts[at] = t, deltas[at] = delta;
    for (int k = 0; k < 3; ++k) positions[3 * at + k] = u[k];
    ++at;
  });
}

template <class S>
__global__ void __launch_bounds__(kThreads) pull_kernel(scalar::March<S> m, const S* ts, const int32_t* ray_offsets,
                                                        const S* grad, S* d_origins, S* d_directions) {
  const int64_t ray = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (ray >= m.rays) return;
  scalar::pull_ray(m, ray, ts, grad, ray_offsets[ray], ray_offsets[ray + 1], d_origins + 3 * ray,
                   d_directions + 3 * ray);
}

}  // namespace

static std::tuple<Tensor, Tensor, Tensor, Tensor> march(Tensor origins, Tensor directions, Tensor offsets, Tensor box,
                                                        Tensor occupied, bool contracted, double near, double far,
                                                        double step, double cone, int64_t max_steps) {
  return N3D_FOR_SCALAR(origins, S, [&] {
    const OnDevice on(origins);
    scalar::March<S> m = {};
    m.rays = offsets.numel();
    STD_TORCH_CHECK(origins.numel() == 3 * m.rays && directions.numel() == 3 * m.rays && box.numel() == 4,
                    "neural3d: a ray has an origin and a direction, a box four numbers");
    STD_TORCH_CHECK(occupied.dim() == 3 && occupied.numel() > 0 && occupied.size(0) == occupied.size(1) &&
                        occupied.size(1) == occupied.size(2) && occupied.size(0) <= 1024,
                    "neural3d: a grid of cells is a cube");
    STD_TORCH_CHECK(step > 0 && max_steps >= 0 && max_steps <= 1 << 20,
                    "neural3d: steps are positive, and at most 2^20");
    m.origins = on.pointer<S>(origins), m.directions = on.pointer<S>(directions), m.offsets = on.pointer<S>(offsets);
    m.box = on.pointer<S>(box), m.occupied = on.pointer<uint8_t>(occupied);
    m.cells = int(occupied.size(0)), m.max_steps = int(max_steps), m.contracted = contracted;
    m.near = S(near), m.far = S(far), m.step = S(step), m.cone = S(cone);

    Tensor counts = on.fresh({m.rays + 1}, ScalarType::Int), ray_offsets = on.fresh({m.rays + 1}, ScalarType::Int);
    Tensor total = on.fresh({1}, ScalarType::Long);
    uint32_t* count = reinterpret_cast<uint32_t*>(on.pointer<int32_t>(counts));
    int32_t* first = on.pointer<int32_t>(ray_offsets);
    N3D_LAUNCH(count_kernel<S>, blocks_for(m.rays + 1, kThreads), kThreads, 0, on.stream(), m, count);
    total_sum(on, count, on.pointer<int64_t>(total), m.rays + 1);
    const Mailbox mailbox(on, on.pointer<int64_t>(total));
    exclusive_sum(on, count, reinterpret_cast<uint32_t*>(first), m.rays + 1);
    const int64_t samples = mailbox.read();
    STD_TORCH_CHECK(samples <= INT32_MAX, "neural3d: more than 2^31 samples; take fewer rays at a time");
    Tensor positions = on.fresh({samples, 3}, scalar_type<S>());
    Tensor ts = on.fresh({samples}, scalar_type<S>()), deltas = on.fresh({samples}, scalar_type<S>());
    N3D_LAUNCH(write_kernel<S>, blocks_for(m.rays, kThreads), kThreads, 0, on.stream(), m, first,
               on.pointer<S>(positions), on.pointer<S>(ts), on.pointer<S>(deltas));
    return std::make_tuple(positions, ts, deltas, ray_offsets);
  });
}

static std::tuple<Tensor, Tensor> march_vjp(Tensor origins, Tensor directions, Tensor box, bool contracted, Tensor ts,
                                            Tensor ray_offsets, Tensor d_positions) {
  return N3D_FOR_SCALAR(origins, S, [&] {
    const OnDevice on(origins);
    scalar::March<S> m = {};
    m.rays = ray_offsets.numel() - 1, m.contracted = contracted, m.box = on.pointer<S>(box);
    m.origins = on.pointer<S>(origins), m.directions = on.pointer<S>(directions);
    STD_TORCH_CHECK(m.rays >= 0 && origins.numel() == 3 * m.rays && directions.numel() == 3 * m.rays &&
                        box.numel() == 4 && d_positions.numel() == 3 * ts.numel(),
                    "neural3d: these samples are not those of these rays");
    Tensor d_origins = on.fresh({m.rays, 3}, scalar_type<S>()), d_directions = on.fresh({m.rays, 3}, scalar_type<S>());
    N3D_LAUNCH(pull_kernel<S>, blocks_for(m.rays, kThreads), kThreads, 0, on.stream(), m, on.pointer<S>(ts),
               on.pointer<int32_t>(ray_offsets), on.pointer<S>(d_positions), on.pointer<S>(d_origins),
               on.pointer<S>(d_directions));
    return std::make_tuple(d_origins, d_directions);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("march", TORCH_BOX(&n3d::march));
  m.impl("march_vjp", TORCH_BOX(&n3d::march_vjp));
}
