// Kernels that are right, and the same with one mistake each: what the emulator's own tests run.
#include <string>

#include "../../cuda_ext/cuda/launch.h"
#include "../../cuda_ext/cuda/primitives.h"
#include "../../cuda_ext/cuda/warp.h"

namespace n3d {
namespace {

constexpr int kThreads = 64;

__global__ void reverse(const float* in, float* out) {
  N3D_SHARED(space, float[kThreads]);
  space[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = space[kThreads - 1 - threadIdx.x];
}

__global__ void reverse_in_dynamic_memory(const float* in, float* out) {
  N3D_DYNAMIC_SHARED(float, space);
  space[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = space[kThreads - 1 - threadIdx.x];
}

__global__ void reverse_without_barrier(const float* in, float* out) {
  N3D_SHARED(space, float[kThreads]);
  space[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = space[kThreads - 1 - threadIdx.x];
}

__global__ void reverse_warp_without_barrier(const float* in, float* out) {
  N3D_SHARED(space, float[kThreads]);
  const int last = warp_in_block() * kWarp + kWarp - 1;
  space[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = space[last - lane_in_warp()];
}

// Each block reads what the one before it wrote.
__global__ void count_on_blocks(const float* in, float* out) {
  if (threadIdx.x == 0) out[blockIdx.x] = blockIdx.x == 0 ? in[0] : out[blockIdx.x - 1] + 1.0f;
}

__global__ void add_up(const float* in, float* out) { atomicAdd(out, in[threadIdx.x]); }

__global__ void forget_to_write(const float* in, float* out) {
  N3D_SHARED(space, float[kThreads]);
  if (threadIdx.x != 5) space[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = space[threadIdx.x];
}

__global__ void read_past_the_end(const float* in, float* out) { out[threadIdx.x] = in[threadIdx.x + 1]; }
__global__ void write_before_the_start(const float* in, float* out) {
  out[int(threadIdx.x) - (blockIdx.x == 0 && threadIdx.x == 0)] = in[threadIdx.x];
}
__global__ void read_past_shared(const float* in, float* out) {
  N3D_SHARED(space, float[kThreads]);
  space[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = space[threadIdx.x + 1];
}

__global__ void read_past_dynamic_memory(const float* in, float* out) {
  N3D_DYNAMIC_SHARED(float, space);
  space[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = space[threadIdx.x + 1];
}

__global__ void leave_early(const float* in, float* out) {
  if (threadIdx.x == 3) return;
  __syncthreads();
  out[threadIdx.x] = in[threadIdx.x];
}

__global__ void wait_apart(const float* in, float* out) {
  if (threadIdx.x < 7)
    __syncthreads();
  else
    __syncthreads();
  out[threadIdx.x] = in[threadIdx.x];
}

__global__ void wait_for_one_who_left(const float* in, float* out) {
  if (lane_in_warp() == 5) return;
  out[threadIdx.x] = __shfl_xor_sync(kWholeWarp, in[threadIdx.x], 1);
}

__global__ void read_a_lane_apart(const float* in, float* out) {
  if (lane_in_warp() < 4) out[threadIdx.x] = __shfl_sync(0xfu, in[threadIdx.x], 9);
}

__global__ void wait_for_each_other(const float* in, float* out) {
  if (lane_in_warp() < 16)
    out[threadIdx.x] = __shfl_xor_sync(kWholeWarp, in[threadIdx.x], 1);
  else
    __syncthreads();
}

__global__ void take_too_much(const float* in, float* out) {
  N3D_SHARED(space, float[13000]);
  space[threadIdx.x] = in[threadIdx.x];
  out[threadIdx.x] = space[threadIdx.x];
}

// A row of 64 numbers for each of the ways in which threads speak to each other.
__global__ void speak(const float* in, float* out) {
  const int i = int(threadIdx.x), lane = lane_in_warp();
  const float mine = in[i];
  float* row = out + i;
  const auto say = [&](float value) { *row = value, row += kThreads; };
  say(__shfl_sync(kWholeWarp, mine, 3));
  say(__shfl_sync(kWholeWarp, mine, 3, 8));
  say(__shfl_up_sync(kWholeWarp, mine, 2));
  say(__shfl_down_sync(kWholeWarp, mine, 2, 16));
  say(__shfl_xor_sync(kWholeWarp, mine, 5));
  say(float(__ballot_sync(kWholeWarp, lane % 16 == 1)));
  say(float(__any_sync(kWholeWarp, i == 40)));
  say(float(__all_sync(kWholeWarp, i < 40)));
  say(float(__match_any_sync(kWholeWarp, lane % 16)));
  say(float(__syncthreads_count(i % 3 == 0)));
  say(float(__syncthreads_or(i == 63)));
  say(float(__syncthreads_and(i < 63)));
  float many[kWarp];
  for (int k = 0; k < kWarp; ++k) many[k] = mine * float(k);
  say(warp_sums(many));
  say(warp_sum(mine));
  say(warp_max(mine) - warp_min(mine));
}

}  // namespace

static Tensor run(Tensor numbers, std::string name, int64_t blocks, int64_t rows) {
  const OnDevice on(numbers);
  Tensor out = on.zeros({rows, kThreads}, ScalarType::Float);
  const float* from = on.pointer<float>(numbers);
  float* to = on.pointer<float>(out);
  bool found = false;
#define N3D_RUN(kernel)                                                                                        \
  if (name == #kernel) {                                                                                       \
    found = true;                                                                                              \
    N3D_LAUNCH(kernel, unsigned(blocks), unsigned(kThreads), kThreads * sizeof(float), on.stream(), from, to); \
  }
  N3D_RUN(reverse)
  N3D_RUN(reverse_in_dynamic_memory)
  N3D_RUN(reverse_without_barrier)
  N3D_RUN(reverse_warp_without_barrier)
  N3D_RUN(count_on_blocks)
  N3D_RUN(add_up)
  N3D_RUN(forget_to_write)
  N3D_RUN(read_past_the_end)
  N3D_RUN(write_before_the_start)
  N3D_RUN(read_past_shared)
  N3D_RUN(read_past_dynamic_memory)
  N3D_RUN(leave_early)
  N3D_RUN(wait_apart)
  N3D_RUN(wait_for_one_who_left)
  N3D_RUN(read_a_lane_apart)
  N3D_RUN(wait_for_each_other)
  N3D_RUN(take_too_much)
  N3D_RUN(speak)
  STD_TORCH_CHECK(found, "neural3d: there is no kernel ", name);
  return out;
}

static std::tuple<Tensor, Tensor, Tensor, Tensor> sort_and_sum(Tensor keys, int64_t bits) {
  const OnDevice on(keys);
  const int64_t n = keys.size(0);
  Tensor sorted = on.fresh({n}, ScalarType::Int), order = on.fresh({2, n}, ScalarType::Int);
  Tensor sums = on.fresh({n}, ScalarType::Int), total = on.fresh({1}, ScalarType::Long);
  const auto numbers = [&](const Tensor& t) { return reinterpret_cast<uint32_t*>(on.pointer<int32_t>(t)); };
  int32_t* index = on.pointer<int32_t>(order);
  for (int64_t i = 0; i < n; ++i) index[i] = int32_t(i);
  sort_pairs(on, numbers(keys), numbers(sorted), index, index + n, n, 0, int(bits));
  exclusive_sum(on, numbers(keys), numbers(sums), n);
  total_sum(on, numbers(keys), on.pointer<int64_t>(total), n);
  return std::make_tuple(sorted, order, sums, total);
}

}  // namespace n3d

STABLE_TORCH_LIBRARY(neural3d, m) {
  m.def("run(Tensor numbers, str kernel, int blocks, int rows) -> Tensor");
  m.def("sort_and_sum(Tensor keys, int bits) -> (Tensor, Tensor, Tensor, Tensor)");
}
STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("run", TORCH_BOX(&n3d::run));
  m.impl("sort_and_sum", TORCH_BOX(&n3d::sort_and_sum));
}
