// What every CPU driver needs of torch: checked pointers, fresh tensors, and threads that share work evenly.
#pragma once

#include <atomic>

#include "../tensors.h"
#include "kernels.h"
#include "threads.h"

namespace n3d {

template <class S>
S* pointer(const Tensor& t) {
  STD_TORCH_CHECK(t.is_cpu(), "neural3d: a tensor is not on the CPU");
  return checked_pointer<S>(t);
}
template <class S>
S* pointer(const std::optional<Tensor>& t) {
  return t.has_value() ? pointer<S>(*t) : nullptr;
}

inline Tensor fresh(std::initializer_list<int64_t> size, ScalarType type) {
  std::vector<int64_t> s(size);
  try {
    return torch::stable::empty(torch::headeronly::IntHeaderOnlyArrayRef(s.data(), s.size()), type);
  } catch (const std::exception&) {
    out_of_memory(s, "the CPU");
  }
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

}  // namespace n3d
