// Results below 1e-38 become zero while a loop runs: they mean nothing here, and each costs Intel's multipliers a
// hundred cycles (other processors do not mind). The mode is the thread's own, so it is put back for whoever called.
#pragma once

#include <stdint.h>

#if defined(N3D_X86)
#include <xmmintrin.h>
#endif

namespace n3d {

class FlushDenormals {
 public:
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;
#if defined(N3D_X86)
  FlushDenormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | _MM_FLUSH_ZERO_ON); }
  ~FlushDenormals() { _mm_setcsr((_mm_getcsr() & ~kMode) | (before_ & kMode)); }

 private:
  static constexpr uint32_t kMode = _MM_FLUSH_ZERO_MASK;
  uint32_t before_;
#else
  FlushDenormals() {}
  ~FlushDenormals() {}
#endif
};

}  // namespace n3d
