// What a .cu file sees of CUDA when g++ compiles it: the words of the language, the built-in variables, the functions
// of the device, and the few calls of the runtime that the drivers make. emulator.cpp runs the threads.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <stdexcept>
#include <tuple>
#include <type_traits>

#if !defined(N3D_EMULATED)
#error "compile with -DN3D_EMULATED"
#endif

#define __host__
#define __device__
#define __global__
#define __constant__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

#include "vector_types.h"

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

namespace emulator {

// Where in the sources a thread waits; threads that wait for each other must wait at the same place.
struct Site {
  const char* what;
  const char* file;
  int line;
};

using Body = void (*)(const void* arguments);
void launch(const char* kernel, dim3 grid, dim3 block, size_t shared_bytes, Body body, const void* arguments);
void* block_memory(const void* site, size_t bytes);     // the block's own memory of a N3D_SHARED
void* dynamic_memory();                                 // the block's dynamic shared memory
void scramble(void* memory, size_t bytes);              // fills fresh memory with what nobody expects: NaN, or -1
int sync_block(Site site, int vote);                    // number of threads whose vote was not 0
void sync_warp(Site site, unsigned mask);               // waits for the lanes of the mask
void publish(Site site, unsigned mask, uint64_t bits);  // the same, and makes 64 bits of each lane known
uint64_t published(Site site, unsigned mask, int lane);
unsigned active_lanes();
[[noreturn]] void fail(const char* what);  // ends the launch with an error that names kernel, block and thread
int lane();
void note_host_wait();  // the host has waited for the device

template <class... P, class... A>
void launch_kernel(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, void* stream,
                   const A&... arguments) {
  struct Call {
    void (*kernel)(P...);
    std::tuple<std::decay_t<P>...> arguments;
  } call{kernel, {arguments...}};
  launch(
      name, grid, block, shared_bytes,
      [](const void* c) {
        const Call& call = *static_cast<const Call*>(c);
        std::apply(call.kernel, call.arguments);
      },
      &call);
}

template <class T, class S>
T& shared_variable(const S& site) {
  return *static_cast<T*>(block_memory(&site, sizeof(T)));
}

template <class T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <class T>
T from_bits(uint64_t bits) {
  T value;
  memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace emulator

#define N3D_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  emulator::launch_kernel(#kernel, kernel, grid, block, shared_bytes, stream, ##__VA_ARGS__)
// The address of the static is what tells one variable from another; templates get one each.
#define N3D_SHARED(name, ...)         \
  static const char name##_site = {}; \
  auto& name = emulator::shared_variable<n3d::Same<__VA_ARGS__>>(name##_site)
#define N3D_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(emulator::dynamic_memory())

#include "device_functions.h"
#include "runtime_calls.h"
