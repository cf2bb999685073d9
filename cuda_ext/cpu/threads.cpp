#include "threads.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "denormals.h"

namespace n3d {
namespace {

constexpr int64_t kMaxHelpers = 255;
// How long a helper that has just worked looks for more before it sleeps: waking it costs about as much.
constexpr std::chrono::microseconds kLinger{60};

struct Job {
  int64_t count, helpers;
  void (*run)(void*, int64_t);
  void* context;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error{};  // the first one; for the caller, once everybody has left

  // Nothing leaves a helper's stack, nor the caller's while helpers still look at this job.
  void work() noexcept {
    const DenormalMode flush(true);
    try {
      for (int64_t piece = next.fetch_add(1); piece < count; piece = next.fetch_add(1)) run(context, piece);
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
      next.store(count);  // nobody begins another piece
    }
  }
};

// Helpers are detached and the pool is never destroyed: a library cannot know when the last thread is done with it.
// After a fork there are no helpers, and the caller does everything.
class Pool {
 public:
  // False when another thread has the pool; the caller then works alone.
  bool offer(Job& job) {
    {
      std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
      if (!lock || job_) return false;
      while (started_ < job.helpers && start()) {
      }
      job_ = &job;
      joined_ = 0;
      generation_.fetch_add(1, std::memory_order_release);
    }
    if (sleeping_.load(std::memory_order_acquire) > 0) wake_.notify_all();
    job.work();
    std::unique_lock<std::mutex> lock(mutex_);
    job_ = nullptr;
    done_.wait(lock, [&] { return working_ == 0; });
    return true;
  }

 private:
  // False where the system has no thread left: those that there are do the work, and the next loop asks again.
  bool start() {
    try {
      std::thread([this] { help(); }).detach();
    } catch (const std::system_error&) {
      return false;
    }
    ++started_;
    return true;
  }

  void help() {
    uint64_t seen = 0;
    for (;;) {
      linger(seen);
      std::unique_lock<std::mutex> lock(mutex_);
      while (generation_.load(std::memory_order_relaxed) == seen) {
        ++sleeping_;
        wake_.wait(lock);
        --sleeping_;
      }
      seen = generation_.load(std::memory_order_relaxed);
      if (!job_ || joined_ >= job_->helpers) continue;
      Job* job = job_;
      ++joined_;
      ++working_;
      lock.unlock();
      job->work();
      lock.lock();
      if (--working_ == 0) done_.notify_all();
    }
  }

  void linger(uint64_t seen) const {
    const auto end = std::chrono::steady_clock::now() + kLinger;
    while (generation_.load(std::memory_order_acquire) == seen && std::chrono::steady_clock::now() < end) {
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int64_t> sleeping_{0};
  Job* job_ = nullptr;
  int64_t joined_ = 0, working_ = 0, started_ = 0;
};

Pool& pool() {
  static Pool* instance = new Pool;
  return *instance;
}

}  // namespace

void run_pieces(int64_t count, int64_t threads, void (*run)(void*, int64_t), void* context) {
  const int64_t wanted = (threads < count ? threads : count) - 1;
  Job job{count, wanted < kMaxHelpers ? wanted : kMaxHelpers, run, context};
  if (job.helpers < 1 || !pool().offer(job)) job.work();
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace n3d
