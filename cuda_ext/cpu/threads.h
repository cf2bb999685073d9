// Threads that share a loop. The caller works too and never waits for a helper that has not begun: on a busy machine,
// where a barrier would wait for the scheduler, it simply does the work itself. Results do not depend on who does what.
#pragma once

#include <stdint.h>

namespace n3d {

// Calls run(context, piece) for pieces 0 .. count - 1, on at most `threads` threads including this one. Where a
// piece throws, no further one begins, and the first exception is thrown to the caller when all threads have left.
void run_pieces(int64_t count, int64_t threads, void (*run)(void* context, int64_t piece), void* context);

}  // namespace n3d
