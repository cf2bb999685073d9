// What the drivers of every device need of torch's tensors.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <tuple>
#include <vector>

namespace n3d {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <class S>
constexpr ScalarType scalar_type();
template <>
constexpr ScalarType scalar_type<float>() {
  return ScalarType::Float;
}
template <>
constexpr ScalarType scalar_type<double>() {
  return ScalarType::Double;
}
template <>
constexpr ScalarType scalar_type<int32_t>() {
  return ScalarType::Int;
}
template <>
constexpr ScalarType scalar_type<int64_t>() {
  return ScalarType::Long;
}
template <>
constexpr ScalarType scalar_type<uint8_t>() {
  return ScalarType::Byte;
}

// The tensor's numbers, if they are S and lie in one piece; bytes may be bools. The Python wrappers have already
// refused bad arguments with a ValueError that names them; this is for whoever calls an operator past them.
template <class S>
S* checked_pointer(const Tensor& t) {
  STD_TORCH_CHECK(t.is_contiguous(), "neural3d: a tensor is not contiguous");
  const bool same = t.scalar_type() == scalar_type<S>() || (sizeof(S) == 1 && t.scalar_type() == ScalarType::Bool);
  STD_TORCH_CHECK(same, "neural3d: a tensor has another dtype than the first argument");
  return static_cast<S*>(t.mutable_data_ptr());
}

// For when torch gave no fresh tensor: of why, it says no more than where.
[[noreturn]] inline void out_of_memory(const std::vector<int64_t>& size, const char* where) {
  double numbers = 1.0;
  for (int64_t n : size) numbers *= double(n);
  STD_TORCH_CHECK(false, "neural3d: out of memory: no room for ", numbers, " numbers on ", where);
}

// Runs f with S = float or double, the tensor's scalar type.
#define N3D_FOR_SCALAR(tensor, S, ...)                                                                          \
  [&] {                                                                                                         \
    if ((tensor).scalar_type() == n3d::ScalarType::Double) {                                                    \
      using S = double;                                                                                         \
      return __VA_ARGS__();                                                                                     \
    }                                                                                                           \
    STD_TORCH_CHECK((tensor).scalar_type() == n3d::ScalarType::Float, "neural3d: float32 or float64 expected"); \
    using S = float;                                                                                            \
    return __VA_ARGS__();                                                                                       \
  }()

}  // namespace n3d
