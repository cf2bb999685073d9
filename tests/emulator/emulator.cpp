// Runs the blocks of a launch one after the other, and the threads of a block in turns: each runs until it waits for
// others. In which order they get their turns can be chosen; a kernel whose result depends on it has a race.
#include <cuda_runtime.h>
#include <stdio.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <sstream>
#include <string>

#include "fibre.h"

#if defined(__x86_64__)
asm(R"(
.text
.globl n3d_switch
.hidden n3d_switch
.type n3d_switch, @function
n3d_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size n3d_switch, .-n3d_switch
)");
#endif

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulator {
namespace {

constexpr size_t kShared = 48 << 10;  // bytes that a block has on every GPU without asking for more
constexpr int kLanes = 32;

enum class State { fresh, ready, at_block, at_warp, done };

struct Thread {
  Side side;
  State state;
  uint3 index;
  Site site;
  unsigned mask;             // at_warp: the lanes that it waits for
  uint64_t bits, published;  // what it says, and what it said when all had arrived
  int vote;
};

struct Launch {
  const char* kernel;
  Body body;
  const void* arguments;
  size_t dynamic_bytes;
};

struct Piece {
  const void* site;
  std::unique_ptr<char[]> memory;
};

enum class Order { ascending, descending, shuffled };

// One launch at a time: the built-in variables are plain globals.
std::mutex mutex;
Order order = Order::ascending;
std::mt19937 dice;
Stacks stacks;
Side scheduler;
std::vector<Thread> threads;
int current = -1;  // the thread that has the turn, if any
Launch now;
std::vector<Piece> pieces;
std::unique_ptr<char[]> dynamic;
size_t shared_bytes;
std::string failure;
int votes;
std::atomic<int64_t> waits{0};

std::string text(uint3 i) {
  std::ostringstream s;
  s << "(" << i.x << ", " << i.y << ", " << i.z << ")";
  return s.str();
}

std::string where(const Thread& t) {
  return "kernel " + std::string(now.kernel) + ", block " + text(blockIdx) + ", thread " + text(t.index);
}

std::string text(Site site) {
  return std::string(site.what) + " (" + site.file + ":" + std::to_string(site.line) + ")";
}

bool same(Site a, Site b) { return a.line == b.line && strcmp(a.file, b.file) == 0 && strcmp(a.what, b.what) == 0; }

void complain(const Thread& t, const std::string& what) {
  if (failure.empty()) failure = "neural3d emulator: " + where(t) + " " + what;
}

// What the sanitizers find ends the process; this is its last word.
[[maybe_unused]] void say_where() {
  if (current >= 0) fprintf(stderr, "neural3d emulator: in %s\n", where(threads[size_t(current)]).c_str());
}

void entry() {
  arrive(scheduler);
  now.body(now.arguments);
  Thread& self = threads[size_t(current)];
  self.state = State::done;
  give_turn(self.side, scheduler, true);
}

// Lets a thread run until it waits or is done.
void resume(int i) {
  Thread& t = threads[size_t(i)];
  if (t.state == State::fresh) {
    t.side.stack = stacks.take();
    prepare(t.side, entry);
  }
  t.state = State::ready;
  current = i;
  threadIdx = t.index;
  give_turn(scheduler, t.side);
  current = -1;
  if (t.state != State::done) return;
  stacks.give(t.side.stack);
  t.side.stack = nullptr;
}

Thread& wait(State state, Site site) {
  Thread& self = threads[size_t(current)];
  self.state = state;
  self.site = site;
  give_turn(self.side, scheduler);
  return self;
}

// Whether all lanes that the thread waits for have arrived; complains where they never will.
bool complete(const Thread& t, int first) {
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(t.mask >> lane & 1)) continue;
    const bool exists = first + lane < int(threads.size());
    const Thread* other = exists ? &threads[size_t(first + lane)] : nullptr;
    if (!exists || other->state == State::done) {
      complain(t, "waits at " + text(t.site) + " for lane " + std::to_string(lane) +
                      (exists ? ", which has left the kernel" : ", which the block does not have"));
      return false;
    }
    if (other->state != State::at_warp || other->mask != t.mask || !same(other->site, t.site)) return false;
  }
  return true;
}

