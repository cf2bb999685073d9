// The tiles that an ellipse meets, row by row of tiles. The determinant of a thin ellipse cancels badly, but an error
// in it is only a share of the ellipse's width, which is thin: the slack covers it.
//
// Source: Hanson et al. 2024, Speedy-Splat, sec. 4 (SnugBox and AccuTile).
#pragma once

#include "scalar.h"
#include "tile.h"

namespace n3d {
namespace N3D_ISA {

// a dx^2 + 2 b dx dy + c dy^2 <= reach around (x, y), of which the half width and height are known but not the reach.
template <class T>
struct Ellipse {
  T x, y, a, b, c, extent_x, extent_y;
};

// The box of tiles around an ellipse, cut to the image, and what the rows' spans are found from. At the height dy the
// ellipse ends at (-b dy +- sqrt(a reach - det dy^2)) / a, with det = a c - b^2. Tiles are whole numbers in T, so that
// the same lines run on one number and on a register of them.
template <class T>
struct TileRows {
  T x0, x1, y0, y1;
  decltype(T() < T()) boxed;  // within one row or one column of tiles; and without a cut-off a Gaussian is everywhere
  T det, a_reach, inv_a;      // where not boxed
  T turn;                     // dy of the rightmost point; the leftmost lies opposite
};

// Tiles first to last - 1 of one row of tiles; none where last <= first.
template <class T>
struct TileSpan {
  T first, last;
};

// A product that is rounded before it is added to anything. With it all devices find the same tiles to the last bit,
// and so do two kernels of which one counts tiles and the other lists them.
#if defined(__CUDA_ARCH__)
N3D_HD float product(float a, float b) { return __fmul_rn(a, b); }
N3D_HD double product(double a, double b) { return __dmul_rn(a, b); }
#else
template <class T>
N3D_HD T product(const T& a, const T& b) {
  return a * b;
}
#endif

// The row or column of tiles at a place in pixels: -1 before the image and for NaN, `tiles` after it.
template <class T>
N3D_HD T tile_at(const T& place, int tiles) {
  return min(max(floor(place * T(1.0 / kTile)), T(-1)), T(tiles));
}

template <class T>
N3D_HD void set_box(TileRows<T>& rows, const Ellipse<T>& e, int tiles_x, int tiles_y) {
  const T top = tile_at(e.y - e.extent_y, tiles_y), bottom = tile_at(e.y + e.extent_y, tiles_y);
  const T left = tile_at(e.x - e.extent_x, tiles_x), right = tile_at(e.x + e.extent_x, tiles_x);
  rows.x0 = max(left, T(0)), rows.x1 = min(right + T(1), T(tiles_x));
  rows.y0 = max(top, T(0)), rows.y1 = min(bottom + T(1), T(tiles_y));
  rows.boxed = (bottom <= top) | (right <= left) | (e.extent_x >= T(1e9));
}

template <class T>
N3D_HD void set_ellipse(TileRows<T>& rows, const Ellipse<T>& e) {
  const T inv_c = T(1) / e.c;
  rows.inv_a = T(1) / e.a;
  rows.det = product(e.a, e.c) - product(e.b, e.b);
  rows.a_reach = product(product(product(e.extent_x, e.extent_x), rows.det), product(e.a, inv_c));
  rows.turn = product(product(-e.b, e.extent_x), inv_c);
}

template <class T>
N3D_HD TileRows<T> tile_box(const Ellipse<T>& e, int tiles_x, int tiles_y) {
  TileRows<T> rows = {};
  set_box(rows, e, tiles_x, tiles_y);
  if (!rows.boxed) set_ellipse(rows, e);
  return rows;
}

// One border between two rows of tiles: its height above the centre, cut to the ellipse, and half the ellipse's width
// there, times a.
template <class T>
struct TileBorder {
  T dy, root;
};

template <class T>
N3D_HD TileBorder<T> tile_border(const Ellipse<T>& e, const TileRows<T>& rows, const T& row) {
  const T dy = min(max(row * T(kTile) - e.y, -e.extent_y), e.extent_y);
  return {dy, sqrt(max(rows.a_reach - product(rows.det, product(dy, dy)), T(0)))};
}

template <class T>
N3D_HD TileSpan<T> span_between(const Ellipse<T>& e, const TileRows<T>& rows, const TileBorder<T>& low,
                                const TileBorder<T>& high, int tiles_x) {
  const T turn = rows.turn, low_side = product(-e.b, low.dy), high_side = product(-e.b, high.dy);
  const T rightmost = select(turn < low.dy, product(low_side + low.root, rows.inv_a),
                             select(turn > high.dy, product(high_side + high.root, rows.inv_a), e.extent_x));
  const T leftmost = select(-turn < low.dy, product(low_side - low.root, rows.inv_a),
                            select(-turn > high.dy, product(high_side - high.root, rows.inv_a), -e.extent_x));
  // Rounding must not lose a tile: the blend tests each pixel.
  const T slack = product(T(1e-3), T(1) + e.extent_x);
  return {max(tile_at(e.x + leftmost - slack, tiles_x), rows.x0),
          min(tile_at(e.x + rightmost + slack, tiles_x) + T(1), rows.x1)};
}

template <class T>
N3D_HD TileSpan<T> tile_span(const Ellipse<T>& e, const TileRows<T>& rows, const T& row, int tiles_x) {
  if (rows.boxed) return {rows.x0, rows.x1};
  return span_between(e, rows, tile_border(e, rows, row), tile_border(e, rows, row + T(1)), tiles_x);
}

// Calls f(row, first column, last column + 1) for each row of tiles that the ellipse meets.
template <class T, class F>
N3D_HD void tile_rows(const Ellipse<T>& e, int tiles_x, int tiles_y, const F& f) {
  const TileRows<T> rows = tile_box(e, tiles_x, tiles_y);
  if (rows.x0 >= rows.x1) return;
  if (rows.boxed) {
    for (int row = int(rows.y0); row < int(rows.y1); ++row) f(row, int(rows.x0), int(rows.x1));
    return;
  }
  TileBorder<T> low = tile_border(e, rows, rows.y0);
  for (int row = int(rows.y0); row < int(rows.y1); ++row) {
    const TileBorder<T> high = tile_border(e, rows, T(row + 1));
    const TileSpan<T> span = span_between(e, rows, low, high, tiles_x);
    if (span.first < span.last) f(row, int(span.first), int(span.last));
    low = high;
  }
}

}  // namespace N3D_ISA
}  // namespace n3d
