// Lanes of numbers: with runs.h the only file that knows an instruction set.
//
// A kernel is a template over a vector type V with V::lanes elements of V::scalar. It is compiled once for each
// instruction set (N3D_ISA names the namespace), and the driver picks one at run time. Everything else that a formula
// in math/ needs from a number type (select, min, fma, ...) is found here by argument-dependent lookup, so that the
// same formula runs on one float, one double or a register of them.
//
// The names std::vector and friends must not be used in files that include this one: an inline function compiled
// here for AVX-512 could be the copy that the linker keeps for everybody.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(N3D_AVX512) || defined(N3D_AVX2)
#include <immintrin.h>
#endif

#if defined(_MSC_VER)
#define N3D_INLINE __forceinline
#define N3D_RESTRICT __restrict
#define N3D_ALIGN64 __declspec(align(64))
#else
#define N3D_INLINE inline __attribute__((always_inline))
#define N3D_RESTRICT __restrict__
#define N3D_ALIGN64 __attribute__((aligned(64)))
#endif

// Before a loop of few, known rounds.
#if defined(__clang__)
#define N3D_UNROLL _Pragma("unroll")
#elif defined(__GNUC__)
#define N3D_UNROLL _Pragma("GCC unroll 16")
#else
#define N3D_UNROLL
#endif

