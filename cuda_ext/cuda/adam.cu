// One step of Adam, in place, over the rows that were seen. A block takes a few rows, whose numbers lie in one piece;
// what of it was not seen is not touched, so it costs no traffic.
#include <cmath>

#include "../math/adam.h"
#include "../math/harmonics.h"
#include "adam_rows.h"
#include "direction.h"
#include "launch.h"
#include "rows.h"
#include "warp.h"

namespace n3d {
namespace {

constexpr int kThreads = 256, kMaxRows = 2048;

template <class S>
struct Adam {
  S *param, *first, *second;  // [N,C]
  const S* rates;             // [C]
  const uint8_t* visible;     // [N], or null for all rows
  int64_t rows;
  int columns, rows_per_block;
  bool aligned;      // all [N,C]
  bool only_pulled;  // numbers whose gradient is 0 stay as they are
  scalar::AdamRates<S> step;
  unsigned long long* poisoned;  // counts the rows with a gradient that is not finite
};

// A block's rows: their numbers begin at `begin`.
struct Piece {
  int64_t begin;
  int rows, columns;
  uint8_t *takes_part, *poisoned;  // of each row
};

// Row and column of one number after the other.
struct Walk {
  int row, column, columns;
  __device__ __forceinline__ Walk(int at, int columns) : row(at / columns), column(at % columns), columns(columns) {}
  __device__ __forceinline__ void next() {
    if (++column == columns) column = 0, ++row;
  }
};

template <int n, class S>
__device__ __forceinline__ void load(const S* p, S* row) {
  load_row<n>(p, n > 1, row);
}
template <int n, class S>
__device__ __forceinline__ void store(S* p, const S* row) {
  store_row<n>(p, n > 1, row);
}

// A gradient that lies in memory as it is.
template <class S>
struct Dense {
  const S* grad;  // [N,C]
  __device__ __forceinline__ void prepare(const Adam<S>&, int64_t, int) {}
  template <int n>
  __device__ __forceinline__ void get(const Piece& piece, int at, S* g) const {
    load<n>(grad + piece.begin + at, g);
  }
};

constexpr int kMaxProductRows = 680, kMaxBasis = 680;  // rows_per_block of 3 columns; of 3 K columns times K

// That of harmonics: the basis in the direction of each Gaussian, times its pulls; made once for a block's rows.
template <class S>
struct Products {
  const S *pulls, *means, *center;  // [N,3] [N,3] [3]
  int degree, coefficients;         // as used; as stored
  S *basis, *pull;                  // shared memory: [rows,K] [rows,3]

