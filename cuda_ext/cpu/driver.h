// What every CPU driver needs of torch: checked pointers, fresh tensors, and threads that share work evenly.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <atomic>
#include <optional>
#include <tuple>
#include <vector>

#include "kernels.h"
#include "threads.h"

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

// The tensor's numbers. The Python wrappers have already refused bad arguments with a ValueError that names them; this
// is for whoever calls an operator past them.
template <class S>
S* pointer(const Tensor& t) {
  STD_TORCH_CHECK(t.is_cpu() && t.is_contiguous(), "neural3d: a tensor is not contiguous on the CPU");
  const bool same = t.scalar_type() == scalar_type<S>() || (sizeof(S) == 1 && t.scalar_type() == ScalarType::Bool);
  STD_TORCH_CHECK(same, "neural3d: a tensor has another dtype than the first argument");
  return static_cast<S*>(t.mutable_data_ptr());
}
template <class S>
S* pointer(const std::optional<Tensor>& t) {
  return t.has_value() ? pointer<S>(*t) : nullptr;
}

inline Tensor fresh(std::initializer_list<int64_t> size, ScalarType type) {
  std::vector<int64_t> s(size);
  return torch::stable::empty(torch::headeronly::IntHeaderOnlyArrayRef(s.data(), s.size()), type);
}

// f(begin, end) over [0, count) in pieces of `grain`, as many threads at a time as torch.set_num_threads allows. Every
// piece writes its own part of the result, so neither their order nor the number of threads changes anything.
template <class F>
void share(int64_t count, int64_t grain, const F& f) {
  struct Loop {
    int64_t count, grain;
    const F* f;
  } loop{count, grain, &f};
  const auto run = [](void* context, int64_t piece) {
    const Loop& l = *static_cast<const Loop*>(context);
    const int64_t begin = piece * l.grain;
    (*l.f)(begin, begin + l.grain < l.count ? begin + l.grain : l.count);
  };
  run_pieces((count + grain - 1) / grain, torch::stable::get_num_threads(), run, &loop);
}

// Grows and stays: a training step asks the system for no memory, and its pages are mapped once.
template <class T>
inline T* aligned_space(std::vector<char>& space, int64_t count) {
  const size_t bytes = size_t(count) * sizeof(T) + 64;
  if (space.size() < bytes) space.resize(bytes + bytes / 4);
  const uintptr_t address = reinterpret_cast<uintptr_t>(space.data());
  return reinterpret_cast<T*>((address + 63) / 64 * 64);
}

// Runs f.template operator()<S>() for the tensor's scalar type.
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
