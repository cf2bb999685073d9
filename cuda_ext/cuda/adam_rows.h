// One step of Adam over rows whose gradient lies in memory, for other drivers, too.
#pragma once

#include "../tensors.h"

namespace n3d {

// With `only_pulled`, numbers whose gradient is 0 stay as they are. Returns how many rows had a gradient that is not
// finite.
Tensor move_rows(const Tensor& param, const Tensor& grad, const Tensor& first, const Tensor& second,
                 const Tensor& rates, const std::optional<Tensor>& visible, bool only_pulled, int64_t step,
                 double beta1, double beta2, double eps);

}  // namespace n3d
