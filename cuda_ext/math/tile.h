// What all devices agree on when they blend an image.
#pragma once

namespace n3d {

constexpr int kTile = 16;           // px; also the rows and the pixels of a row that a tile has
constexpr double kAlphaMax = 0.99;  // no Gaussian is wholly opaque, so what lies behind keeps a gradient
constexpr int kMomentCount = 6;     // sums that a (tile, Gaussian) pair's gradient starts with; its colour's follow

}  // namespace n3d
