// Asks for a cache line before it is needed. Inlined always: GCC sees a function without effects in it, and drops calls
// of it that it has not inlined. (Rendering took 1.5 times as long.) Static: files are compiled for different
// instruction sets.
#pragma once

namespace n3d {

#if defined(_MSC_VER) && !defined(__clang__)
static __forceinline void prefetch(const void*) {}
#else
static inline __attribute__((always_inline)) void prefetch(const void* p) { __builtin_prefetch(p); }
#endif

}  // namespace n3d
