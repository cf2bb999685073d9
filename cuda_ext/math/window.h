// The Gaussian window through which SSIM looks: 11 x 11 px with a standard deviation of 1.5 px.
#pragma once

namespace n3d {

constexpr int kWindow = 11, kWindowRadius = 5;  // px
// exp(-0.5 (i / 1.5)^2), i = -5..5, normalised to a sum of one.
constexpr double kProfile[kWindow] = {0.0010283800844791092, 0.007598758135239185, 0.03600077212843083,
                                      0.10936068950970002,   0.2130055377112537,   0.26601172486179436,
                                      0.2130055377112537,    0.10936068950970002,  0.03600077212843083,
                                      0.007598758135239185,  0.0010283800844791092};

}  // namespace n3d
