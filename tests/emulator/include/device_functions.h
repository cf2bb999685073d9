// The functions of CUDA's device that the kernels call. What threads say to each other waits as it does on the chip;
// every waiting call passes the place it was made at, so that a divergent barrier is found.
#pragma once

#define N3D_SITE_PARAMETERS const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(N3D_SITE_PARAMETERS) { emulator::sync_block({"__syncthreads", file, line}, 0); }
inline int __syncthreads_count(int vote, N3D_SITE_PARAMETERS) {
  return emulator::sync_block({"__syncthreads_count", file, line}, vote);
}
inline int __syncthreads_or(int vote, N3D_SITE_PARAMETERS) {
  return emulator::sync_block({"__syncthreads_or", file, line}, vote) > 0;
}
inline int __syncthreads_and(int vote, N3D_SITE_PARAMETERS) {
  return emulator::sync_block({"__syncthreads_and", file, line}, !vote) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, N3D_SITE_PARAMETERS) {
  emulator::sync_warp({"__syncwarp", file, line}, mask);
}
inline unsigned __activemask() { return emulator::active_lanes(); }

template <class T>
T n3d_from_lane(emulator::Site site, unsigned mask, T value, int source) {
  emulator::publish(site, mask, emulator::to_bits(value));
  return emulator::from_bits<T>(emulator::published(site, mask, source));
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, N3D_SITE_PARAMETERS) {
  const int first = emulator::lane() / width * width;
  return n3d_from_lane({"__shfl_sync", file, line}, mask, value, first + (source & (width - 1)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, N3D_SITE_PARAMETERS) {
  const int lane = emulator::lane(), source = lane ^ bits, end = lane / width * width + width;
  return n3d_from_lane({"__shfl_xor_sync", file, line}, mask, value, source < end ? source : lane);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, N3D_SITE_PARAMETERS) {
  const int lane = emulator::lane(), source = lane - int(delta), first = lane / width * width;
  return n3d_from_lane({"__shfl_up_sync", file, line}, mask, value, source >= first ? source : lane);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, N3D_SITE_PARAMETERS) {
  const int lane = emulator::lane(), source = lane + int(delta), end = lane / width * width + width;
  return n3d_from_lane({"__shfl_down_sync", file, line}, mask, value, source < end ? source : lane);
}

// The lanes of the mask for which f(what the lane said) holds.
template <class F>
unsigned n3d_lanes_where(emulator::Site site, unsigned mask, uint64_t bits, const F& f) {
  emulator::publish(site, mask, bits);
  unsigned lanes = 0;
  for (int lane = 0; lane < 32; ++lane)
    if ((mask >> lane & 1) && f(emulator::published(site, mask, lane))) lanes |= 1u << lane;
  return lanes;
}
inline unsigned __ballot_sync(unsigned mask, int vote, N3D_SITE_PARAMETERS) {
  return n3d_lanes_where({"__ballot_sync", file, line}, mask, vote != 0, [](uint64_t said) { return said != 0; });
}
inline int __any_sync(unsigned mask, int vote, N3D_SITE_PARAMETERS) {
  return __ballot_sync(mask, vote, file, line) != 0;
}
inline int __all_sync(unsigned mask, int vote, N3D_SITE_PARAMETERS) {
  return __ballot_sync(mask, vote, file, line) == mask;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, N3D_SITE_PARAMETERS) {
  const uint64_t mine = emulator::to_bits(value);
  return n3d_lanes_where({"__match_any_sync", file, line}, mask, mine, [mine](uint64_t said) { return said == mine; });
}

// Threads switch only where they wait, so a plain change is atomic.
template <class T, class F>
T n3d_change(T* place, const F& f) {
  const T old = *place;
  *place = f(old);
  return old;
}
#define N3D_ATOMIC(name, expression)                                    \
  template <class T>                                                    \
  T name(T* place, std::common_type_t<T> value) {                       \
    return n3d_change(place, [&](T old) -> T { return (expression); }); \
  }
N3D_ATOMIC(atomicAdd, old + value)
N3D_ATOMIC(atomicSub, old - value)
N3D_ATOMIC(atomicMin, value < old ? value : old)
N3D_ATOMIC(atomicMax, old < value ? value : old)
N3D_ATOMIC(atomicExch, value)
N3D_ATOMIC(atomicAnd, old& value)
N3D_ATOMIC(atomicOr, old | value)
N3D_ATOMIC(atomicXor, old ^ value)
#undef N3D_ATOMIC
template <class T>
T atomicCAS(T* place, std::common_type_t<T> expected, std::common_type_t<T> value) {
  return n3d_change(place, [&](T old) { return old == expected ? value : old; });
}
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, T value) {
  *p = value;
}

inline float __expf(float x) { return ::expf(x); }
inline float __exp2f(float x) { return ::exp2f(x); }
inline float __logf(float x) { return ::logf(x); }
inline float __log2f(float x) { return ::log2f(x); }
inline float __powf(float x, float y) { return ::powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return ::sqrtf(x); }
inline float __frsqrt_rn(float x) { return 1.0f / ::sqrtf(x); }
inline float rsqrtf(float x) { return 1.0f / ::sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / ::sqrt(x); }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float __fmaf_rn(float a, float b, float c) { return ::fmaf(a, b, c); }
inline int __float_as_int(float x) { return emulator::from_bits<int>(emulator::to_bits(x)); }
inline unsigned __float_as_uint(float x) { return emulator::from_bits<unsigned>(emulator::to_bits(x)); }
inline float __int_as_float(int x) { return emulator::from_bits<float>(emulator::to_bits(x)); }
inline float __uint_as_float(unsigned x) { return emulator::from_bits<float>(emulator::to_bits(x)); }
inline long long __double_as_longlong(double x) { return emulator::from_bits<long long>(emulator::to_bits(x)); }
inline double __longlong_as_double(long long x) { return emulator::from_bits<double>(emulator::to_bits(x)); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; ++i) r |= (x >> i & 1) << (31 - i);
  return r;
}

using std::max;
using std::min;
