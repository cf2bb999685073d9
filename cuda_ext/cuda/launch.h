// What every CUDA driver needs of torch and of the device: checked pointers, fresh tensors, the stream, and the one way
// to launch a kernel. The same sources are run on the CPU by tests/emulator, which has a cuda_runtime.h of its own.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include <initializer_list>

#include "../tensors.h"

namespace n3d {

#if defined(N3D_EMULATED)
constexpr auto kDeviceType = torch::headeronly::DeviceType::CPU;
inline bool is_ours(const Tensor& t) { return t.is_cpu(); }
#else
constexpr auto kDeviceType = torch::headeronly::DeviceType::CUDA;
inline bool is_ours(const Tensor& t) { return t.is_cuda(); }
#endif

inline void check_cuda(cudaError_t error, const char* what) {
  STD_TORCH_CHECK(error == cudaSuccess, "neural3d: CUDA: ", what, ": ", cudaGetErrorString(error));
}

// The device of an operator's first tensor, made current for the length of the operator, and torch's stream on it.
class OnDevice {
 public:
  explicit OnDevice(const Tensor& first) : index_(first.get_device_index()) {
    STD_TORCH_CHECK(is_ours(first), "neural3d: the first tensor is not on a CUDA device");
    check_cuda(cudaGetDevice(&before_), "cudaGetDevice");
    if (before_ != index_) check_cuda(cudaSetDevice(index_), "cudaSetDevice");
    void* stream = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index_, &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }
  ~OnDevice() {
    if (before_ != index_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  cudaStream_t stream() const { return stream_; }

  template <class S>
  S* pointer(const Tensor& t) const {
    STD_TORCH_CHECK(is_ours(t) && t.get_device_index() == index_,
                    "neural3d: a tensor is not on the device of the first argument");
    return checked_pointer<S>(t);
  }
  template <class S>
  S* pointer(const std::optional<Tensor>& t) const {
    return t.has_value() ? pointer<S>(*t) : nullptr;
  }

  // Comes from torch's allocator, in the order of the stream: work space may be dropped right after the launch.
  Tensor fresh(std::initializer_list<int64_t> size, ScalarType type) const {
    std::vector<int64_t> s(size);
    try {
      Tensor t = torch::stable::empty(torch::headeronly::IntHeaderOnlyArrayRef(s.data(), s.size()), type, std::nullopt,
                                      torch::stable::Device(kDeviceType, index_));
#if defined(N3D_EMULATED)
      emulator::scramble(t.mutable_data_ptr(), size_t(t.numel()) * t.element_size());
#endif
      return t;
    } catch (const std::exception&) {
      check_cuda(cudaGetLastError(), "an earlier kernel");  // from then on nothing works any more
      out_of_memory(s, "the GPU");
    }
  }
  Tensor zeros(std::initializer_list<int64_t> size, ScalarType type) const {
    Tensor t = fresh(size, type);
    const size_t bytes = size_t(t.numel()) * t.element_size();
    if (bytes > 0) check_cuda(cudaMemsetAsync(t.mutable_data_ptr(), 0, bytes, stream_), "cudaMemsetAsync");
    return t;
  }

 private:
  int index_, before_ = -1;
  cudaStream_t stream_ = nullptr;
};

// Blocks that cover `count` items.
inline unsigned blocks_for(int64_t count, int64_t per_block) {
  const int64_t blocks = (count + per_block - 1) / per_block;
  STD_TORCH_CHECK(blocks <= 0x7fffffff, "neural3d: ", count, " items are too many for one launch");
  return unsigned(blocks);
}

// N3D_LAUNCH(kernel, grid, block, bytes of dynamic shared memory, stream, arguments...); kernels with several template
// arguments go in parentheses. An empty grid launches nothing, as N = 0 or an image without tiles must.
#if !defined(N3D_EMULATED)
#define N3D_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)    \
  do {                                                                \
    const dim3 n3d_grid(grid);                                        \
    if (n3d_grid.x == 0 || n3d_grid.y == 0 || n3d_grid.z == 0) break; \
    (kernel)<<<n3d_grid, block, shared_bytes, stream>>>(__VA_ARGS__); \
    n3d::check_cuda(cudaGetLastError(), #kernel);                     \
  } while (false)

// N3D_SHARED(name, type): shared memory of a fixed size, for instance N3D_SHARED(tile, float[16][17]). Under emulation
// each block gets its own piece of the heap, full of garbage and with fences around it.
#define N3D_SHARED(name, ...) __shared__ n3d::Same<__VA_ARGS__> name
// N3D_DYNAMIC_SHARED(type, name): a pointer to the launch's dynamic shared memory.
#define N3D_DYNAMIC_SHARED(type, name)                         \
  extern __shared__ __align__(16) unsigned char n3d_dynamic[]; \
  type* const name = reinterpret_cast<type*>(n3d_dynamic)
#endif

template <class T>
using Same = T;

}  // namespace n3d
