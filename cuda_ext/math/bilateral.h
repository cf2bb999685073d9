// The trilinear lookup of a bilateral grid. T is float, double or a register of either.
//
// A pixel of colour x lies at (u, v, l) in units of nodes, with l = (Z - 1) guide(x). It sees the 3x4 matrix
//   A = sum over nodes n of hat(u - n_x) hat(v - n_y) hat(l - n_z) A_n   and becomes   A [x; 1].
// With g the gradient of what it becomes and P = g [x; 1]^T:
//   d A_n = hat hat hat P,   d x = A[:, :3]^T g + (Z - 1) grad guide * sum over n of hat hat hat'(l - n_z) <A_n, P>.
//
// Source: Chen et al. 2007, Real-time Edge-Aware Image Processing with the Bilateral Grid; Wang et al. 2024, Bilateral
// Guided Radiance Field Processing.
#pragma once

#include "scalar.h"

namespace n3d {
namespace N3D_ISA {

N3D_HD constexpr double luma_weight(int channel) { return channel == 0 ? 0.299 : channel == 1 ? 0.587 : 0.114; }

// Where a pixel's centre lies among the nodes of one axis; the first and the last node lie on the image's borders.
template <class S>
N3D_HD S node_position(int pixel, int size, int nodes) {
  return (S(pixel) + S(0.5)) / S(size) * S(nodes - 1);
}

template <class T>
N3D_HD T luma(const T* x) {
  return T(luma_weight(0)) * x[0] + T(luma_weight(1)) * x[1] + T(luma_weight(2)) * x[2];
}

template <class T>
N3D_HD T guide(const T& luma) {
  return min(max(luma, T(0)), T(1));
}

// 1 where the guide follows the luma to its right, else 0.
template <class T>
N3D_HD T guide_slope(const T& luma) {
  return select(luma >= T(0), select(luma < T(1), T(1), T(0)), T(0));
}

template <class T>
N3D_HD T hat(const T& d) {
  return max(T(1) - max(d, -d), T(0));
}

// To the right of d, so that at a node the interval above it counts.
template <class T>
N3D_HD T hat_slope(const T& d) {
  return select(d >= T(-1), select(d < T(0), T(1), select(d < T(1), T(-1), T(0))), T(0));
}

}  // namespace N3D_ISA
}  // namespace n3d
