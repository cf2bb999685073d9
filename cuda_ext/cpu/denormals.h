// Denormal floats (below 1e-38) as zero while a loop runs: they mean nothing here, and one such operand costs Intel's
// multipliers a hundred cycles. The mode is the thread's own, so it is put back for whoever called.
#pragma once

#include <stdint.h>

#if defined(N3D_X86)
#include <xmmintrin.h>
#endif

namespace n3d {

class FlushDenormals {
#if defined(N3D_X86)
 public:
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | kFlush); }
  ~FlushDenormals() { _mm_setcsr((_mm_getcsr() & ~kFlush) | (before_ & kFlush)); }

 private:
  static constexpr uint32_t kFlush = 0x8040;  // results and operands
  uint32_t before_;
#elif defined(__aarch64__) && defined(__GNUC__)
 public:
  FlushDenormals() : before_(mode()) { set_mode(before_ | kFlush); }
  ~FlushDenormals() { set_mode(before_); }

 private:
  static constexpr uint64_t kFlush = uint64_t(1) << 24;
  static uint64_t mode() {
    uint64_t value;
    __asm__ volatile("mrs %0, fpcr" : "=r"(value));
    return value;
  }
  static void set_mode(uint64_t value) { __asm__ volatile("msr fpcr, %0" ::"r"(value)); }
  uint64_t before_;
#else
 public:
  FlushDenormals() {}
#endif
 public:
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;
};

}  // namespace n3d
