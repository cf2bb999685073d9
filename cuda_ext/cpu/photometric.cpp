// L1 + SSIM against an 8-bit photo, with the gradient in the same call: training always wants both.
#include <cstring>

#include "driver.h"

namespace n3d {
namespace {

constexpr int kStrip = 32;  // rows that one thread takes at a time

// Work space that lives on. The rows above and below the image and the margins of the others must read as zero; the
// loops never write there, so they are cleared only when the size changes.
template <class S>
struct PhotometricSpace {
  std::vector<char> bytes;
  std::vector<double> row_loss, row_error;
  int width = 0, height = 0;
};

template <class S>
void lay_out(PhotometricSpace<S>& space, PhotometricArgs<S>& a) {
  const int64_t size = 3 * (int64_t(a.height) + 2 * kWindowRadius) * a.stride + 2 * kPlaneMargin;
  S* first = aligned_space<S>(space.bytes, 5 * size);
  if (space.width != a.width || space.height != a.height) {
    std::memset(first, 0, size_t(5 * size) * sizeof(S));
    space.width = a.width, space.height = a.height;
  }
  S** planes[5] = {&a.x, &a.y, &a.u, &a.v, &a.w};
  for (int p = 0; p < 5; ++p) *planes[p] = first + p * size;
  space.row_loss.resize(size_t(3 * a.height));
  space.row_error.resize(size_t(3 * a.height));
  a.row_loss = space.row_loss.data(), a.row_error = space.row_error.data();
}

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
    static thread_local PhotometricSpace<S> space;
    PhotometricArgs<S> a = {};
    a.height = int(image.size(1)), a.width = int(image.size(2));
    a.image = pointer<S>(image), a.target = pointer<uint8_t>(target), a.alpha = pointer<uint8_t>(target_alpha);
    a.valid = pointer<uint8_t>(valid), a.background = pointer<S>(background);
    a.stride = (a.width + 4 * kPlaneMargin + 15) / 16 * 16;
    const int64_t pixels = int64_t(a.width) * a.height, count = count_valid(a.valid, pixels);
    const double share_of_one = count > 0 ? 1.0 / (3.0 * double(count)) : 0.0;
    a.weight_l1 = S((1 - ssim_weight) * share_of_one), a.weight_ssim = S(ssim_weight * share_of_one);
    Tensor loss = fresh({}, scalar_type<S>()), error = fresh({}, scalar_type<S>()),
           gradient = fresh({3, a.height, a.width}, scalar_type<S>());
    a.d_image = pointer<S>(gradient);
    lay_out(space, a);
    share(a.height, 8, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) kernels<S>().photometric_fill(a, int(row));
    });
    const int64_t strips = (a.height + kStrip - 1) / kStrip;
    const auto each_strip = [&](auto loop) {
      share(3 * strips, 1, [&](int64_t i, int64_t) {
        const int begin = int(i % strips) * kStrip;
        loop(a, int(i / strips), begin, begin + kStrip < a.height ? begin + kStrip : a.height);
      });
    };
    each_strip(kernels<S>().photometric);
    each_strip(kernels<S>().photometric_vjp);
    double total = 0, squared = 0;
    for (double row : space.row_loss) total += row;
    for (double row : space.row_error) squared += row;
    *pointer<S>(loss) = S(total), *pointer<S>(error) = S(squared * share_of_one);
    return std::make_tuple(loss, error, gradient);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) { m.impl("photometric", TORCH_BOX(&n3d::photometric)); }
