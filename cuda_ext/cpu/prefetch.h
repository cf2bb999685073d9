// Asks for a cache line before it is needed. Static: a copy of its own for every file, because files are compiled for
// different instruction sets.
#pragma once

namespace n3d {

#if defined(_MSC_VER) && !defined(__clang__)
static inline void prefetch(const void*) {}
#else
static inline void prefetch(const void* p) { __builtin_prefetch(p); }
#endif

}  // namespace n3d