namespace n3d {
namespace N3D_ISA {

// ---------------------------------------------------------------- any compiler, any machine
template <class T, int L>
struct LaneMask {
  bool m[L];
};

template <class T, int L>
struct Lanes {
  using scalar = T;
  using mask = LaneMask<T, L>;
  static constexpr int lanes = L;
  T v[L];
  Lanes() = default;
  N3D_INLINE Lanes(T x) {
    for (int i = 0; i < L; ++i) v[i] = x;
  }
  static N3D_INLINE Lanes load(const T* p) {
    Lanes r;
    for (int i = 0; i < L; ++i) r.v[i] = p[i];
    return r;
  }
  static N3D_INLINE Lanes load_bytes(const uint8_t* p) {
    Lanes r;
    for (int i = 0; i < L; ++i) r.v[i] = T(p[i]);
    return r;
  }
  N3D_INLINE void store(T* p) const {
    for (int i = 0; i < L; ++i) p[i] = v[i];
  }
  static N3D_INLINE Lanes load_strided(const T* p, int64_t stride) {
    Lanes r;
    for (int i = 0; i < L; ++i) r.v[i] = p[i * stride];
    return r;
  }
  N3D_INLINE void store_strided(T* p, int64_t stride) const {
    for (int i = 0; i < L; ++i) p[i * stride] = v[i];
  }
};

#define N3D_LANES_BINARY(op)                                                       \
  template <class T, int L>                                                        \
  N3D_INLINE Lanes<T, L> operator op(const Lanes<T, L>& a, const Lanes<T, L>& b) { \
    Lanes<T, L> r;                                                                 \
    for (int i = 0; i < L; ++i) r.v[i] = a.v[i] op b.v[i];                         \
    return r;                                                                      \
  }
N3D_LANES_BINARY(+)
N3D_LANES_BINARY(-)
N3D_LANES_BINARY(*)
N3D_LANES_BINARY(/)
#undef N3D_LANES_BINARY
#define N3D_LANES_COMPARE(op)                                                         \
  template <class T, int L>                                                           \
  N3D_INLINE LaneMask<T, L> operator op(const Lanes<T, L>& a, const Lanes<T, L>& b) { \
    LaneMask<T, L> r;                                                                 \
    for (int i = 0; i < L; ++i) r.m[i] = a.v[i] op b.v[i];                            \
    return r;                                                                         \
  }
N3D_LANES_COMPARE(<)
N3D_LANES_COMPARE(<=)
N3D_LANES_COMPARE(>)
N3D_LANES_COMPARE(>=)
#undef N3D_LANES_COMPARE
#define N3D_LANES_MAP(name, expression)                \
  template <class T, int L>                            \
  N3D_INLINE Lanes<T, L> name(const Lanes<T, L>& a) {  \
    Lanes<T, L> r;                                     \
    for (int i = 0; i < L; ++i) r.v[i] = (expression); \
    return r;                                          \
  }
N3D_LANES_MAP(operator-, -a.v[i])
N3D_LANES_MAP(sqrt, T(::sqrt(double(a.v[i]))))
N3D_LANES_MAP(floor, T(::floor(double(a.v[i]))))
N3D_LANES_MAP(exp, T(::exp(double(a.v[i]))))
N3D_LANES_MAP(log, T(::log(double(a.v[i]))))
N3D_LANES_MAP(exp2_blend, T(::exp2(double(a.v[i]))))
N3D_LANES_MAP(reciprocal, T(1) / a.v[i])
#undef N3D_LANES_MAP

template <class T, int L>
N3D_INLINE Lanes<T, L> fma(const Lanes<T, L>& a, const Lanes<T, L>& b, const Lanes<T, L>& c) {
  Lanes<T, L> r;
  for (int i = 0; i < L; ++i) r.v[i] = a.v[i] * b.v[i] + c.v[i];
  return r;
}
// c - a b
template <class T, int L>
N3D_INLINE Lanes<T, L> fnma(const Lanes<T, L>& a, const Lanes<T, L>& b, const Lanes<T, L>& c) {
  Lanes<T, L> r;
  for (int i = 0; i < L; ++i) r.v[i] = c.v[i] - a.v[i] * b.v[i];
  return r;
}
template <class T, int L>
N3D_INLINE Lanes<T, L> min(const Lanes<T, L>& a, const Lanes<T, L>& b) {
  Lanes<T, L> r;
  for (int i = 0; i < L; ++i) r.v[i] = a.v[i] < b.v[i] ? a.v[i] : b.v[i];
  return r;
}
template <class T, int L>
N3D_INLINE Lanes<T, L> max(const Lanes<T, L>& a, const Lanes<T, L>& b) {
  Lanes<T, L> r;
  for (int i = 0; i < L; ++i) r.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i];
  return r;
}
template <class T, int L>
N3D_INLINE Lanes<T, L> select(const LaneMask<T, L>& m, const Lanes<T, L>& a, const Lanes<T, L>& b) {
  Lanes<T, L> r;
  for (int i = 0; i < L; ++i) r.v[i] = m.m[i] ? a.v[i] : b.v[i];
  return r;
}
template <class T, int L>
N3D_INLINE Lanes<T, L> zero_unless(const LaneMask<T, L>& m, const Lanes<T, L>& a) {
  return select(m, a, Lanes<T, L>(T(0)));
}
template <class T, int L>
N3D_INLINE LaneMask<T, L> operator&(const LaneMask<T, L>& a, const LaneMask<T, L>& b) {
  LaneMask<T, L> r;
  for (int i = 0; i < L; ++i) r.m[i] = a.m[i] && b.m[i];
  return r;
}
template <class T, int L>
N3D_INLINE LaneMask<T, L> operator|(const LaneMask<T, L>& a, const LaneMask<T, L>& b) {
  LaneMask<T, L> r;
  for (int i = 0; i < L; ++i) r.m[i] = a.m[i] || b.m[i];
  return r;
}
// As 32-bit integers, cut towards zero.
template <class T, int L>
N3D_INLINE void store_whole(const Lanes<T, L>& a, int32_t* p) {
  for (int i = 0; i < L; ++i) p[i] = int32_t(a.v[i]);
}
template <class T, int L>
N3D_INLINE uint32_t bits(const LaneMask<T, L>& m) {
  uint32_t r = 0;
  for (int i = 0; i < L; ++i) r |= uint32_t(m.m[i]) << i;
  return r;
}
template <class T, int L>
N3D_INLINE T sum(const Lanes<T, L>& a) {
  T half[L];
  for (int i = 0; i < L; ++i) half[i] = a.v[i];
  for (int n = L / 2; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) half[i] += half[i + n];
  return half[0];
}
// out[i] = sum(in[i]) for i < COUNT.
template <int COUNT, class T, int L>
N3D_INLINE void sums(const Lanes<T, L>* in, T* out) {
  for (int i = 0; i < COUNT; ++i) out[i] = sum(in[i]);
}

// Rows for columns, in place: V::lanes registers.
template <class T, int L>
N3D_INLINE void transpose(Lanes<T, L>* r) {
  for (int i = 0; i < L; ++i)
    for (int j = 0; j < i; ++j) {
      const T swapped = r[i].v[j];
      r[i].v[j] = r[j].v[i];
      r[j].v[i] = swapped;
    }
}

#if defined(N3D_AVX512)
// ---------------------------------------------------------------- AVX-512
struct M16 {
  __mmask16 k;
};
struct F16 {
  using scalar = float;
  using mask = M16;
  static constexpr int lanes = 16;
  __m512 v;
  F16() = default;
  N3D_INLINE F16(__m512 x) : v(x) {}
  N3D_INLINE F16(float x) : v(_mm512_set1_ps(x)) {}
  static N3D_INLINE F16 load(const float* p) { return _mm512_loadu_ps(p); }
  static N3D_INLINE F16 load_bytes(const uint8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  N3D_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
  static N3D_INLINE __m512i offsets(int64_t stride) {
    const __m512i iota = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_mullo_epi32(iota, _mm512_set1_epi32(int(stride)));
  }
  static N3D_INLINE F16 load_strided(const float* p, int64_t stride) {
    return _mm512_i32gather_ps(offsets(stride), p, 4);
  }
  N3D_INLINE void store_strided(float* p, int64_t stride) const { _mm512_i32scatter_ps(p, offsets(stride), v, 4); }
};
N3D_INLINE F16 operator+(F16 a, F16 b) { return _mm512_add_ps(a.v, b.v); }
N3D_INLINE F16 operator-(F16 a, F16 b) { return _mm512_sub_ps(a.v, b.v); }
N3D_INLINE F16 operator*(F16 a, F16 b) { return _mm512_mul_ps(a.v, b.v); }
N3D_INLINE F16 operator/(F16 a, F16 b) { return _mm512_div_ps(a.v, b.v); }
N3D_INLINE F16 operator-(F16 a) { return _mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f)); }
N3D_INLINE M16 operator<(F16 a, F16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
N3D_INLINE M16 operator<=(F16 a, F16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
N3D_INLINE M16 operator>(F16 a, F16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
N3D_INLINE M16 operator>=(F16 a, F16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
N3D_INLINE M16 operator&(M16 a, M16 b) { return {__mmask16(a.k & b.k)}; }
N3D_INLINE M16 operator|(M16 a, M16 b) { return {__mmask16(a.k | b.k)}; }
N3D_INLINE uint32_t bits(M16 m) { return m.k; }
N3D_INLINE F16 fma(F16 a, F16 b, F16 c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
N3D_INLINE F16 fnma(F16 a, F16 b, F16 c) { return _mm512_fnmadd_ps(a.v, b.v, c.v); }
N3D_INLINE F16 min(F16 a, F16 b) { return _mm512_min_ps(a.v, b.v); }
N3D_INLINE F16 max(F16 a, F16 b) { return _mm512_max_ps(a.v, b.v); }
N3D_INLINE F16 sqrt(F16 a) { return _mm512_sqrt_ps(a.v); }
N3D_INLINE F16 floor(F16 a) { return _mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
N3D_INLINE void store_whole(F16 a, int32_t* p) { _mm512_storeu_si512(p, _mm512_cvttps_epi32(a.v)); }
N3D_INLINE F16 select(M16 m, F16 a, F16 b) { return _mm512_mask_blend_ps(m.k, b.v, a.v); }
N3D_INLINE F16 zero_unless(M16 m, F16 a) { return _mm512_maskz_mov_ps(m.k, a.v); }
N3D_INLINE float sum(F16 a) { return _mm512_reduce_add_ps(a.v); }
// 1/a by an estimate and one Newton step, 2^-27 relative; for a in [2^-100, 2^100].
N3D_INLINE F16 reciprocal(F16 a) {
  const __m512 r = _mm512_rcp14_ps(a.v);
  return _mm512_mul_ps(r, _mm512_fnmadd_ps(a.v, r, _mm512_set1_ps(2.0f)));
}
N3D_INLINE F16 bits_to_float(__m512i a) { return _mm512_castsi512_ps(a); }
// 2^(n + f), with p = 2^f in (0.5, 2) and n held in the low bits of t = x + 1.5 * 2^23.
N3D_INLINE F16 add_exponent(F16 p, F16 t) {
  return bits_to_float(_mm512_add_epi32(_mm512_castps_si512(p.v), _mm512_slli_epi32(_mm512_castps_si512(t.v), 23)));
}
// exponent and mantissa in [1, 2) of positive numbers.
N3D_INLINE void split(F16 a, F16& exponent, F16& mantissa) {
  exponent = _mm512_getexp_ps(a.v);
  mantissa = _mm512_getmant_ps(a.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
}
// Four registers to four sums, in one 128-bit register.
N3D_INLINE __m128 sums4(const F16* in) {
  __m256 h[4];
  for (int i = 0; i < 4; ++i) h[i] = _mm256_add_ps(_mm512_castps512_ps256(in[i].v), _mm512_extractf32x8_ps(in[i].v, 1));
  const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(h[0], h[1]), _mm256_unpackhi_ps(h[0], h[1]));
  const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(h[2], h[3]), _mm256_unpackhi_ps(h[2], h[3]));
  const __m256 abcd = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(1, 0, 1, 0)),
                                    _mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 2, 3, 2)));
  return _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1));
}
template <int COUNT>
N3D_INLINE void sums(const F16* in, float* out) {
  static_assert(COUNT <= 16, "at most one slot");
  for (int i = 0; i + 4 <= COUNT; i += 4) _mm_storeu_ps(out + i, sums4(in + i));
  for (int i = COUNT / 4 * 4; i < COUNT; ++i) out[i] = sum(in[i]);
}
N3D_INLINE void transpose(F16* r) {
  __m512 a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_ps(r[i].v, r[i + 1].v);
    a[i + 1] = _mm512_unpackhi_ps(r[i].v, r[i + 1].v);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      const __m512d low = _mm512_castps_pd(a[i + j]), high = _mm512_castps_pd(a[i + j + 2]);
      b[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
      b[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
    }
  // b[i + k] holds column 4 q + k of rows i .. i + 3 in its quarter q.
  for (int k = 0; k < 4; ++k) {
    const __m512 even_low = _mm512_shuffle_f32x4(b[k], b[4 + k], _MM_SHUFFLE(2, 0, 2, 0));
    const __m512 odd_low = _mm512_shuffle_f32x4(b[k], b[4 + k], _MM_SHUFFLE(3, 1, 3, 1));
    const __m512 even_high = _mm512_shuffle_f32x4(b[8 + k], b[12 + k], _MM_SHUFFLE(2, 0, 2, 0));
    const __m512 odd_high = _mm512_shuffle_f32x4(b[8 + k], b[12 + k], _MM_SHUFFLE(3, 1, 3, 1));
    r[k] = _mm512_shuffle_f32x4(even_low, even_high, _MM_SHUFFLE(2, 0, 2, 0));
    r[8 + k] = _mm512_shuffle_f32x4(even_low, even_high, _MM_SHUFFLE(3, 1, 3, 1));
    r[4 + k] = _mm512_shuffle_f32x4(odd_low, odd_high, _MM_SHUFFLE(2, 0, 2, 0));
    r[12 + k] = _mm512_shuffle_f32x4(odd_low, odd_high, _MM_SHUFFLE(3, 1, 3, 1));
  }
}
using VectorF = F16;
#elif defined(N3D_AVX2)
// ---------------------------------------------------------------- AVX2 + FMA
struct M8 {
  __m256 k;
};
struct F8 {
  using scalar = float;
  using mask = M8;
  static constexpr int lanes = 8;
  __m256 v;
  F8() = default;
  N3D_INLINE F8(__m256 x) : v(x) {}
  N3D_INLINE F8(float x) : v(_mm256_set1_ps(x)) {}
  static N3D_INLINE F8 load(const float* p) { return _mm256_loadu_ps(p); }
  static N3D_INLINE F8 load_bytes(const uint8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  N3D_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
  static N3D_INLINE F8 load_strided(const float* p, int64_t s) {
    return _mm256_setr_ps(p[0], p[s], p[2 * s], p[3 * s], p[4 * s], p[5 * s], p[6 * s], p[7 * s]);
  }
  N3D_INLINE void store_strided(float* p, int64_t stride) const {
    N3D_ALIGN64 float lane[8];
    store(lane);
    for (int i = 0; i < 8; ++i) p[i * stride] = lane[i];
  }
};
N3D_INLINE F8 operator+(F8 a, F8 b) { return _mm256_add_ps(a.v, b.v); }
N3D_INLINE F8 operator-(F8 a, F8 b) { return _mm256_sub_ps(a.v, b.v); }
N3D_INLINE F8 operator*(F8 a, F8 b) { return _mm256_mul_ps(a.v, b.v); }
N3D_INLINE F8 operator/(F8 a, F8 b) { return _mm256_div_ps(a.v, b.v); }
N3D_INLINE F8 operator-(F8 a) { return _mm256_xor_ps(a.v, _mm256_set1_ps(-0.0f)); }
N3D_INLINE M8 operator<(F8 a, F8 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
N3D_INLINE M8 operator<=(F8 a, F8 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
N3D_INLINE M8 operator>(F8 a, F8 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)}; }
N3D_INLINE M8 operator>=(F8 a, F8 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)}; }
N3D_INLINE M8 operator&(M8 a, M8 b) { return {_mm256_and_ps(a.k, b.k)}; }
N3D_INLINE M8 operator|(M8 a, M8 b) { return {_mm256_or_ps(a.k, b.k)}; }
N3D_INLINE uint32_t bits(M8 m) { return uint32_t(_mm256_movemask_ps(m.k)); }
N3D_INLINE F8 fma(F8 a, F8 b, F8 c) { return _mm256_fmadd_ps(a.v, b.v, c.v); }
N3D_INLINE F8 fnma(F8 a, F8 b, F8 c) { return _mm256_fnmadd_ps(a.v, b.v, c.v); }
N3D_INLINE F8 min(F8 a, F8 b) { return _mm256_min_ps(a.v, b.v); }
N3D_INLINE F8 max(F8 a, F8 b) { return _mm256_max_ps(a.v, b.v); }
N3D_INLINE F8 sqrt(F8 a) { return _mm256_sqrt_ps(a.v); }
N3D_INLINE F8 floor(F8 a) { return _mm256_floor_ps(a.v); }
N3D_INLINE void store_whole(F8 a, int32_t* p) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_cvttps_epi32(a.v));
}
N3D_INLINE F8 select(M8 m, F8 a, F8 b) { return _mm256_blendv_ps(b.v, a.v, m.k); }
N3D_INLINE F8 zero_unless(M8 m, F8 a) { return _mm256_and_ps(m.k, a.v); }
N3D_INLINE float sum(F8 a) {
  const __m128 q = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  const __m128 d = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps(d, d, 1)));
}
// 1/a by an estimate and two Newton steps; for a in [2^-100, 2^100].
N3D_INLINE F8 reciprocal(F8 a) {
  __m256 r = _mm256_rcp_ps(a.v);
  r = _mm256_mul_ps(r, _mm256_fnmadd_ps(a.v, r, _mm256_set1_ps(2.0f)));
  return _mm256_mul_ps(r, _mm256_fnmadd_ps(a.v, r, _mm256_set1_ps(2.0f)));
}
N3D_INLINE F8 add_exponent(F8 p, F8 t) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(p.v), _mm256_slli_epi32(_mm256_castps_si256(t.v), 23)));
}
N3D_INLINE void split(F8 a, F8& exponent, F8& mantissa) {
  const __m256i i = _mm256_castps_si256(a.v);
  exponent = _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(i, 23), _mm256_set1_epi32(127)));
  const __m256i m = _mm256_and_si256(i, _mm256_set1_epi32(0x7fffff));
  mantissa = _mm256_castsi256_ps(_mm256_or_si256(m, _mm256_set1_epi32(0x3f800000)));
}
N3D_INLINE __m128 sums4(const F8* in) {
  const __m256 ab = _mm256_hadd_ps(in[0].v, in[1].v);
  const __m256 abcd = _mm256_hadd_ps(ab, _mm256_hadd_ps(in[2].v, in[3].v));
  return _mm_add_ps(_mm256_castps256_ps128(abcd), _mm256_extractf128_ps(abcd, 1));
}
template <int COUNT>
N3D_INLINE void sums(const F8* in, float* out) {
  for (int i = 0; i + 4 <= COUNT; i += 4) _mm_storeu_ps(out + i, sums4(in + i));
  for (int i = COUNT / 4 * 4; i < COUNT; ++i) out[i] = sum(in[i]);
}
N3D_INLINE void transpose(F8* r) {
  __m256 a[8], b[8];
  for (int i = 0; i < 8; i += 2) {
    a[i] = _mm256_unpacklo_ps(r[i].v, r[i + 1].v);
    a[i + 1] = _mm256_unpackhi_ps(r[i].v, r[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; ++j) {
      const __m256d low = _mm256_castps_pd(a[i + j]), high = _mm256_castps_pd(a[i + j + 2]);
      b[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, high));
      b[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, high));
    }
  for (int k = 0; k < 4; ++k) {
    r[k] = _mm256_permute2f128_ps(b[k], b[4 + k], 0x20);
    r[4 + k] = _mm256_permute2f128_ps(b[k], b[4 + k], 0x31);
  }
}
using VectorF = F8;
#else
using VectorF = Lanes<float, 4>;
#endif
using VectorD = Lanes<double, 4>;

