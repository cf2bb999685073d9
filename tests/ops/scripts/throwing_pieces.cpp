// Pieces that throw, and a system without threads, as nothing in the library can be made to: exit status 0 when
// run_pieces does as threads.h says.
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <thread>

#include "threads.h"

std::atomic<bool> no_threads{false};

extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*begin)(void*), void* context) {
  using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const Create create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  return no_threads ? EAGAIN : create(thread, attributes, begin, context);
}

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::exit(1);
}

template <class F>
void run(int64_t count, int64_t threads, F f) {
  n3d::run_pieces(count, threads, [](void* context, int64_t piece) { (*static_cast<F*>(context))(piece); }, &f);
}

int64_t pieces_done(int64_t count, int64_t threads) {
  std::atomic<int64_t> done{0};
  run(count, threads, [&](int64_t) { ++done; });
  return done;
}

// Two pieces that wait for each other, so that the caller has one and a helper the other.
template <class Thrown>
void throw_on(bool caller) {
  std::atomic<int> met{0};
  std::atomic<bool> left{false};
  const auto self = std::this_thread::get_id();
  bool caught = false;
  try {
    run(100, 2, [&](int64_t piece) {
      if (piece > 1) return;
      ++met;
      while (met < 2) std::this_thread::yield();
      if ((std::this_thread::get_id() == self) == caller) throw Thrown();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      left = true;
    });
  } catch (const Thrown&) {
    caught = true;
  }
  require(caught, "the caller must hear of what a piece throws");
  require(left, "the other piece must have ended before");
}

struct Mistake : std::runtime_error {
  Mistake() : std::runtime_error("a mistake") {}
};

}  // namespace

int main() {
  no_threads = true;
  require(pieces_done(100, 4) == 100, "without helpers the caller must do everything");
  no_threads = false;
  require(pieces_done(100, 4) == 100, "helpers must come as soon as they can");
  for (int i = 0; i < 50; ++i) {
    throw_on<std::bad_alloc>(false);
    throw_on<Mistake>(true);
    bool caught = false;
    try {
      run(100, 4, [](int64_t) { throw Mistake(); });
    } catch (const Mistake&) {
      caught = true;
    }
    require(caught, "one of many must come through");
    require(pieces_done(100, 4) == 100, "the next loop must be whole");
  }
  no_threads = true;
  require(pieces_done(100, 64) == 100, "those that there are must do the work");
  return 0;
}