// Lets the lanes go on whose partners have all arrived.
bool release_warp(int first) {
  bool any = false;
  const int end = std::min(first + kLanes, int(threads.size()));
  for (int i = first; i < end; ++i) {
    const Thread& t = threads[size_t(i)];
    if (t.state != State::at_warp || !complete(t, first)) continue;
    const unsigned mask = t.mask;
    for (int lane = 0; lane < kLanes; ++lane)
      if (mask >> lane & 1) {
        Thread& member = threads[size_t(first + lane)];
        member.published = member.bits;
        member.state = State::ready;
      }
    any = true;
  }
  return any;
}

bool can_run(const Thread& t) { return t.state == State::fresh || t.state == State::ready; }

std::vector<int> turns(int count) {
  std::vector<int> t(static_cast<size_t>(count));
  std::iota(t.begin(), t.end(), 0);
  if (order == Order::descending) std::reverse(t.begin(), t.end());
  if (order == Order::shuffled) std::shuffle(t.begin(), t.end(), dice);
  return t;
}

// Runs a warp until all its threads wait for the block or are done; shuffled warps take shorter turns, so that they
// meet each other halfway.
bool run_warp(int warp) {
  const int first = warp * kLanes, count = std::min(kLanes, int(threads.size()) - first);
  bool any = false;
  for (bool more = true; more && failure.empty();) {
    for (int lane : turns(count))
      if (can_run(threads[size_t(first + lane)]) && failure.empty()) resume(first + lane), any = true;
    more = release_warp(first) && order != Order::shuffled;
  }
  return any;
}

// All threads wait or are done: lets them go on, or complains about the first that cannot.
void release_block() {
  votes = 0;
  const Thread* waiting = nullptr;
  for (const Thread& t : threads) {
    if (t.state == State::at_warp) return complain(t, "waits for ever at " + text(t.site) + " for lanes elsewhere");
    if (t.state == State::at_block && !waiting) waiting = &t;
  }
  for (const Thread& t : threads) {
    if (t.state == State::done) return complain(t, "has left the kernel while others wait at " + text(waiting->site));
    if (!same(t.site, waiting->site))
      return complain(t, "waits at " + text(t.site) + " while others wait at " + text(waiting->site));
    votes += t.vote != 0;
  }
  for (Thread& t : threads) t.state = State::ready;
}

void leave_block() {
  for (Thread& t : threads)
    if (t.side.stack) stacks.give(t.side.stack), t.side.stack = nullptr;
  pieces.clear();
  dynamic.reset();
}

void run_block(uint3 block) {
  blockIdx = block;
  shared_bytes = now.dynamic_bytes;
  dynamic.reset(new char[now.dynamic_bytes]);
  scramble(dynamic.get(), now.dynamic_bytes);
  for (Thread& t : threads) t.state = State::fresh;
  const int warps = (int(threads.size()) + kLanes - 1) / kLanes;
  const auto done = [](const Thread& t) { return t.state == State::done; };
  while (failure.empty() && !std::all_of(threads.begin(), threads.end(), done)) {
    bool any = false;
    for (int warp : turns(warps)) any |= run_warp(warp);
    if (!any && failure.empty()) release_block();
  }
  leave_block();
  if (!failure.empty()) throw std::runtime_error(failure);
}

void check_launch(dim3 grid, dim3 block) {
  const uint64_t count = uint64_t(block.x) * block.y * block.z;
  const bool fits = count >= 1 && count <= 1024 && block.z <= 64 && grid.x <= 0x7fffffffu && grid.y <= 65535 &&
                    grid.z <= 65535 && now.dynamic_bytes <= kShared;
  if (!fits)
    throw std::runtime_error("neural3d emulator: kernel " + std::string(now.kernel) + ": no GPU takes this launch");
}

uint3 unpack(uint64_t i, dim3 size) {
  return {unsigned(i % size.x), unsigned(i / size.x % size.y), unsigned(i / size.x / size.y)};
}

}  // namespace