  __device__ __forceinline__ void prepare(const Adam<S>&, int64_t first, int rows) {
    const int used = (degree + 1) * (degree + 1);
    for (int r = int(threadIdx.x); r < rows; r += kThreads) {
      const Direction<S> dir = direction_of(means + 3 * (first + r), center);
      S values[16];
      scalar::harmonics(degree, dir.d[0], dir.d[1], dir.d[2], values);
#pragma unroll
      for (int k = 0; k < 16; ++k)
        if (k < coefficients) basis[r * coefficients + k] = k < used ? values[k] : S(0);
#pragma unroll
      for (int c = 0; c < 3; ++c) pull[3 * r + c] = pulls[3 * (first + r) + c];
    }
  }
  template <int n>
  __device__ __forceinline__ void get(const Piece&, int at, S* g) const {
#pragma unroll
    for (int i = 0; i < n; ++i) {  // number `at` is that of coefficient at / 3 % K of row at / 3 / K
      const int coefficient = (at + i) / 3, c = (at + i) - 3 * coefficient, row = coefficient / coefficients;
      const S p = pull[3 * row + c];
      g[i] = p == S(0) ? S(0) : p * basis[coefficient];
    }
  }
};

template <int n>
__device__ __forceinline__ bool any_takes_part(const Piece& piece, Walk walk) {
  bool any = false;
#pragma unroll
  for (int k = 0; k < n; ++k, walk.next()) any |= piece.takes_part[walk.row] != 0;
  return any;
}

// Marks the rows of n numbers whose gradient is not finite.
template <int n, class S, class Gradient>
__device__ __forceinline__ void look_at(const Gradient& gradient, const Piece& piece, int at) {
  Walk walk(at, piece.columns);
  if (!any_takes_part<n>(piece, walk)) return;
  S g[n];
  gradient.template get<n>(piece, at, g);
#pragma unroll
  for (int k = 0; k < n; ++k, walk.next())
    if (!(g[k] - g[k] == S(0))) piece.poisoned[walk.row] = 1;
}

template <int n, class S, class Gradient>
__device__ __forceinline__ void move(const Adam<S>& a, const Gradient& gradient, const Piece& piece, int at) {
  Walk walk(at, piece.columns);
  if (!any_takes_part<n>(piece, walk)) return;
  const int64_t e = piece.begin + at;
  S p[n], g[n], m[n], v[n];
  load<n>(a.param + e, p), load<n>(a.first + e, m), load<n>(a.second + e, v);
  gradient.template get<n>(piece, at, g);
#pragma unroll
  for (int k = 0; k < n; ++k, walk.next()) {
    const S rate = __ldg(a.rates + walk.column);
    const bool moves = piece.takes_part[walk.row] && rate != S(0) && !(a.only_pulled && g[k] == S(0));
    if (moves) p[k] -= scalar::adam_change(a.step, rate, g[k], m[k], v[k]);
  }
  store<n>(a.param + e, p), store<n>(a.first + e, m), store<n>(a.second + e, v);
}

// Calls f(constant n, first of n numbers) for all numbers of the piece, 16 bytes at a time where they are aligned.
template <class S, class F>
__device__ __forceinline__ void each_number(const Adam<S>& a, const Piece& piece, const F& f) {
  constexpr int n = Chunk<S>::size;
  const int count = piece.rows * piece.columns, chunked = a.aligned ? count / n * n : 0;
  for (int at = n * int(threadIdx.x); at < chunked; at += n * kThreads) f(std::integral_constant<int, n>(), at);
  for (int at = chunked + int(threadIdx.x); at < count; at += kThreads) f(std::integral_constant<int, 1>(), at);
}

// Takes the poisoned rows out and counts them.
template <class S>
__device__ __forceinline__ void leave_poisoned_alone(const Adam<S>& a, const Piece& piece) {
  int count = 0;
  for (int r = int(threadIdx.x); r < piece.rows; r += kThreads)
    if (piece.poisoned[r] && piece.takes_part[r]) piece.takes_part[r] = 0, ++count;
  const unsigned lanes = __ballot_sync(kWholeWarp, count > 0);
  if (lanes == 0) return;
  count = warp_sum(count);
  if (lane_in_warp() == 0) atomicAdd(a.poisoned, (unsigned long long)count);
}

template <class S, class Gradient>
__device__ __forceinline__ void update_rows(const Adam<S>& a, Gradient& gradient, uint8_t* takes_part,
                                            uint8_t* poisoned) {
  const int64_t first = int64_t(blockIdx.x) * a.rows_per_block, left = a.rows - first;
  const Piece piece{first * a.columns, int(left < a.rows_per_block ? left : a.rows_per_block), a.columns, takes_part,
                    poisoned};
  for (int r = int(threadIdx.x); r < piece.rows; r += kThreads)
    takes_part[r] = !a.visible || a.visible[first + r], poisoned[r] = 0;
  gradient.prepare(a, first, piece.rows);
  __syncthreads();
  each_number(a, piece, [&](auto n, int at) { look_at<decltype(n)::value, S>(gradient, piece, at); });
  __syncthreads();
  leave_poisoned_alone(a, piece);
  __syncthreads();
  each_number(a, piece, [&](auto n, int at) { move<decltype(n)::value>(a, gradient, piece, at); });
}

template <class S>
__global__ void __launch_bounds__(kThreads) adam_kernel(Adam<S> a, const S* grad) {
  N3D_SHARED(takes_part, uint8_t[kMaxRows]);
  N3D_SHARED(poisoned, uint8_t[kMaxRows]);
  Dense<S> gradient{grad};
  update_rows(a, gradient, takes_part, poisoned);
}

template <class S>
__global__ void __launch_bounds__(kThreads) adam_sh_kernel(Adam<S> a, Products<S> gradient) {
  N3D_SHARED(takes_part, uint8_t[kMaxProductRows]);
  N3D_SHARED(poisoned, uint8_t[kMaxProductRows]);
  N3D_SHARED(basis, S[kMaxBasis]);
  N3D_SHARED(pull, S[3 * kMaxProductRows]);
  gradient.basis = basis, gradient.pull = pull;
  update_rows(a, gradient, takes_part, poisoned);
}

// About 2048 numbers, and a multiple of four rows: then every block begins at 16 bytes if the first does.
int rows_per_block(int64_t columns) { return int(columns >= 512 ? 4 : 2048 / columns / 4 * 4); }

// Step counts from 1.
template <class S>
Adam<S> adam_arguments(const OnDevice& on, const Tensor& param, const Tensor& first, const Tensor& second,
                       const Tensor& rates, const std::optional<Tensor>& visible, int64_t step, double beta1,
                       double beta2, double eps) {
  Adam<S> a = {};
  a.param = on.pointer<S>(param), a.first = on.pointer<S>(first), a.second = on.pointer<S>(second);
  a.rates = on.pointer<S>(rates), a.visible = on.pointer<uint8_t>(visible);
  a.aligned = aligned16(a.param) && aligned16(a.first) && aligned16(a.second);
  STD_TORCH_CHECK(rates.numel() >= 1 && rates.numel() <= 1 << 20, "neural3d: adam takes 1 to 1048576 columns");
  a.rows = param.size(0), a.columns = int(rates.numel()), a.rows_per_block = rows_per_block(a.columns);
  a.step = {S(beta1), S(beta2), S(eps), S(1 / (1 - std::pow(beta1, double(step)))),
            S(1 / std::sqrt(1 - std::pow(beta2, double(step))))};
  return a;
}

// Launches with a counter of the rows whose gradient is not finite, and returns it.
template <class S, class F>
Tensor count_poisoned(const OnDevice& on, Adam<S> a, const F& launch) {
  Tensor poisoned = on.zeros({}, ScalarType::Long);
  a.poisoned = reinterpret_cast<unsigned long long*>(on.pointer<int64_t>(poisoned));
  if (a.rows > 0) launch(a, blocks_for(a.rows, a.rows_per_block));
  return poisoned;
}

}  // namespace

Tensor move_rows(const Tensor& param, const Tensor& grad, const Tensor& first, const Tensor& second,
                 const Tensor& rates, const std::optional<Tensor>& visible, bool only_pulled, int64_t step,
                 double beta1, double beta2, double eps) {
  return N3D_FOR_SCALAR(param, S, [&] {
    const OnDevice on(param);
    Adam<S> adam = adam_arguments<S>(on, param, first, second, rates, visible, step, beta1, beta2, eps);
    const S* gradient = on.pointer<S>(grad);
    adam.aligned &= aligned16(gradient), adam.only_pulled = only_pulled;
    return count_poisoned(on, adam, [&](const Adam<S>& a, unsigned blocks) {
      N3D_LAUNCH(adam_kernel<S>, blocks, kThreads, 0, on.stream(), a, gradient);
    });
  });
}

static Tensor adam(Tensor param, Tensor grad, Tensor first, Tensor second, Tensor rates, std::optional<Tensor> visible,
                   int64_t step, double beta1, double beta2, double eps) {
  return move_rows(param, grad, first, second, rates, visible, false, step, beta1, beta2, eps);
}

static Tensor adam_sh(Tensor sh, Tensor pulls, Tensor means, Tensor center, int64_t degree, Tensor first, Tensor second,
                      Tensor rates, std::optional<Tensor> visible, int64_t step, double beta1, double beta2,
                      double eps) {
  return N3D_FOR_SCALAR(sh, S, [&] {
    const OnDevice on(sh);
    const Adam<S> adam = adam_arguments<S>(on, sh, first, second, rates, visible, step, beta1, beta2, eps);
    STD_TORCH_CHECK(degree >= 0 && degree <= 3 && (degree + 1) * (degree + 1) <= sh.size(1) && sh.size(1) <= 16 &&
                        adam.columns == 3 * sh.size(1),
                    "neural3d: degree or learning rates do not fit sh");
    const Products<S> gradient = {on.pointer<S>(pulls),
                                  on.pointer<S>(means),
                                  on.pointer<S>(center),
                                  int(degree),
                                  int(sh.size(1)),
                                  nullptr,
                                  nullptr};
    return count_poisoned(on, adam, [&](const Adam<S>& a, unsigned blocks) {
      N3D_LAUNCH(adam_sh_kernel<S>, blocks, kThreads, 0, on.stream(), a, gradient);
    });
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CUDA, m) {
  m.impl("adam", TORCH_BOX(&n3d::adam));
  m.impl("adam_sh", TORCH_BOX(&n3d::adam_sh));
}
