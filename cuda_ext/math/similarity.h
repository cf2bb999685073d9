// The structural similarity of two images around a pixel, and its slopes. T is float, double or a register of either.
//
// Source: Wang et al. 2004, Image Quality Assessment, eq. 13; constants as in Kerbl et al. 2023.
#pragma once

#include "scalar.h"
#include "window.h"

namespace n3d {
namespace N3D_ISA {

// exp(-0.5 (i / 1.5 px)^2), i = -5..5, normalised to a sum of one.
N3D_HD double window_weight(int k) {
  static constexpr double weights[kWindow] = {0.0010283800844791092, 0.007598758135239185, 0.03600077212843083,
                                              0.10936068950970002,   0.2130055377112537,   0.26601172486179436,
                                              0.2130055377112537,    0.10936068950970002,  0.03600077212843083,
                                              0.007598758135239185,  0.0010283800844791092};
  return weights[k];
}

// Means over the window: of x, y, x^2 + y^2 and x y.
template <class T>
struct Moments {
  T x, y, squares, xy;
};

// d_x, d_xx, d_xy: against the three moments that depend on x.
template <class T>
struct Similarity {
  T value, d_x, d_xx, d_xy;
};

template <class T>
N3D_HD Similarity<T> similarity(const Moments<T>& m) {
  const T c1(0.01 * 0.01), c2(0.03 * 0.03), two(2), one(1);
  const T a1 = fma(two * m.x, m.y, c1), b1 = fma(m.x, m.x, fma(m.y, m.y, c1));
  const T a2 = two * (m.xy - m.x * m.y) + c2, b2 = m.squares - m.x * m.x - m.y * m.y + c2;
  const T inv = one / (b1 * b2);
  Similarity<T> s;
  s.value = a1 * a2 * inv;
  s.d_xx = -(s.value * b1 * inv);
  s.d_xy = two * a1 * inv;
  s.d_x = two * (m.y * (a2 - a1) * inv + s.value * m.x * (b1 - b2) * inv);
  return s;
}

}  // namespace N3D_ISA
}  // namespace n3d
