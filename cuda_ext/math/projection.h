// One Gaussian through one pinhole camera: f and f_vjp. T is float, double or a register of either.
//
// Source: Zwicker et al. 2002, EWA Splatting, eq. 26-31; opacity compensation: Yu et al. 2024, Mip-Splatting, eq. 9.
#pragma once

#include "scalar.h"

namespace n3d {
namespace N3D_ISA {

// A camera and the cut-offs; the same for all Gaussians of a call.
template <class T>
struct ProjectionCamera {
  T r[9];                          // rotation of camera_from_world, row-major
  T t[3];                          // translation of camera_from_world
  T fx, fy, cx, cy;                // px
  T x_low, x_high, y_low, y_high;  // where x/z and y/z are clamped inside the Jacobian
  T width, height;                 // px
  T near;                          // world units
  T blur;                          // px^2, added to the diagonal of the image covariance
  T alpha_min;                     // 0 turns the cut-off (and so the extent) off
  bool cut;                        // alpha_min > 0
  bool antialiased;
};

// Linearising far outside the image goes wrong: the Jacobian is taken no farther than 0.3 half images beyond its
// border.
template <class T>
N3D_HD void limit_ratios(ProjectionCamera<T>& c) {
  const T margin_x = T(0.3) * T(0.5) * c.width / c.fx, margin_y = T(0.3) * T(0.5) * c.height / c.fy;
  c.x_low = -c.cx / c.fx - margin_x, c.x_high = (c.width - c.cx) / c.fx + margin_x;
  c.y_low = -c.cy / c.fy - margin_y, c.y_high = (c.height - c.cy) / c.fy + margin_y;
}

template <class T>
struct GaussianParameters {
  T mean[3], quat[4], log_scale[3], logit_opacity;
};

template <class T>
struct ProjectedGaussian {
  T mean[2], conic[3], opacity, depth, extent[2];
};

// What both directions need. With P = J R the 2x3 map from world offsets to pixels and M = R(q) diag(s):
// image covariance = A A^T + blur I with A = P M.
template <class T>
struct ProjectionState {
  T camera[3];                // the mean in camera axes
  T inv_z, x_ratio, y_ratio;  // the ratios are clamped
  T w, x, y, z, inv_norm;     // unit quaternion
  T rot[9], scale[3];
  T p[6], a[6];      // rows of P and A
  T c00, c01, c11;   // blurred image covariance
  T det_sharp, det;  // determinants without and with blur
};

template <class T>
N3D_HD void rotation_of(ProjectionState<T>& s) {
  const T two(2), one(1);
  s.rot[0] = one - two * (s.y * s.y + s.z * s.z);
  s.rot[1] = two * (s.x * s.y - s.w * s.z);
  s.rot[2] = two * (s.x * s.z + s.w * s.y);
  s.rot[3] = two * (s.x * s.y + s.w * s.z);
  s.rot[4] = one - two * (s.x * s.x + s.z * s.z);
  s.rot[5] = two * (s.y * s.z - s.w * s.x);
  s.rot[6] = two * (s.x * s.z - s.w * s.y);
  s.rot[7] = two * (s.y * s.z + s.w * s.x);
  s.rot[8] = one - two * (s.x * s.x + s.y * s.y);
}

template <class T>
N3D_HD ProjectionState<T> projection_state(const GaussianParameters<T>& g, const ProjectionCamera<T>& c) {
  ProjectionState<T> s;
  for (int i = 0; i < 3; ++i)
    s.camera[i] = fma(c.r[3 * i], g.mean[0], fma(c.r[3 * i + 1], g.mean[1], fma(c.r[3 * i + 2], g.mean[2], c.t[i])));
  s.inv_z = T(1) / s.camera[2];
  s.x_ratio = min(max(s.camera[0] * s.inv_z, c.x_low), c.x_high);
  s.y_ratio = min(max(s.camera[1] * s.inv_z, c.y_low), c.y_high);

  const T n2 = g.quat[0] * g.quat[0] + g.quat[1] * g.quat[1] + g.quat[2] * g.quat[2] + g.quat[3] * g.quat[3];
  s.inv_norm = T(1) / sqrt(n2);
  s.w = g.quat[0] * s.inv_norm;
  s.x = g.quat[1] * s.inv_norm;
  s.y = g.quat[2] * s.inv_norm;
  s.z = g.quat[3] * s.inv_norm;
  rotation_of(s);
  for (int j = 0; j < 3; ++j) s.scale[j] = exp(g.log_scale[j]);

  // J = [fx/z, 0, -fx (x/z)/z; 0, fy/z, -fy (y/z)/z]
  const T jx = c.fx * s.inv_z, jy = c.fy * s.inv_z;
  for (int k = 0; k < 3; ++k) {
    s.p[k] = jx * (c.r[k] - s.x_ratio * c.r[6 + k]);
    s.p[3 + k] = jy * (c.r[3 + k] - s.y_ratio * c.r[6 + k]);
  }
  for (int j = 0; j < 3; ++j) {
    s.a[j] = (s.p[0] * s.rot[j] + s.p[1] * s.rot[3 + j] + s.p[2] * s.rot[6 + j]) * s.scale[j];
    s.a[3 + j] = (s.p[3] * s.rot[j] + s.p[4] * s.rot[3 + j] + s.p[5] * s.rot[6 + j]) * s.scale[j];
  }
  const T a00 = s.a[0] * s.a[0] + s.a[1] * s.a[1] + s.a[2] * s.a[2];
  const T a11 = s.a[3] * s.a[3] + s.a[4] * s.a[4] + s.a[5] * s.a[5];
  s.c01 = s.a[0] * s.a[3] + s.a[1] * s.a[4] + s.a[2] * s.a[5];
  s.c00 = a00 + c.blur;
  s.c11 = a11 + c.blur;
  // |A A^T| is the squared length of the cross product of A's rows (Lagrange), which never goes negative by rounding.
  const T n0 = s.a[1] * s.a[5] - s.a[2] * s.a[4];
  const T n1 = s.a[2] * s.a[3] - s.a[0] * s.a[5];
  const T n2x = s.a[0] * s.a[4] - s.a[1] * s.a[3];
  s.det_sharp = n0 * n0 + n1 * n1 + n2x * n2x;
  s.det = s.det_sharp + c.blur * (a00 + a11 + c.blur);
  return s;
}

constexpr double kCompensationFloor = 1e-12;  // of det_sharp / det: keeps the square root's slope finite

// Fills `out` and returns where the Gaussian is visible; elsewhere `out` is zero, whatever the inputs were.
template <class T>
N3D_HD auto project_gaussian(const GaussianParameters<T>& g, const ProjectionCamera<T>& c, ProjectedGaussian<T>& out)
    -> decltype(c.near < c.near) {
  const ProjectionState<T> s = projection_state(g, c);
  const T zero(0), one(1);
  const T inv_det = one / s.det;
  const T ratio = max(s.det_sharp * inv_det, T(kCompensationFloor));
  T opacity = one / (one + exp(-g.logit_opacity));
  if (c.antialiased) opacity = opacity * sqrt(ratio);
  const T mean_x = fma(c.fx, s.camera[0] * s.inv_z, c.cx), mean_y = fma(c.fy, s.camera[1] * s.inv_z, c.cy);

  const bool cut = c.cut;
  T extent_x(1e9), extent_y(1e9);
  if (cut) {
    const T reach = T(2) * log(max(opacity / c.alpha_min, one));
    extent_x = sqrt(reach * s.c00);
    extent_y = sqrt(reach * s.c11);
  }
  // Every comparison is false for NaN, and x - x is NaN for an infinite x, so poisoned rows are culled by themselves.
  const T all = g.mean[0] + g.mean[1] + g.mean[2] + g.quat[0] + g.quat[1] + g.quat[2] + g.quat[3] + g.log_scale[0] +
                g.log_scale[1] + g.log_scale[2] + g.logit_opacity;
  auto visible = (all - all >= zero) & (s.camera[2] >= c.near) & (s.inv_norm < T(1e12)) & (s.inv_norm > zero) &
                 (s.det > zero) & (s.det < T(1e30)) & (inv_det > zero) & (opacity > c.alpha_min) &
                 (mean_x + extent_x >= zero) & (mean_x - extent_x <= c.width) & (mean_y + extent_y >= zero) &
                 (mean_y - extent_y <= c.height) & (extent_x < T(1e30)) & (extent_y < T(1e30));
  out.mean[0] = select(visible, mean_x, zero);
  out.mean[1] = select(visible, mean_y, zero);
  out.conic[0] = select(visible, s.c11 * inv_det, zero);
  out.conic[1] = select(visible, -s.c01 * inv_det, zero);
  out.conic[2] = select(visible, s.c00 * inv_det, zero);
  out.opacity = select(visible, opacity, zero);
  out.depth = select(visible, s.camera[2], zero);
  out.extent[0] = select(visible, extent_x, zero);
  out.extent[1] = select(visible, extent_y, zero);
  return visible;
}

// R(q) with q = raw / |raw|: the gradient of R's entries to the unit quaternion, then through the normalisation,
// d raw = (d q - q (q . d q)) / |raw|.
template <class T>
N3D_HD void rotation_vjp(const ProjectionState<T>& s, const T* d_rot, T* d_quat) {
  const T two(2);
  const T* d = d_rot;
  const T dw = two * (s.x * (d[7] - d[5]) + s.y * (d[2] - d[6]) + s.z * (d[3] - d[1]));
  const T dx = two * (s.w * (d[7] - d[5]) + s.y * (d[1] + d[3]) + s.z * (d[2] + d[6]) - two * s.x * (d[4] + d[8]));
  const T dy = two * (s.w * (d[2] - d[6]) + s.x * (d[1] + d[3]) + s.z * (d[5] + d[7]) - two * s.y * (d[0] + d[8]));
  const T dz = two * (s.w * (d[3] - d[1]) + s.x * (d[2] + d[6]) + s.y * (d[5] + d[7]) - two * s.z * (d[0] + d[4]));
  const T along = s.w * dw + s.x * dx + s.y * dy + s.z * dz;
  d_quat[0] = (dw - s.w * along) * s.inv_norm;
  d_quat[1] = (dx - s.x * along) * s.inv_norm;
  d_quat[2] = (dy - s.y * along) * s.inv_norm;
  d_quat[3] = (dz - s.z * along) * s.inv_norm;
}

// Gradient of the blurred covariance from that of the conic Q = C^-1 (dC = -Q dQ Q, off-diagonal counted once) and of
// the opacity compensation; returns d opacity / d sigmoid's result.
template <class T>
N3D_HD T covariance_vjp(const ProjectionState<T>& s, const ProjectionCamera<T>& c, const T* d_conic, const T& d_opacity,
                        const T& sigmoid, T* d_cov) {
  const T inv_det = T(1) / s.det;
  const T qa = s.c11 * inv_det, qb = -s.c01 * inv_det, qc = s.c00 * inv_det;
  const T half_b = T(0.5) * d_conic[1];
  const T u0 = d_conic[0] * qa + half_b * qb, u1 = d_conic[0] * qb + half_b * qc;
  const T v0 = half_b * qa + d_conic[2] * qb, v1 = half_b * qb + d_conic[2] * qc;
  d_cov[0] = -(qa * u0 + qb * v0);
  d_cov[1] = -(qa * u1 + qb * v1 + qb * u0 + qc * v0);
  d_cov[2] = -(qb * u1 + qc * v1);
  if (!c.antialiased) return d_opacity;
  const T ratio = s.det_sharp * inv_det;
  const T compensation = sqrt(max(ratio, T(kCompensationFloor)));
  const T d_ratio = select(ratio > T(kCompensationFloor), d_opacity * sigmoid * T(0.5) / compensation, T(0));
  const T d_sharp = d_ratio * inv_det, d_det = -d_ratio * ratio * inv_det;
  d_cov[0] = d_cov[0] + d_det * s.c11 + d_sharp * (s.c11 - c.blur);
  d_cov[1] = d_cov[1] - T(2) * s.c01 * (d_det + d_sharp);
  d_cov[2] = d_cov[2] + d_det * s.c00 + d_sharp * (s.c00 - c.blur);
  return d_opacity * compensation;
}

// d of (mean, conic, opacity, depth) -> d of the parameters. `d.extent` is not read: the extent carries no gradient.
template <class T>
N3D_HD GaussianParameters<T> project_gaussian_vjp(const GaussianParameters<T>& g, const ProjectionCamera<T>& c,
                                                  const ProjectedGaussian<T>& d) {
  const ProjectionState<T> s = projection_state(g, c);
  GaussianParameters<T> out;
  const T one(1);
  const T sigmoid = one / (one + exp(-g.logit_opacity));
  T d_cov[3];
  const T d_sigmoid = covariance_vjp(s, c, d.conic, d.opacity, sigmoid, d_cov);
  out.logit_opacity = d_sigmoid * sigmoid * (one - sigmoid);

  // C = A A^T: dA0 = 2 dc00 A0 + dc01 A1, dA1 = 2 dc11 A1 + dc01 A0.
  T d_a[6], d_p[6], d_rot[9];
  for (int j = 0; j < 3; ++j) {
    d_a[j] = T(2) * d_cov[0] * s.a[j] + d_cov[1] * s.a[3 + j];
    d_a[3 + j] = T(2) * d_cov[2] * s.a[3 + j] + d_cov[1] * s.a[j];
  }
  // A = P R diag(s): dR = P^T dA diag(s), d log s_j = A_j . dA_j, dP = dA diag(s) R^T.
  for (int j = 0; j < 3; ++j) {
    out.log_scale[j] = s.a[j] * d_a[j] + s.a[3 + j] * d_a[3 + j];
    const T e0 = d_a[j] * s.scale[j], e1 = d_a[3 + j] * s.scale[j];
    d_a[j] = e0;
    d_a[3 + j] = e1;
    for (int k = 0; k < 3; ++k) d_rot[3 * k + j] = s.p[k] * e0 + s.p[3 + k] * e1;
  }
  for (int k = 0; k < 3; ++k) {
    d_p[k] = d_a[0] * s.rot[3 * k] + d_a[1] * s.rot[3 * k + 1] + d_a[2] * s.rot[3 * k + 2];
    d_p[3 + k] = d_a[3] * s.rot[3 * k] + d_a[4] * s.rot[3 * k + 1] + d_a[5] * s.rot[3 * k + 2];
  }
  rotation_vjp(s, d_rot, out.quat);

  // P0 = (fx/z)(r0 - rx r2), P1 = (fy/z)(r1 - ry r2); the ratios pass a gradient only where they are not clamped.
  const T jx = c.fx * s.inv_z, jy = c.fy * s.inv_z;
  T p_dp0(0), p_dp1(0), d_rx(0), d_ry(0);
  for (int k = 0; k < 3; ++k) {
    p_dp0 = p_dp0 + s.p[k] * d_p[k];
    p_dp1 = p_dp1 + s.p[3 + k] * d_p[3 + k];
    d_rx = d_rx - jx * c.r[6 + k] * d_p[k];
    d_ry = d_ry - jy * c.r[6 + k] * d_p[3 + k];
  }
  const T rx = s.camera[0] * s.inv_z, ry = s.camera[1] * s.inv_z;
  d_rx = select((rx >= c.x_low) & (rx <= c.x_high), d_rx, T(0));
  d_ry = select((ry >= c.y_low) & (ry <= c.y_high), d_ry, T(0));
  const T d_x_ratio = fma(c.fx, d.mean[0], d_rx), d_y_ratio = fma(c.fy, d.mean[1], d_ry);
  const T d_camera[3] = {d_x_ratio * s.inv_z, d_y_ratio * s.inv_z,
                         d.depth - s.inv_z * (d_x_ratio * rx + d_y_ratio * ry + p_dp0 + p_dp1)};
  for (int k = 0; k < 3; ++k) out.mean[k] = c.r[k] * d_camera[0] + c.r[3 + k] * d_camera[1] + c.r[6 + k] * d_camera[2];
  return out;
}

}  // namespace N3D_ISA
}  // namespace n3d
