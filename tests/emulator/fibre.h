// Threads that take turns on one thread of the system: each has a stack, and runs until it gives the turn back.
#pragma once

#include <stddef.h>
#include <sys/mman.h>

#include <stdexcept>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define N3D_ASAN(...) __VA_ARGS__
#else
#define N3D_ASAN(...)
#endif

#if defined(__x86_64__)
extern "C" void n3d_switch(void** from, void* to);
#else
#include <ucontext.h>
#endif

namespace emulator {

constexpr size_t kStack = 128 << 10, kGuard = 4 << 10;

// Stacks with a page below them that nobody may touch; the one given back last is handed out first, so that a kernel
// without barriers runs all its threads on one.
class Stacks {
 public:
  char* take() {
    if (free_.empty()) {
      void* memory = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory == MAP_FAILED) throw std::runtime_error("neural3d emulator: no memory for a stack");
      mprotect(memory, kGuard, PROT_NONE);
      return static_cast<char*>(memory);
    }
    char* stack = free_.back();
    free_.pop_back();
    return stack;
  }
  // Frames that never returned leave their marks on it.
  void give(char* stack) {
    N3D_ASAN(__asan_unpoison_memory_region(stack + kGuard, kStack - kGuard);)
    free_.push_back(stack);
  }

 private:
  std::vector<char*> free_;
};

// A side of a switch: the scheduler, or one thread of the block.
struct Side {
  char* stack = nullptr;  // null: the system's own
#if defined(__x86_64__)
  void* top = nullptr;
#else
  ucontext_t context;
#endif
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  const void* bottom = nullptr;
  size_t size = 0;
#endif
};

// Prepares `side` so that the first switch to it calls entry(), which must never return.
inline void prepare(Side& side, void (*entry)()) {
#if defined(__x86_64__)
  // n3d_switch pops six registers and returns to entry; a function finds the stack 8 bytes off a multiple of 16.
  void** top = reinterpret_cast<void**>(side.stack + kStack) - 2;
  *top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  side.top = top;
#else
  getcontext(&side.context);
  side.context.uc_stack.ss_sp = side.stack + kGuard;
  side.context.uc_stack.ss_size = kStack - kGuard;
  makecontext(&side.context, entry, 0);
#endif
  N3D_ASAN(side.bottom = side.stack + kGuard; side.size = kStack - kGuard; side.fake_stack = nullptr;)
}

// Gives the turn to `to`; returns when somebody gives it back to `from`. `last`: from will not run again.
inline void give_turn(Side& from, Side& to, bool last = false) {
  N3D_ASAN(__sanitizer_start_switch_fiber(last ? nullptr : &from.fake_stack, to.bottom, to.size);)
#if defined(__x86_64__)
  n3d_switch(&from.top, to.top);
#else
  swapcontext(&from.context, &to.context);
#endif
  N3D_ASAN(__sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);)
}

// The first thing that entry() does: takes note of the stack that it was called from.
inline void arrive(Side& from) { N3D_ASAN(__sanitizer_finish_switch_fiber(nullptr, &from.bottom, &from.size);) }

}  // namespace emulator
