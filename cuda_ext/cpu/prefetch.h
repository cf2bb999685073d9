// Asks for a cache line before it is needed. Inlined always: GCC sees a function without effects in it, and drops calls
// of it that it has not inlined. (Rendering took 1.5 times as long.) Static: files are compiled for different
// instruction sets.
#pragma once

namespace n3d {

#if defined(_MSC_VER) && !defined(__clang__)
static __forceinline void prefetch(const void*) {}
static __forceinline void prefetch_write(const void*) {}
#else
static inline __attribute__((always_inline)) void prefetch(const void* p) { __builtin_prefetch(p); }
static inline __attribute__((always_inline)) void prefetch_write(const void* p) { __builtin_prefetch(p, 1); }
#endif

}  // namespace n3d
