// One Gaussian at one pixel: the blend and its gradient, and which parts of a tile a Gaussian reaches. Forward and
// backward pass must agree on what is blended to the last bit, so nothing here is left for the compiler to contract.
//
// Source: Kerbl et al. 2023, eq. 2-3.
#pragma once

#include "../math/scalar.h"
#include "../math/tile.h"
#include "warp.h"

namespace n3d {

constexpr int kChannels = 4;                    // per pass; more channels take more passes
constexpr int kPartWidth = 8, kPartHeight = 4;  // px: a part of a tile is what a warp's lanes cover at a time
constexpr int kPartColumns = kTile / kPartWidth, kPartRows = kTile / kPartHeight;
constexpr int kParts = kPartColumns * kPartRows;
constexpr int kTilePixels = kTile * kTile;
constexpr double kPartSlack = 1e-2;  // log2 units that a part keeps below alpha_min: each pixel is tested by itself

// A Gaussian made ready to be blended.
template <class S>
struct __align__(16) Splat {
  S x, y;     // px
  S a, b, c;  // the exponent in base 2: log2 alpha = top + a dx^2 + b dx dy + c dy^2
  S top;      // log2 of the opacity
  S color[kChannels];
  S unused[2];
};

// Keeps a value in its register, where the compiler would rather read or compute it again each time it is used.
__device__ __forceinline__ void keep(float& x) {
#if !defined(N3D_EMULATED)
  asm volatile("" : "+f"(x));
#endif
}
__device__ __forceinline__ void keep(double& x) {
#if !defined(N3D_EMULATED)
  asm volatile("" : "+d"(x));
#endif
}
__device__ __forceinline__ void keep(int& x) {
#if !defined(N3D_EMULATED)
  asm volatile("" : "+r"(x));
#endif
}

template <class S, int D>
__device__ __forceinline__ void keep_splat(Splat<S>& g) {
  keep(g.x), keep(g.y), keep(g.a), keep(g.b), keep(g.c), keep(g.top);
#pragma unroll
  for (int c = 0; c < D; ++c) keep(g.color[c]);
}

// Where Gaussians are left out: log2 alpha_min, and transmittance_min.
template <class S>
struct Cutoffs {
  S log2_alpha, transmittance;
};

template <class S>
__device__ __forceinline__ S log2_alpha(const Splat<S>& g, S dx, S dy) {
  return scalar::fma(dx, scalar::fma(g.a, dx, g.b * dy), scalar::fma(g.c * dy, dy, g.top));
}

// A pixel as the forward pass sees it. Beyond the image's border the transmittance is -1: nothing is blended there.
template <class S, int D>
struct Pixel {
  S transmittance, color[D];
};

template <class S>
__device__ __forceinline__ S transmitted(S alpha, S transmittance) {
  return scalar::fma(-alpha, transmittance, transmittance);
}

template <class S, int D>
__device__ __forceinline__ void blend_pixel(const Splat<S>& g, S x, S y, const Cutoffs<S>& cut, Pixel<S, D>& p) {
  const S power = log2_alpha(g, x - g.x, y - g.y);
  if (!(power >= cut.log2_alpha && p.transmittance >= cut.transmittance)) return;
  const S alpha = scalar::min(fast_exp2(power), S(kAlphaMax)), weight = alpha * p.transmittance;
#pragma unroll
  for (int c = 0; c < D; ++c) p.color[c] = scalar::fma(weight, g.color[c], p.color[c]);
  p.transmittance = transmitted(alpha, p.transmittance);
}

// A pixel as the backward pass sees it, front to back as well: the light still to come, times the gradient that waits
// for it (with the final transmittance's share).
template <class S, int D>
struct PixelGradient {
  S transmittance, pending, grad[D];
};

// Adds what one pixel pulls on one Gaussian: the moments of d log alpha about its mean, then the colours' gradients.
template <class S, int D>
__device__ __forceinline__ void pull_pixel(const Splat<S>& g, S x, S y, const Cutoffs<S>& cut, PixelGradient<S, D>& p,
                                           S* sums) {
  const S dx = x - g.x, dy = y - g.y, power = log2_alpha(g, dx, dy), t = p.transmittance;
  if (!(power >= cut.log2_alpha && t >= cut.transmittance)) return;
  const S opaque = fast_exp2(power), alpha = scalar::min(opaque, S(kAlphaMax)), weight = alpha * t;
  S lit(0);
#pragma unroll
  for (int c = 0; c < D; ++c) {
    lit = scalar::fma(p.grad[c], g.color[c], lit);
    sums[kMomentCount + c] = scalar::fma(weight, p.grad[c], sums[kMomentCount + c]);
  }
  p.pending = scalar::fma(-weight, lit, p.pending);
  p.transmittance = transmitted(alpha, t);
  // d alpha = T lit - pending / (1 - alpha); times alpha it is the gradient of log alpha.
  const S d_alpha = scalar::fma(t, lit, -p.pending * fast_reciprocal(S(1) - alpha));
  const S d_log = opaque <= S(kAlphaMax) ? d_alpha * alpha : S(0), d_log_x = d_log * dx, d_log_y = d_log * dy;
  sums[0] += d_log;
  sums[1] += d_log_x;
  sums[2] += d_log_y;
  sums[3] = scalar::fma(d_log_x, dx, sums[3]);
  sums[4] = scalar::fma(d_log_x, dy, sums[4]);
  sums[5] = scalar::fma(d_log_y, dy, sums[5]);
}

template <class S>
__device__ __forceinline__ S clamp(S x, S low, S high) {
  return scalar::max(scalar::min(x, high), low);
}

// A bit for each part of the tile, left to right and top to bottom, in which the Gaussian reaches the cut-off at a
// pixel centre or between two. (left, top) is the centre of the tile's first pixel. The exponent is concave, so where
// its peak lies outside a rectangle, the greatest value in there lies on one of the two sides that face the peak.
template <class S>
__device__ __forceinline__ unsigned parts_reached(const Splat<S>& g, S left, S top, const Cutoffs<S>& cut) {
  const S least = cut.log2_alpha - S(kPartSlack), peak_x = S(-0.5) * fast_reciprocal(g.a);
  const S peak_y = S(-0.5) * fast_reciprocal(g.c);
  unsigned reached = 0;
#pragma unroll
  for (int column = 0; column < kPartColumns; ++column) {
    const S low_x = left + S(column * kPartWidth) - g.x, high_x = low_x + S(kPartWidth - 1);
    const S side_x = clamp(S(0), low_x, high_x), linear = g.b * side_x;
    const S constant = scalar::fma(g.a * side_x, side_x, g.top), best_y = linear * peak_y;
#pragma unroll
    for (int row = 0; row < kPartRows; ++row) {
      const S low_y = top + S(row * kPartHeight) - g.y, high_y = low_y + S(kPartHeight - 1);
      const S y = clamp(best_y, low_y, high_y), on_column = scalar::fma(y, scalar::fma(g.c, y, linear), constant);
      const S side_y = clamp(S(0), low_y, high_y), x = clamp(g.b * side_y * peak_x, low_x, high_x);
      const S on_row = log2_alpha(g, x, side_y);
      reached |= unsigned(scalar::max(on_column, on_row) >= least) << (row * kPartColumns + column);
    }
  }
  return reached;
}

// Where a lane's pixel lies in a tile, of part 0.
__device__ __forceinline__ int pixel_column(int lane) { return lane % kPartWidth; }
__device__ __forceinline__ int pixel_row(int lane) { return lane / kPartWidth; }
__device__ __forceinline__ int part_column(int part) { return part % kPartColumns * kPartWidth; }
__device__ __forceinline__ int part_row(int part) { return part / kPartColumns * kPartHeight; }

}  // namespace n3d
