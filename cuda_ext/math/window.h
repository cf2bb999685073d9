// The Gaussian window through which SSIM looks.
#pragma once

namespace n3d {

constexpr int kWindow = 11, kWindowRadius = 5;  // px

}  // namespace n3d