void launch(const char* kernel, dim3 grid, dim3 block, size_t bytes, Body body, const void* arguments) {
  const uint64_t blocks = uint64_t(grid.x) * grid.y * grid.z;
  if (blocks == 0) return;
  const std::lock_guard<std::mutex> alone(mutex);
  N3D_ASAN(__sanitizer_set_death_callback(say_where);)
  now = {kernel, body, arguments, bytes};
  failure.clear();
  dice.seed(1);
  check_launch(grid, block);
  gridDim = grid, blockDim = block;
  threads.assign(size_t(block.x) * block.y * block.z, Thread{});
  for (size_t i = 0; i < threads.size(); ++i) threads[i].index = unpack(i, block);
  // An odd step meets every block of a power of two once; the rest of the round is left out.
  uint64_t round = 1;
  while (round < blocks) round *= 2;
  for (uint64_t i = 0; i < round; ++i) {
    const uint64_t at = order == Order::shuffled ? (i * 0x9e3779b97f4a7c15ull + 12345) % round : i;
    if (at < blocks) run_block(unpack(order == Order::descending ? blocks - 1 - at : at, grid));
  }
}

void* block_memory(const void* site, size_t bytes) {
  for (const Piece& piece : pieces)
    if (piece.site == site) return piece.memory.get();
  shared_bytes += bytes;
  if (shared_bytes > kShared) fail("takes more shared memory than a block has");
  pieces.push_back({site, std::unique_ptr<char[]>(new char[bytes])});
  scramble(pieces.back().memory.get(), bytes);
  return pieces.back().memory.get();
}

void* dynamic_memory() { return dynamic.get(); }

void scramble(void* memory, size_t bytes) {
  if (bytes > 0) memset(memory, 0xff, bytes);
}

int sync_block(Site site, int vote) {
  threads[size_t(current)].vote = vote;
  wait(State::at_block, site);
  return votes;
}

void sync_warp(Site site, unsigned mask) { publish(site, mask, 0); }

void publish(Site site, unsigned mask, uint64_t bits) {
  Thread& self = threads[size_t(current)];
  if (!(mask >> lane() & 1)) fail((text(site) + " is called by a lane that its mask does not name").c_str());
  self.mask = mask;
  self.bits = bits;
  wait(State::at_warp, site);
}

uint64_t published(Site site, unsigned mask, int lane) {
  if (lane < 0 || lane >= kLanes || !(mask >> lane & 1))
    fail((text(site) + " reads lane " + std::to_string(lane) + ", which its mask does not name").c_str());
  return threads[size_t(current / kLanes * kLanes + lane)].published;
}

unsigned active_lanes() { return 1u << lane(); }

void fail(const char* what) {
  complain(threads[size_t(current)], what);
  for (;;) give_turn(threads[size_t(current)].side, scheduler);
}

int lane() { return current % kLanes; }

void note_host_wait() { ++waits; }

int64_t host_waits() { return waits; }

void set_order(const std::string& name) {
  static const std::map<std::string, Order> names = {
      {"ascending", Order::ascending}, {"descending", Order::descending}, {"shuffled", Order::shuffled}};
  const auto found = names.find(name);
  if (found == names.end()) throw std::runtime_error("neural3d emulator: expected ascending, descending or shuffled");
  const std::lock_guard<std::mutex> alone(mutex);
  order = found->second;
}

}  // namespace emulator

extern "C" AOTITorchError aoti_torch_get_current_cuda_stream(int32_t, void** stream) {
  *stream = nullptr;
  return 0;
}

STABLE_TORCH_LIBRARY(emulator, m) {
  m.def("set_order(str name) -> ()");
  m.def("host_waits() -> int");
}

// An operator without tensors has no device to choose it by.
#define N3D_ANY_DEVICE(ns, m) _STABLE_TORCH_LIBRARY_IMPL(ns, CompositeExplicitAutograd, m, C10_UID)
N3D_ANY_DEVICE(N3D_EMULATED, m) {
  m.impl("set_order", TORCH_BOX(&emulator::set_order));
  m.impl("host_waits", TORCH_BOX(&emulator::host_waits));
}
