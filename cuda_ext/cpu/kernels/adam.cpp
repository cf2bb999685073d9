// Adam, in place. Rows at least as long as a register are walked with their columns in lanes; of shorter rows a block
// of V::lanes is exactly C registers, and the columns' learning rates repeat in it.
#include "../kernels.h"
#include "../simd.h"
// simd.h's functions must be seen before the formulas that use them.
#include "../../math/adam.h"

namespace n3d {
namespace N3D_ISA {

template <class V>
static N3D_INLINE typename V::mask nonzero(const V& a) {
  return max(a, -a) > V(typename V::scalar(0));
}

// Which numbers are to move, of those whose rate is not 0.
template <class V>
static N3D_INLINE typename V::mask chosen(const AdamArgs<typename V::scalar>& a, int64_t at, const V& rate) {
  const typename V::mask moves = nonzero(rate);
  return a.only_pulled ? moves & nonzero(V::load(a.grad + at)) : moves;
}

template <class V>
static N3D_INLINE void adam_lanes(const AdamArgs<typename V::scalar>& a, int64_t at, const V& rate) {
  const typename V::mask moves = chosen(a, at, rate);
  if (!bits(moves)) return;
  const AdamRates<V> step = {V(a.beta1), V(a.beta2), V(a.eps), V(a.bias1), V(a.bias2)};
  const V m0 = V::load(a.first + at), v0 = V::load(a.second + at), p0 = V::load(a.param + at);
  V m = m0, v = v0;
  const V change = adam_change(step, rate, V::load(a.grad + at), m, v);
  select(moves, m, m0).store(a.first + at);
  select(moves, v, v0).store(a.second + at);
  select(moves, p0 - change, p0).store(a.param + at);
}

template <class S>
static N3D_INLINE bool takes_part(const AdamArgs<S>& a, int64_t row) {
  return !a.visible || a.visible[row];
}

template <class S>
static N3D_INLINE bool all_take_part(const AdamArgs<S>& a, int64_t row, int count) {
  bool all = true;
  if (a.visible)
    for (int i = 0; i < count; ++i) all &= a.visible[row + i] != 0;
  return all;
}

// Neither infinite nor NaN; x - x is 0 for all other numbers. In lanes: a sum of one number after the other would wait
// for each.
template <class V>
static N3D_INLINE bool all_finite(const typename V::scalar* p, int64_t count) {
  using S = typename V::scalar;
  V poison(S(0));
  S rest(0);
  int64_t k = 0;
  for (; k + V::lanes <= count; k += V::lanes) {
    const V g = V::load(p + k);
    poison = poison + (g - g);
  }
  for (; k < count; ++k) rest += p[k] - p[k];
  return sum(poison) + rest == S(0);
}

template <class V>
static int64_t adam_long_rows(const AdamArgs<typename V::scalar>& a, int64_t begin, int64_t end) {
  using S = typename V::scalar;
  using One = Lanes<S, 1>;
  int64_t poisoned = 0;
  for (int64_t row = begin; row < end; ++row) {
    if (!takes_part(a, row)) continue;
    const int64_t at = row * a.columns;
    if (!all_finite<V>(a.grad + at, a.columns)) {
      ++poisoned;
      continue;
    }
    int64_t k = 0;
    for (; k + V::lanes <= a.columns; k += V::lanes) adam_lanes<V>(a, at + k, V::load(a.rates + k));
    for (; k < a.columns; ++k) adam_lanes<One>(a, at + k, One(a.rates[k]));
  }
  return poisoned;
}

template <class V>
static int64_t adam_short_rows(const AdamArgs<typename V::scalar>& a, int64_t begin, int64_t end) {
  using S = typename V::scalar;
  using One = Lanes<S, 1>;
  N3D_ALIGN64 S rates[V::lanes * V::lanes], part[V::lanes * V::lanes];
  for (int64_t i = 0; i < a.columns * V::lanes; ++i) rates[i] = a.rates[i % a.columns];
  int64_t poisoned = 0;
  for (int64_t row = begin; row < end; row += V::lanes) {
    const int n = end - row < V::lanes ? int(end - row) : V::lanes;
    const int64_t at = row * a.columns, count = n * a.columns;
    const S* rates_here = rates;
    if (!all_take_part(a, row, n) || !all_finite<V>(a.grad + at, count)) {
      bool any = false;
      for (int i = 0; i < n; ++i) {
        bool takes = takes_part(a, row + i);
        if (takes && !all_finite<One>(a.grad + at + i * a.columns, a.columns)) takes = false, ++poisoned;
        for (int64_t k = 0; k < a.columns; ++k) part[i * a.columns + k] = takes ? rates[k] : S(0);
        any |= takes;
      }
      if (!any) continue;
      rates_here = part;
    }
    int64_t k = 0;
    for (; k + V::lanes <= count; k += V::lanes) adam_lanes<V>(a, at + k, V::load(rates_here + k));
    for (; k < count; ++k) adam_lanes<One>(a, at + k, One(rates_here[k]));
  }
  return poisoned;
}

template <class V>
static int64_t adam_rows(const AdamArgs<typename V::scalar>& a, int64_t begin, int64_t end) {
  return a.columns < V::lanes ? adam_short_rows<V>(a, begin, end) : adam_long_rows<V>(a, begin, end);
}

int64_t adam(const AdamArgs<float>& a, int64_t begin, int64_t end) { return adam_rows<VectorF>(a, begin, end); }
int64_t adam(const AdamArgs<double>& a, int64_t begin, int64_t end) { return adam_rows<VectorD>(a, begin, end); }

}  // namespace N3D_ISA
}  // namespace n3d
