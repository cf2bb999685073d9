// One number that the host must know before it can go on, while the device does not wait for the host.
#pragma once

#include "launch.h"

namespace n3d {

// Sends a number to the host, in the order of the stream; work that is launched before read() runs while it travels.
class Mailbox {
 public:
  Mailbox(const OnDevice& on, const int64_t* on_device) : letter_(letter()) {
    check_cuda(cudaMemcpyAsync(letter_, on_device, sizeof(int64_t), cudaMemcpyDeviceToHost, on.stream()),
               "cudaMemcpyAsync");
    check_cuda(cudaEventCreateWithFlags(&arrived_, cudaEventDisableTiming), "cudaEventCreate");
    check_cuda(cudaEventRecord(arrived_, on.stream()), "cudaEventRecord");
  }
  ~Mailbox() { cudaEventDestroy(arrived_); }
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  int64_t read() const {
    check_cuda(cudaEventSynchronize(arrived_), "cudaEventSynchronize");
    return *letter_;
  }

 private:
  // A copy into memory that is not pinned would wait for the whole stream. Each thread pins its own eight bytes once,
  // for all devices, and keeps them: when threads end, CUDA may have been shut down already.
  static int64_t* letter() {
    static thread_local int64_t* pinned = nullptr;
    if (!pinned) {
      void* memory = nullptr;
      check_cuda(cudaHostAlloc(&memory, sizeof(int64_t), cudaHostAllocPortable), "cudaHostAlloc");
      pinned = static_cast<int64_t*>(memory);
    }
    return pinned;
  }

  int64_t* letter_;
  cudaEvent_t arrived_ = nullptr;
};

}  // namespace n3d
