// Where a ray is sampled: steps along it, of which those in occupied cells of a grid become samples.
//
// The grid covers the unit cube. A point x is at y = (x - centre) / half there, and at u = (y + 1) / 2; a scene without
// bounds is first contracted into the ball of radius 2, y -> (2 - 1 / |y|) y / |y| where |y| > 1, and lies at
// u = (y + 2) / 4. With n = |y|, s = (2 - 1/n) / n and s' = 2 (1 - n) / n^3, the contraction's Jacobian is
// s I + s' / n y y^T, which is symmetric.
//
// Step k covers [t_k, t_k+1], t_k+1 = t_k + max(step, cone t_k), and looks at its middle. Cells that are empty are
// left at once: steps that end up in the same cell are made without looking.
//
// Source: Barron et al. 2022, Mip-NeRF 360, eq. 10 (contraction); Mueller et al. 2022, Instant Neural Graphics
// Primitives, appendix E (steps that grow with the distance, skipping of empty cells).
#pragma once

#include <stdint.h>

#include "scalar.h"

namespace n3d {
namespace N3D_ISA {

template <class S>
struct March {
  const S *origins, *directions, *offsets;  // [R,3] [R,3] [R] in [0, 1), of the first step
  const S* box;                             // the cube's centre, and half its side
  const uint8_t* occupied;                  // [cells,cells,cells], z first
  int64_t rays;
  int cells, max_steps;
  bool contracted;
  S near, far, step, cone;

  N3D_HD S length(S t) const { return max(step, cone * t); }
};

template <class S>
N3D_HD S magnitude(const S* v) {
  return sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
}

// A point in the frame of the cube, [-1, 1]^3 where it is inside, and in that of the grid, [0, 1]^3.
template <class S>
N3D_HD void to_grid(const March<S>& m, const S* origin, const S* direction, S t, S* y, S* u) {
  for (int k = 0; k < 3; ++k) y[k] = (origin[k] + t * direction[k] - m.box[k]) / m.box[3];
  if (!m.contracted) {
    for (int k = 0; k < 3; ++k) u[k] = (y[k] + S(1)) / S(2);
    return;
  }
  const S n = magnitude(y), shrink = n > S(1) ? (S(2) - S(1) / n) / n : S(1);
  for (int k = 0; k < 3; ++k) u[k] = (shrink * y[k] + S(2)) / S(4);
}

// The gradient by the world's point, from that by the grid's, in place.
template <class S>
N3D_HD void from_grid(const March<S>& m, const S* y, S* g) {
  const S scale = S(1) / (m.contracted ? S(4) * m.box[3] : S(2) * m.box[3]);
  const S n = m.contracted ? magnitude(y) : S(0);
  const S shrink = n > S(1) ? (S(2) - S(1) / n) / n : S(1);
  const S along = n > S(1) ? S(2) * (S(1) - n) / (n * n * n * n) * (y[0] * g[0] + y[1] * g[1] + y[2] * g[2]) : S(0);
  for (int k = 0; k < 3; ++k) g[k] = scale * (shrink * g[k] + along * y[k]);
}

template <class S>
N3D_HD int grid_cell(S u, int cells) {
  const S place = u * S(cells);
  return place > S(0) ? (place < S(cells) ? int(place) : cells - 1) : 0;
}

template <class S>
N3D_HD bool is_occupied(const March<S>& m, const S* u) {
  const int64_t x = grid_cell(u[0], m.cells), y = grid_cell(u[1], m.cells), z = grid_cell(u[2], m.cells);
  return m.occupied[(z * m.cells + y) * m.cells + x] != 0;
}

// Where the ray leaves the cell that it is in at t, a little earlier; t itself in a contracted scene, where a ray is no
// straight line.
template <class S>
N3D_HD S cell_end(const March<S>& m, const S* direction, const S* u, S t) {
  if (m.contracted) return t;
  S end = m.far;
  for (int k = 0; k < 3; ++k) {
    const S speed = direction[k] / (S(2) * m.box[3]);
    const int cell = grid_cell(u[k], m.cells);
    if (speed > S(0)) end = min(end, t + (S(cell + 1) / S(m.cells) - u[k]) / speed);
    if (speed < S(0)) end = min(end, t + (S(cell) / S(m.cells) - u[k]) / speed);
  }
  return end - S(0.01) * m.step;
}

// The part of [near, far] in which the ray is inside the cube; all of it where the scene has no bounds.
template <class S>
N3D_HD void ray_range(const March<S>& m, const S* origin, const S* direction, S& begin, S& end) {
  begin = m.near, end = m.far;
  if (m.contracted) return;
  for (int k = 0; k < 3; ++k) {
    const S inverse = S(1) / direction[k];  // infinite along a face: then the comparisons decide
    const S low = (m.box[k] - m.box[3] - origin[k]) * inverse, high = (m.box[k] + m.box[3] - origin[k]) * inverse;
    begin = max(begin, min(low, high)), end = min(end, max(low, high));
  }
}

// Calls sample(t of the middle, length, place in the cube, place in the grid) for each sample of a ray.
template <class S, class F>
N3D_HD void march_ray(const March<S>& m, int64_t ray, const F& sample) {
  const S *origin = m.origins + 3 * ray, *direction = m.directions + 3 * ray;
  S begin, end, y[3], u[3];
  ray_range(m, origin, direction, begin, end);
  S t = begin + m.offsets[ray] * m.length(begin);
  for (int k = 0; k < m.max_steps && t < end; ++k) {
    const S delta = m.length(t), middle = t + delta / S(2);
    to_grid(m, origin, direction, middle, y, u);
    t += delta;
    if (is_occupied(m, u)) {
      sample(middle, delta, y, u);
      continue;
    }
    const S exit = cell_end(m, direction, u, middle);
    for (; k + 1 < m.max_steps && t + m.length(t) / S(2) < exit; ++k) t += m.length(t);
  }
}

// What samples [begin, end) pull on their ray by their places in the grid.
template <class S>
N3D_HD void pull_ray(const March<S>& m, int64_t ray, const S* ts, const S* d_positions, int64_t begin, int64_t end,
                     S* d_origin, S* d_direction) {
  S on_origin[3] = {}, on_direction[3] = {}, y[3], u[3];
  for (int64_t i = begin; i < end; ++i) {
    S g[3] = {d_positions[3 * i], d_positions[3 * i + 1], d_positions[3 * i + 2]};
    to_grid(m, m.origins + 3 * ray, m.directions + 3 * ray, ts[i], y, u);
    from_grid(m, y, g);
    for (int k = 0; k < 3; ++k) on_origin[k] += g[k], on_direction[k] += ts[i] * g[k];
  }
  for (int k = 0; k < 3; ++k) d_origin[k] = on_origin[k], d_direction[k] = on_direction[k];
}

}  // namespace N3D_ISA
}  // namespace n3d
