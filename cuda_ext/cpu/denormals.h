// Results below 1e-38 become zero while a loop runs: they mean nothing here, and each costs Intel's multipliers a
// hundred cycles (other processors do not mind). The mode is the thread's own, so it is put back for whoever called.
#pragma once

#include <stdint.h>

#if defined(N3D_X86)
#include <xmmintrin.h>
#endif

namespace n3d {

class DenormalMode {
 public:
  DenormalMode(const DenormalMode&) = delete;
  DenormalMode& operator=(const DenormalMode&) = delete;
#if defined(N3D_X86)
  explicit DenormalMode(bool flush) : before_(_mm_getcsr()) {
    _mm_setcsr((before_ & ~kMode) | (flush ? _MM_FLUSH_ZERO_ON : _MM_FLUSH_ZERO_OFF));
  }
  ~DenormalMode() { _mm_setcsr((_mm_getcsr() & ~kMode) | (before_ & kMode)); }

 private:
  static constexpr uint32_t kMode = _MM_FLUSH_ZERO_MASK;
  uint32_t before_;
#else
  explicit DenormalMode(bool) {}
  ~DenormalMode() {}
#endif
};

}  // namespace n3d
