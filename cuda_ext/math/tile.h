// The tiles that an image is worked on in.
#pragma once

namespace n3d {

constexpr int kTile = 16;  // px; also the rows and the pixels of a row that a tile has

}  // namespace n3d
