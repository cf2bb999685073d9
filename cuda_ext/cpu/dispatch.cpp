// Chooses the instruction set once, when the first loop is needed: NEURAL3D_SIMD=avx512|avx2|baseline, or the best one.
#if defined(__linux__)
#include <malloc.h>
#endif

#include <cstdlib>
#include <string>

#include "driver.h"

namespace n3d {

#define N3D_TABLES(isa)                     \
  namespace isa {                           \
  const Kernels<float>* float_table();      \
  const Kernels<double>* double_table();    \
  double peak(int64_t rounds, float* sink); \
  }
N3D_TABLES(baseline)
#if defined(N3D_X86)
N3D_TABLES(avx2)
N3D_TABLES(avx512)
#endif

namespace {

struct Choice {
  const char* name;
  const Kernels<float>* single;
  const Kernels<double>* precise;
  PeakLoop peak;
};

#if defined(N3D_X86)
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
bool os_saves(unsigned long long mask) {
  int r[4];
  __cpuid(r, 1);
  return (r[2] & (1 << 27)) && (_xgetbv(0) & mask) == mask;
}
bool has_avx2() {
  int r[4], f[4];
  __cpuidex(r, 7, 0);
  __cpuid(f, 1);
  return os_saves(0x6) && (r[1] & (1 << 5)) && (f[2] & (1 << 12));
}
bool has_avx512() {
  int r[4];
  __cpuidex(r, 7, 0);
  return has_avx2() && os_saves(0xe6) && (r[1] & (1 << 16)) && (r[1] & (1 << 17)) && (r[1] & (1 << 30)) &&
         (r[1] & (1 << 31));
}
#else
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif
#else
bool has_avx2() { return false; }
bool has_avx512() { return false; }
#endif

Choice named(const std::string& name) {
#if defined(N3D_X86)
  if (name == "avx512" && has_avx512()) return {"avx512", avx512::float_table(), avx512::double_table(), avx512::peak};
  if (name == "avx2" && has_avx2()) return {"avx2", avx2::float_table(), avx2::double_table(), avx2::peak};
#endif
  STD_TORCH_CHECK(name == "baseline",
                  "NEURAL3D_SIMD: expected avx512, avx2 or baseline as far as this processor has it, got ", name);
  return {"baseline", baseline::float_table(), baseline::double_table(), baseline::peak};
}

Choice& choice() {
  static Choice current = [] {
    const char* forced = std::getenv("NEURAL3D_SIMD");
    if (forced && *forced) return named(forced);
    return named(has_avx512() ? "avx512" : has_avx2() ? "avx2" : "baseline");
  }();
  return current;
}

}  // namespace

template <>
const Kernels<float>& kernels<float>() {
  return *choice().single;
}
template <>
const Kernels<double>& kernels<double>() {
  return *choice().precise;
}

PeakLoop peak_loop() { return choice().peak; }

// Freed blocks stay with the process: a training step frees and takes the same sizes again, and pages that went back to
// the system are cleared anew each time. For the whole process, so only programs that train call it.
static void keep_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
}

static std::string simd() { return choice().name; }
static void set_simd(std::string name) { choice() = named(name); }

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CompositeExplicitAutograd, m) {
  m.impl("simd", TORCH_BOX(&n3d::simd));
  m.impl("keep_memory", TORCH_BOX(&n3d::keep_memory));
  m.impl("set_simd", TORCH_BOX(&n3d::set_simd));
}
