// How fast this machine's multiply-adders are right now: the limit that benchmarks compare the blend loops with.
#include "../kernels.h"
#include "../simd.h"

namespace n3d {
namespace N3D_ISA {

// Twelve independent chains hide the latency of the two multiply-adders. Returns the floating-point operations done;
// `sink` keeps the compiler from dropping them.
double peak(int64_t rounds, float* sink) {
  constexpr int chains = 12;
  VectorF chain[chains];
  for (int i = 0; i < chains; ++i) chain[i] = VectorF(float(i));
  const VectorF a(0.999f), b(1e-3f);
  for (int64_t r = 0; r < rounds; ++r)
    for (int i = 0; i < chains; ++i) chain[i] = fma(chain[i], a, b);
  VectorF total(0.0f);
  for (int i = 0; i < chains; ++i) total = total + chain[i];
  *sink = sum(total);
  return double(rounds) * chains * VectorF::lanes * 2;
}

}  // namespace N3D_ISA
}  // namespace n3d
