// One step of Adam, in place, over the rows that were seen.
#include "adam_rows.h"
#include "driver.h"
#include "prefetch.h"

namespace n3d {

constexpr int64_t kAdamGrain = 1024;
// Rows of harmonics whose gradient is made at a time: with parameters and moments they stay in the nearest caches.
constexpr int64_t kProductRows = 16;

// Shares the rows out; update(begin, end) returns how many of them had a gradient that is not finite.
template <class F>
static Tensor count_poisoned(int64_t rows, const F& update) {
  std::atomic<int64_t> poisoned{0};
  share(rows, kAdamGrain, [&](int64_t begin, int64_t end) { poisoned += update(begin, end); });
  return count_of(poisoned);
}

static Tensor adam(Tensor param, Tensor grad, Tensor first, Tensor second, Tensor rates, std::optional<Tensor> visible,
                   int64_t step, double beta1, double beta2, double eps) {
  return N3D_FOR_SCALAR(param, S, [&] {
    AdamArgs<S> a = adam_args<S>(param, first, second, rates, visible, step, beta1, beta2, eps);
    a.grad = pointer<S>(grad);
    return count_poisoned(param.size(0), [&](int64_t begin, int64_t end) { return kernels<S>().adam(a, begin, end); });
  });
}

// Asks for rows before they are needed, so that they come while others' gradients are made.
template <class S>
static void fetch_rows(const AdamArgs<S>& a, int64_t begin, int64_t end) {
  for (const S* numbers : {a.param, a.first, a.second}) {
    const auto* p = reinterpret_cast<const char*>(numbers + begin * a.columns);
    for (int64_t byte = 0; byte < (end - begin) * a.columns * int64_t(sizeof(S)); byte += 64) prefetch(p + byte);
  }
}

template <class S>
static int64_t adam_products(const AdamArgs<S>& adam, const ShArgs<S>& sh, int64_t begin, int64_t end) {
  static thread_local std::vector<char> space;
  S* const products = aligned_space<S>(space, kProductRows * adam.columns);
  int64_t poisoned = 0;
  for (int64_t row = begin; row < end; row += kProductRows) {
    const int64_t rows = end - row < kProductRows ? end - row : kProductRows;
    fetch_rows(adam, row + kProductRows, end - row < 2 * kProductRows ? end : row + 2 * kProductRows);
    ShArgs<S> s = sh;
    s.means += 3 * row, s.pulls += 3 * row, s.d_sh = products;
    kernels<S>().sh_products(s, 0, rows);
    AdamArgs<S> a = from_row(adam, row);
    a.grad = products;
    poisoned += kernels<S>().adam(a, 0, rows);
  }
  return poisoned;
}

static Tensor adam_sh(Tensor sh, Tensor pulls, Tensor means, Tensor center, int64_t degree, Tensor first, Tensor second,
                      Tensor rates, std::optional<Tensor> visible, int64_t step, double beta1, double beta2,
                      double eps) {
  return N3D_FOR_SCALAR(sh, S, [&] {
    const AdamArgs<S> a = adam_args<S>(sh, first, second, rates, visible, step, beta1, beta2, eps);
    ShArgs<S> products = {};
    products.means = pointer<S>(means), products.center = pointer<S>(center), products.pulls = pointer<S>(pulls);
    products.coefficients = int(sh.size(1)), products.degree = int(degree);
    STD_TORCH_CHECK(degree >= 0 && degree <= 3 && (degree + 1) * (degree + 1) <= sh.size(1) && sh.size(1) <= 16 &&
                        a.columns == 3 * sh.size(1),
                    "neural3d: degree or learning rates do not fit sh");
    return count_poisoned(sh.size(0),
                          [&](int64_t begin, int64_t end) { return adam_products(a, products, begin, end); });
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("adam", TORCH_BOX(&n3d::adam));
  m.impl("adam_sh", TORCH_BOX(&n3d::adam_sh));
}
