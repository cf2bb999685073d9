// Real spherical harmonics to degree 3 with Condon-Shortley signs (INRIA's and glTF's order), and their gradient.
//
// Source: Sloan 2013, Efficient Spherical Harmonic Evaluation; the polynomials are extended off the sphere and the
// gradient is projected back where the direction is normalised.
#pragma once

#include "scalar.h"

namespace n3d {
namespace N3D_ISA {

// y[(degree + 1)^2] at the unit direction (x, y, z).
template <class T>
N3D_HD void harmonics(int degree, const T& x, const T& y, const T& z, T* basis) {
  basis[0] = T(0.28209479177387814);
  if (degree < 1) return;
  const T c1(0.4886025119029199);
  basis[1] = -(c1 * y);
  basis[2] = c1 * z;
  basis[3] = -(c1 * x);
  if (degree < 2) return;
  const T xx = x * x, yy = y * y, zz = z * z;
  basis[4] = T(1.0925484305920792) * (x * y);
  basis[5] = T(-1.0925484305920792) * (y * z);
  basis[6] = T(0.31539156525252005) * (T(2) * zz - xx - yy);
  basis[7] = T(-1.0925484305920792) * (x * z);
  basis[8] = T(0.5462742152960396) * (xx - yy);
  if (degree < 3) return;
  basis[9] = T(-0.5900435899266435) * y * (T(3) * xx - yy);
  basis[10] = T(2.890611442640554) * (x * y) * z;
  basis[11] = T(-0.4570457994644658) * y * (T(4) * zz - xx - yy);
  basis[12] = T(0.3731763325901154) * z * (T(2) * zz - T(3) * (xx + yy));
  basis[13] = T(-0.4570457994644658) * x * (T(4) * zz - xx - yy);
  basis[14] = T(1.445305721320277) * z * (xx - yy);
  basis[15] = T(-0.5900435899266435) * x * (xx - T(3) * yy);
}

// d[3] = sum_k w[k] * grad y_k(x, y, z).
template <class T>
N3D_HD void harmonics_vjp(int degree, const T& x, const T& y, const T& z, const T* w, T* d) {
  d[0] = d[1] = d[2] = T(0);
  if (degree < 1) return;
  const T c1(0.4886025119029199);
  d[0] = -(c1 * w[3]);
  d[1] = -(c1 * w[1]);
  d[2] = c1 * w[2];
  if (degree < 2) return;
  const T a(1.0925484305920792), b(0.31539156525252005), e(0.5462742152960396), two(2);
  d[0] = d[0] + a * (y * w[4] - z * w[7]) + two * x * (e * w[8] - b * w[6]);
  d[1] = d[1] + a * (x * w[4] - z * w[5]) - two * y * (e * w[8] + b * w[6]);
  d[2] = d[2] - a * (y * w[5] + x * w[7]) + T(4) * b * z * w[6];
  if (degree < 3) return;
  const T xx = x * x, yy = y * y, zz = z * z, xy = x * y, yz = y * z, xz = x * z;
  const T w9 = T(-0.5900435899266435) * w[9], w10 = T(2.890611442640554) * w[10];
  const T w11 = T(-0.4570457994644658) * w[11], w12 = T(0.3731763325901154) * w[12];
  const T w13 = T(-0.4570457994644658) * w[13], w14 = T(1.445305721320277) * w[14];
  const T w15 = T(-0.5900435899266435) * w[15];
  const T three(3), six(6), eight(8), q = T(4) * zz;
  d[0] = d[0] + six * xy * w9 + yz * w10 - two * xy * w11 - six * xz * w12 + (q - three * xx - yy) * w13 +
         two * xz * w14 + three * (xx - yy) * w15;
  d[1] = d[1] + three * (xx - yy) * w9 + xz * w10 + (q - xx - three * yy) * w11 - six * yz * w12 - two * xy * w13 -
         two * yz * w14 - six * xy * w15;
  d[2] = d[2] + xy * w10 + eight * yz * w11 + (six * zz - three * (xx + yy)) * w12 + eight * xz * w13 + (xx - yy) * w14;
}

}  // namespace N3D_ISA
}  // namespace n3d
