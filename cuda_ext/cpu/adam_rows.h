// What every step of Adam begins and ends with: the step as its loops take it, and how many rows it left alone.
#pragma once

#include <cmath>

#include "driver.h"

namespace n3d {

template <class S>
AdamArgs<S> adam_args(const Tensor& param, const Tensor& first, const Tensor& second, const Tensor& rates,
                      const std::optional<Tensor>& visible, int64_t step, double beta1, double beta2, double eps) {
  AdamArgs<S> a = {};
  a.param = pointer<S>(param), a.first = pointer<S>(first), a.second = pointer<S>(second);
  a.rates = pointer<S>(rates), a.visible = pointer<uint8_t>(visible);
  a.columns = rates.numel();
  a.beta1 = S(beta1), a.beta2 = S(beta2), a.eps = S(eps);
  a.bias1 = S(1 / (1 - std::pow(beta1, double(step)))), a.bias2 = S(1 / std::sqrt(1 - std::pow(beta2, double(step))));
  return a;
}

// A piece of the rows as if they were all.
template <class S>
AdamArgs<S> from_row(AdamArgs<S> a, int64_t row) {
  a.param += row * a.columns, a.first += row * a.columns, a.second += row * a.columns;
  if (a.visible) a.visible += row;
  return a;
}

inline Tensor count_of(int64_t poisoned) {
  Tensor count = fresh({}, ScalarType::Long);
  *pointer<int64_t>(count) = poisoned;
  return count;
}

}  // namespace n3d