#if defined(N3D_AVX512) || defined(N3D_AVX2)
// 2^x for |x| <= 126 with a relative error of at most 3e-6: enough for 8-bit pictures, and it costs four multiply-adds.
N3D_INLINE VectorF exp2_blend(VectorF x) {
  const VectorF magic(12582912.0f);
  const VectorF t = x + magic;
  const VectorF f = x - (t - magic);
  VectorF p = fma(f, VectorF(9.58285e-3f), VectorF(5.590643e-2f));
  p = fma(f, p, VectorF(2.4024099e-1f));
  p = fma(f, p, VectorF(6.9312419e-1f));
  p = fma(f, p, VectorF(1.0f));
  return add_exponent(p, t);
}
// e^x to about 2e-7 relative, clamped to the range of normal floats.
N3D_INLINE VectorF exp(VectorF x) {
  const VectorF magic(12582912.0f);
  const VectorF y = min(max(x, VectorF(-87.0f)), VectorF(88.0f));
  const VectorF t = fma(y, VectorF(1.44269504f), magic);
  const VectorF n = t - magic;
  VectorF f = fma(n, VectorF(-0.693145752f), y);
  f = fma(n, VectorF(-1.42860677e-6f), f);
  VectorF p = fma(f, VectorF(1.38888889e-3f), VectorF(8.33333333e-3f));
  p = fma(f, p, VectorF(4.16666667e-2f));
  p = fma(f, p, VectorF(1.66666667e-1f));
  p = fma(f, p, VectorF(0.5f));
  p = fma(f, p, VectorF(1.0f));
  p = fma(f, p, VectorF(1.0f));
  return add_exponent(p, t);
}
// Natural logarithm of positive normal numbers, by atanh((m - 1) / (m + 1)); about 2e-7 relative to max(1, |log|).
N3D_INLINE VectorF log(VectorF a) {
  VectorF e, m;
  split(a, e, m);
  const VectorF::mask big = m > VectorF(1.41421356f);
  m = select(big, m * VectorF(0.5f), m);
  e = select(big, e + VectorF(1.0f), e);
  const VectorF s = (m - VectorF(1.0f)) / (m + VectorF(1.0f));
  const VectorF z = s * s;
  VectorF p = fma(z, VectorF(0.22222222f), VectorF(0.28571429f));
  p = fma(z, p, VectorF(0.4f));
  p = fma(z, p, VectorF(0.66666667f));
  p = fma(z, p, VectorF(2.0f));
  return fma(e, VectorF(0.693147181f), s * p);
}
#endif

// Loads `count` <= lanes elements; the rest repeats the last, so that no lane computes on uninitialised memory.
template <class V>
N3D_INLINE V load_rows(const typename V::scalar* p, int64_t stride, int count) {
  if (count == V::lanes) return stride == 1 ? V::load(p) : V::load_strided(p, stride);
  N3D_ALIGN64 typename V::scalar lane[V::lanes];
  for (int i = 0; i < V::lanes; ++i) lane[i] = p[(i < count ? i : count - 1) * stride];
  return V::load(lane);
}
template <class V>
N3D_INLINE void store_rows(const V& a, typename V::scalar* p, int64_t stride, int count) {
  if (count == V::lanes) return stride == 1 ? a.store(p) : a.store_strided(p, stride);
  N3D_ALIGN64 typename V::scalar lane[V::lanes];
  a.store(lane);
  for (int i = 0; i < count; ++i) p[i * stride] = lane[i];
}

}  // namespace N3D_ISA
}  // namespace n3d
