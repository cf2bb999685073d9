// One step of Adam for one number: m and v are its moments, the result is how far the parameter moves down.
//
// Source: Kingma and Ba 2015, Adam, algorithm 1.
#pragma once

#include "scalar.h"

namespace n3d {
namespace N3D_ISA {

// bias1 = 1 / (1 - beta1^step), bias2 = 1 / sqrt(1 - beta2^step)
template <class T>
struct AdamRates {
  T beta1, beta2, eps, bias1, bias2;
};

template <class T>
N3D_HD T adam_change(const AdamRates<T>& a, const T& rate, const T& gradient, T& m, T& v) {
  const T one(1);
  m = fma(a.beta1, m, (one - a.beta1) * gradient);
  v = fma(a.beta2, v, (one - a.beta2) * gradient * gradient);
  return rate * (m * a.bias1) / (sqrt(v) * a.bias2 + a.eps);
}

}  // namespace N3D_ISA
}  // namespace n3d
