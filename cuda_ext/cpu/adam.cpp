// One step of Adam, in place, over the rows that were seen.
#include <cmath>

#include "driver.h"

namespace n3d {

constexpr int64_t kAdamGrain = 1024;

static Tensor adam(Tensor param, Tensor grad, Tensor first, Tensor second, Tensor rates, std::optional<Tensor> visible,
                   int64_t step, double beta1, double beta2, double eps) {
  return N3D_FOR_SCALAR(param, S, [&] {
    AdamArgs<S> a = {};
    a.param = pointer<S>(param), a.grad = pointer<S>(grad), a.first = pointer<S>(first), a.second = pointer<S>(second);
    a.rates = pointer<S>(rates), a.visible = pointer<uint8_t>(visible);
    a.columns = rates.numel();
    a.beta1 = S(beta1), a.beta2 = S(beta2), a.eps = S(eps);
    a.bias1 = S(1 / (1 - std::pow(beta1, double(step)))), a.bias2 = S(1 / std::sqrt(1 - std::pow(beta2, double(step))));
    std::atomic<int64_t> poisoned{0};
    share(param.size(0), kAdamGrain, [&](int64_t begin, int64_t end) { poisoned += kernels<S>().adam(a, begin, end); });
    Tensor count = fresh({}, ScalarType::Long);
    *pointer<int64_t>(count) = poisoned;
    return count;
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) { m.impl("adam", TORCH_BOX(&n3d::adam)); }
