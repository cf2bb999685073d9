// L1 + SSIM against an 8-bit photo, with the gradient in the same call: training always wants both.
#include <vector>

#include "driver.h"

namespace n3d {
namespace {

int64_t count_valid(const uint8_t* valid, int64_t pixels) {
  if (!valid) return pixels;
  int64_t count = 0;
  for (int64_t i = 0; i < pixels; ++i) count += valid[i] != 0;
  return count;
}

}  // namespace

static std::tuple<Tensor, Tensor, Tensor> photometric(Tensor image, Tensor target, std::optional<Tensor> target_alpha,
                                                      std::optional<Tensor> valid, Tensor background,
                                                      double ssim_weight) {
  return N3D_FOR_SCALAR(image, S, [&] {
    PhotometricArgs<S> a = {};
    a.height = int(image.size(1)), a.width = int(image.size(2));
    a.image = pointer<S>(image), a.target = pointer<uint8_t>(target), a.alpha = pointer<uint8_t>(target_alpha);
    a.valid = pointer<uint8_t>(valid), a.background = pointer<S>(background);
    const int64_t pixels = int64_t(a.width) * a.height, count = count_valid(a.valid, pixels);
    const double share_of_one = count > 0 ? 1.0 / (3.0 * double(count)) : 0.0;
    a.weight_l1 = S((1 - ssim_weight) * share_of_one), a.weight_ssim = S(ssim_weight * share_of_one);
    Tensor loss = fresh({}, scalar_type<S>()), error = fresh({}, scalar_type<S>()),
           gradient = fresh({3, a.height, a.width}, scalar_type<S>());
    a.d_image = pointer<S>(gradient);
    std::vector<double> row_loss(size_t(3 * a.height)), row_error(size_t(3 * a.height));
    a.row_loss = row_loss.data(), a.row_error = row_error.data();
    const int64_t strips = (a.height + kSimilarityStrip - 1) / kSimilarityStrip;
    share(3 * strips, 1, [&](int64_t i, int64_t) {
      static thread_local std::vector<char> bytes;
      S* const space = aligned_space<S>(bytes, a.space());
      // As even as may be: strip k of n begins at row H k / n.
      const int64_t strip = i % strips;
      kernels<S>().photometric(a, int(i / strips), int(a.height * strip / strips), int(a.height * (strip + 1) / strips),
                               space);
    });
    double total = 0, squared = 0;
    for (double row : row_loss) total += row;
    for (double row : row_error) squared += row;
    *pointer<S>(loss) = S(total), *pointer<S>(error) = S(squared * share_of_one);
    return std::make_tuple(loss, error, gradient);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) { m.impl("photometric", TORCH_BOX(&n3d::photometric)); }
