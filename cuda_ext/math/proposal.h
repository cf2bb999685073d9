// Where along a ray to look closely, by a cheap guess of what is there, and how wrong the guess was.
//
// Places along a ray are numbers s in [0, 1]; with k the knee, distances are near + 2 (k - near) s up to s = 1/2, and
// k / (1 - (2 s - 1) (1 - k / far)) behind it. Interval j of the guess has the optical depth x_j = exp(sum of its
// features) times its length, T_j = exp(-sum_{i<j} x_i), and the weight T_j - T_{j+1}: a sum over intervals from a to
// before b is T_a - T_b. So is the bound B of a fine interval of weight w, and the loss sum max(0, w - B)^2 / (w + eps)
// has, with c = -2 max(0, w - B) / (w + eps), the gradient G_a += c, G_b -= c by T. As d T_k / d x_j = -T_k for k > j,
//   d x_j = -sum_{k>j} T_k G_k,   and each of the interval's features gets x_j d x_j.
//
// Source: Barron et al. 2022, Mip-NeRF 360, section 3, eq. 12 and 13.
#pragma once

#include <stdint.h>

#include "scalar.h"

namespace n3d {
namespace N3D_ISA {

template <class S>
struct RayScale {
  S near, knee, far;
  N3D_HD S distance(S place) const {
    const S nearer = near + S(2) * (knee - near) * place;
    const S beyond = max(S(2) * place - S(1), S(0));
    return place <= S(0.5) ? nearer : knee / (S(1) - beyond * (S(1) - knee / far));
  }
};

// One ray of the guess.
template <class S>
struct Guess {
  const S *features, *edges;  // [P, L], [P + 1]
  int count, levels;

  // From e^15 on the density stays as it is.
  N3D_HD S optical(const RayScale<S>& scale, int j) const {
    S logarithm = S(0);
    for (int l = 0; l < levels; ++l) logarithm += features[int64_t(j) * levels + l];
    return exp(min(logarithm, S(15))) * (scale.distance(edges[j + 1]) - scale.distance(edges[j]));
  }
  // T_0 to T_P.
  N3D_HD void enter(const RayScale<S>& scale, S* through) const {
    S depth = S(0);
    through[0] = S(1);
    for (int j = 0; j < count; ++j) depth += optical(scale, j), through[j + 1] = exp(-depth);
  }
};

// Edge k of the fine intervals lies where the share (k + offset) / (count + 1) of the guess's weight is reached.
template <class S>
N3D_HD void proposal_ray(const Guess<S>& guess, const RayScale<S>& scale, S offset, int count, S uniform, S* through,
                         S* fine) {
  guess.enter(scale, through);
  const S total = S(1) - through[guess.count], even = S(1) / S(guess.count);
  const S weighted = total > S(0) ? (S(1) - uniform) / total : S(0), each = total > S(0) ? uniform * even : even;
  S below = S(0), above = weighted * (S(1) - through[1]) + each;
  for (int k = 0, j = 0; k <= count; ++k) {
    const S wanted = (S(k) + offset) / S(count + 1);
    for (; j + 1 < guess.count && above <= wanted; ++j)
      below = above, above = weighted * (S(1) - through[j + 2]) + each * S(j + 2);
    const S part = min(max((wanted - below) / max(above - below, S(1e-30)), S(0)), S(1));
    fine[k] = guess.edges[j] + part * (guess.edges[j + 1] - guess.edges[j]);
  }
}

// Calls take(weight, first and end of the guess's intervals that it overlaps) for each fine interval; both ascend.
template <class S, class F>
N3D_HD void each_fine(const Guess<S>& guess, const RayScale<S>& scale, const S* densities, const S* fine, int count,
                      const F& take) {
  S before = S(1), depth = S(0);
  for (int i = 0, first = 0; i < count; ++i) {
    depth += densities[i] * (scale.distance(fine[i + 1]) - scale.distance(fine[i]));
    const S after = exp(-depth);
    while (first < guess.count && guess.edges[first + 1] <= fine[i]) ++first;
    int end = first;
    while (end < guess.count && guess.edges[end] < fine[i + 1]) ++end;
    take(before - after, first, end);
    before = after;
  }
}

constexpr double kInterlevelEps = 1e-7;

template <class S>
N3D_HD S interlevel_ray(const Guess<S>& guess, const RayScale<S>& scale, const S* densities, const S* fine, int count,
                        S* through) {
  S loss = S(0);
  guess.enter(scale, through);
  each_fine(guess, scale, densities, fine, count, [&](S weight, int first, int end) {
    const S missing = max(weight - (through[first] - through[end]), S(0));
    loss += missing * missing / (weight + S(kInterlevelEps));
  });
  return loss;
}

// `pulls` is work space as `through`, of P + 1.
template <class S>
N3D_HD void interlevel_ray_vjp(const Guess<S>& guess, const RayScale<S>& scale, const S* densities, const S* fine,
                               int count, S pull, S* through, S* pulls, S* d_features) {
  guess.enter(scale, through);
  for (int j = 0; j <= guess.count; ++j) pulls[j] = S(0);
  each_fine(guess, scale, densities, fine, count, [&](S weight, int first, int end) {
    const S missing = max(weight - (through[first] - through[end]), S(0));
    const S c = S(-2) * pull * missing / (weight + S(kInterlevelEps));
    pulls[first] += c, pulls[end] -= c;
  });
  S behind = S(0);
  for (int j = guess.count - 1; j >= 0; --j) {
    behind += through[j + 1] * pulls[j + 1];
    const S d = -behind * guess.optical(scale, j);
    for (int l = 0; l < guess.levels; ++l) d_features[int64_t(j) * guess.levels + l] = d;
  }
}

}  // namespace N3D_ISA
}  // namespace n3d
