// The layers that turn features into a density and a colour, and where their weights lie in one flat tensor.
//
// With x the features of a sample, v those of its ray and no biases:
//   g = W2 relu(W1 x),   density = exp(min(g_0, 15)),   colour = sigmoid(W5 relu(W4 relu(W3 [g; v])))
// The flat tensor holds W1 [width,inputs], W2 [geometry,width], W3 [width,geometry + ray inputs], W4 [width,width] and
// W5 [3,width] by rows, one after the other. W3 is used as two layers, one over g and one over v: the latter's product
// is the same for all samples of a ray.
//
// Source: Mueller et al. 2022, Instant Neural Graphics Primitives, section 5.4.
#pragma once

#include <stdint.h>

namespace n3d {

constexpr int kPad = 16;  // rows and columns of matrices in work space are so many times a whole number
constexpr int kMaxRadianceWidth = 128;
constexpr double kMaxLogDensity = 15;  // beyond it the exponential would soon overflow; its slope goes on

constexpr int padded(int count) { return (count + kPad - 1) / kPad * kPad; }

struct RadianceLayer {
  int outputs, inputs;
  int64_t flat;     // where its weights begin in the flat tensor
  int flat_stride;  // from row to row there
  int64_t work;     // where it begins in a work space of padded matrices
  int rows() const { return padded(outputs); }
  int columns() const { return padded(inputs); }
};

enum RadianceStage { kFirst, kGeometry, kMix, kRay, kHidden, kColor, kRadianceStages };

struct RadianceLayers {
  int inputs, ray_inputs, width, geometry;
  RadianceLayer layer[kRadianceStages];
  int64_t flat, work;  // numbers in all
  bool with_colors;
};

inline RadianceLayers radiance_layers(int inputs, int ray_inputs, int width, int geometry, bool with_colors) {
  RadianceLayers found = {inputs, ray_inputs, width, geometry, {}, 0, 0, with_colors};
  const int mixed = geometry + ray_inputs;
  const auto add = [&](RadianceStage stage, int outputs, int columns, int skipped, int64_t flat, int flat_stride) {
    found.layer[stage] = {outputs, columns, flat + skipped, flat_stride, found.work};
    found.work += int64_t(padded(outputs)) * padded(columns);
  };
  add(kFirst, width, inputs, 0, 0, inputs);
  const int64_t second = int64_t(width) * inputs, third = second + int64_t(geometry) * width;
  add(kGeometry, geometry, width, 0, second, width);
  found.flat = third;
  if (!with_colors) return found;
  const int64_t fourth = third + int64_t(width) * mixed, fifth = fourth + int64_t(width) * width;
  add(kMix, width, geometry, 0, third, mixed);
  add(kRay, width, ray_inputs, geometry, third, mixed);
  add(kHidden, width, width, 0, fourth, width);
  add(kColor, 3, width, 0, fifth, width);
  found.flat = fifth + 3 * int64_t(width);
  return found;
}

}  // namespace n3d
