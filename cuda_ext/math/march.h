// Where a ray is sampled: steps along it, of which those in occupied cells of a grid become samples.
//
// The grid covers the unit cube. A point x is at y = (x - centre) / half there, and at u = (y + 1) / 2; a scene without
// bounds is first contracted into the ball of radius 2, y -> (2 - 1 / |y|) y / |y| where |y| > 1, and lies at
// u = (y + 2) / 4. With n = |y|, s = (2 - 1/n) / n and s' = 2 (1 - n) / n^3, the contraction's Jacobian is
// s I + s' / n y y^T, which is symmetric.
//
// Step k covers [t_k, t_k+1], t_k+1 = t_k + max(step, cone t_k), and looks at its middle; without a cone t_k is
// t_0 + k step. Cells that are empty are left at once, as are blocks of kBlockCells^3 of them: steps that end up in the
// same cell or block are made without looking. In a contracted scene a ray is no straight line in the grid, but nowhere
// faster there than in the middle: the way to the nearest face, at that speed, leads no farther than to the exit.
//
// Source: Barron et al. 2022, Mip-NeRF 360, eq. 10 (contraction); Mueller et al. 2022, Instant Neural Graphics
// Primitives, appendix E (steps that grow with the distance, skipping of empty cells).
#pragma once

#include <stdint.h>

#include "scalar.h"

namespace n3d {
namespace N3D_ISA {

constexpr int kBlockCells = 8;  // along an axis; a power of two

template <class S>
struct March {
  const S *origins, *directions, *offsets;  // [R,3] [R,3] [R] in [0, 1), of the first step
  const S* box;                             // the cube's centre, and half its side
  const uint8_t* occupied;                  // [cells,cells,cells], z first
  const uint8_t* blocks;                    // [blocks,blocks,blocks], whether anything in them is; null: not known
  int64_t rays;
  int cells, max_steps;
  bool contracted;
  S near, far, step, cone;

  N3D_HD S length(S t) const { return max(step, cone * t); }
  N3D_HD S after(S t0, S t, int k) const { return cone > S(0) ? t + length(t) : t0 + S(k + 1) * step; }
  N3D_HD int blocks_along() const { return (cells + kBlockCells - 1) / kBlockCells; }
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

template <class S>
N3D_HD bool is_block_empty(const March<S>& m, const S* u) {
  if (!m.blocks) return false;
  const int64_t side = m.blocks_along();
  const int64_t x = grid_cell(u[0], m.cells) / kBlockCells, y = grid_cell(u[1], m.cells) / kBlockCells;
  return m.blocks[(grid_cell(u[2], m.cells) / kBlockCells * side + y) * side + x] == 0;
}

// Distances along a ray that lead from one side of the grid to the other, by axis, or none. Divisions are made here,
// once.
template <class S>
struct Crossing {
  S cell;          // its side, in the grid's unit cube
  S distances[3];  // signed; 0 where the ray runs along a face
  N3D_HD Crossing(const March<S>& m, const S* direction) : cell(S(1) / S(m.cells)) {
    for (int k = 0; k < 3; ++k) {
      const S speed = m.contracted ? S(0.5) : direction[k];
      distances[k] = speed == S(0) ? S(0) : S(2) * m.box[3] / speed;
    }
  }
};

// Where the ray leaves the empty block or cell that it is in at t, a little earlier.
template <class S>
N3D_HD S empty_until(const March<S>& m, const Crossing<S>& crossing, const S* u, S t) {
  const int width = is_block_empty(m, u) ? kBlockCells : 1;
  S way = m.far;
  for (int k = 0; k < 3; ++k) {
    const int first = grid_cell(u[k], m.cells) & ~(width - 1);  // a width is a power of two
    const int last = first + width < m.cells ? first + width : m.cells;
    const S above = S(last) * crossing.cell - u[k], below = S(first) * crossing.cell - u[k];
    const S distance = crossing.distances[k];
    if (m.contracted)
      way = min(way, min(above, -below) * distance);
    else if (distance != S(0))
      way = min(way, (distance > S(0) ? above : below) * distance);
  }
  return t + way - S(0.01) * m.step;
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
  const S start = begin + m.offsets[ray] * m.length(begin);
  const Crossing<S> crossing(m, direction);
  S t = start;
  for (int k = 0; k < m.max_steps && t < end; ++k) {
    const S delta = m.length(t), middle = t + delta / S(2);
    to_grid(m, origin, direction, middle, y, u);
    t = m.after(start, t, k);
    if (is_occupied(m, u)) {
      sample(middle, delta, y, u);
      continue;
    }
    const S exit = min(empty_until(m, crossing, u, middle), end);
    if (m.cone > S(0)) {
      for (; k + 1 < m.max_steps && t + m.length(t) / S(2) < exit; ++k) t += m.length(t);
    } else if (const S steps = (exit - t) / m.step - S(0.5); steps > S(0)) {
      k += steps < S(m.max_steps - 1 - k) ? int(steps) + 1 : m.max_steps - 1 - k;
      t = m.after(start, t, k);
    }
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
