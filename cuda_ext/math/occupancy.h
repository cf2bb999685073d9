// How a grid remembers where something is: each cell holds the largest density that was found in it, which fades, and
// is occupied where that exceeds both a threshold and the grid's mean.
//
// Source: Mueller et al. 2022, Instant Neural Graphics Primitives, appendix E.2.
#pragma once

#include "scalar.h"

namespace n3d {
namespace N3D_ISA {

// A threshold above the mean would leave nothing of a scene that is thin everywhere, as at the beginning.
N3D_HD float occupancy_threshold(double sum, int64_t cells, float threshold) {
  const float mean = float(sum / double(cells));
  return mean < threshold ? mean : threshold;
}

}  // namespace N3D_ISA
}  // namespace n3d
