// Blends the tiles' lists to an image and pulls gradients back. Channels go through in groups of four: colours blend
// independently, and the gradient of alpha is a sum over channels, so the groups' gradients simply add up.
#include <algorithm>
#include <cmath>

#include "driver.h"

namespace n3d {
namespace {

constexpr int64_t kRowGrain = 2048;

struct Inputs {
  const Tensor &means_px, &conics, &opacities, &colors, &background, &tile_offsets, &gaussians, &slots, &slot_offsets;
};

// For channels `first` and up to three more.
template <class S>
RecordArgs<S> record_args(const Inputs& in, int64_t first) {
  RecordArgs<S> a = {};
  a.means = pointer<S>(in.means_px), a.conics = pointer<S>(in.conics), a.opacities = pointer<S>(in.opacities);
  a.colors = pointer<S>(in.colors) + first;
  a.columns = in.colors.size(1);
  a.channels = int(std::min<int64_t>(a.columns - first, kMaxChannels));
  a.slot_offsets = pointer<int32_t>(in.slot_offsets);
  return a;
}

template <class S>
BlendArgs<S> blend_args(const Inputs& in, int64_t first, int64_t width, int64_t height, double alpha_min,
                        double transmittance_min) {
  static thread_local std::vector<char> space;
  const int64_t n = in.means_px.size(0), tiles = ((width + kTile - 1) / kTile) * ((height + kTile - 1) / kTile);
  STD_TORCH_CHECK(tiles == in.tile_offsets.size(0) - 1, "neural3d: the tiles are not those of the image");
  RecordArgs<S> records = record_args<S>(in, first);
  records.records = aligned_space<BlendRecord<S>>(space, n);
  share(n, kRowGrain, [&](int64_t begin, int64_t end) { kernels<S>().pack_records(records, begin, end); });
  BlendArgs<S> a = {};
  a.channels = records.channels;
  a.records = records.records;
  a.tile_offsets = pointer<int32_t>(in.tile_offsets);
  a.gaussian_from_intersection = pointer<int32_t>(in.gaussians);
  a.slot_from_intersection = pointer<int32_t>(in.slots);
  a.width = int(width), a.height = int(height), a.tiles_x = int((width + kTile - 1) / kTile);
  a.background = pointer<S>(in.background) + first;
  a.log2_alpha_min = alpha_min > 0 ? S(std::log2(alpha_min)) : S(-126);
  a.transmittance_min = S(transmittance_min);
  return a;
}

template <class S>
Tensor zeros(std::initializer_list<int64_t> size) {
  Tensor t = fresh(size, scalar_type<S>());
  if (t.numel() > 0) memset(t.mutable_data_ptr(), 0, size_t(t.numel()) * sizeof(S));
  return t;
}

}  // namespace

// The CPU's backward pass needs nothing of the forward pass but its results, so its state is empty.
static std::tuple<Tensor, Tensor, Tensor> rasterize(Tensor means_px, Tensor conics, Tensor opacities, Tensor colors,
                                                    Tensor background, Tensor tile_offsets, Tensor gaussians,
                                                    Tensor slots, Tensor slot_offsets, int64_t width, int64_t height,
                                                    double alpha_min, double transmittance_min, bool with_state) {
  const Inputs in{means_px, conics, opacities, colors, background, tile_offsets, gaussians, slots, slot_offsets};
  return N3D_FOR_SCALAR(means_px, S, [&] {
    const int64_t channels = colors.size(1);
    Tensor image = fresh({channels, height, width}, scalar_type<S>()),
           alphas = fresh({height, width}, scalar_type<S>());
    for (int64_t first = 0; first < channels; first += kMaxChannels) {
      BlendArgs<S> a = blend_args<S>(in, first, width, height, alpha_min, transmittance_min);
      a.image = pointer<S>(image) + first * height * width;
      a.alphas = first == 0 ? pointer<S>(alphas) : nullptr;
      share(tile_offsets.size(0) - 1, 1, [&](int64_t tile, int64_t) { kernels<S>().blend(a, int(tile)); });
    }
    return std::make_tuple(image, alphas, fresh({0}, ScalarType::Byte));
  });
}

static std::tuple<Tensor, Tensor, Tensor, Tensor> rasterize_vjp(Tensor means_px, Tensor conics, Tensor opacities,
                                                                Tensor colors, Tensor background, Tensor tile_offsets,
                                                                Tensor gaussians, Tensor slots, Tensor slot_offsets,
                                                                int64_t width, int64_t height, double alpha_min,
                                                                double transmittance_min, Tensor image, Tensor alphas,
                                                                Tensor state, Tensor d_image,
                                                                std::optional<Tensor> d_alphas) {
  const Inputs in{means_px, conics, opacities, colors, background, tile_offsets, gaussians, slots, slot_offsets};
  return N3D_FOR_SCALAR(means_px, S, [&] {
    static thread_local std::vector<char> space;
    const int64_t n = means_px.size(0), channels = colors.size(1);
    Tensor d_means = zeros<S>({n, 2}), d_conics = zeros<S>({n, 3}), d_opacities = zeros<S>({n});
    Tensor d_colors = fresh({n, channels}, scalar_type<S>());
    S* slot_space = aligned_space<S>(space, gaussians.size(0) * kSlot);
    for (int64_t first = 0; first < channels; first += kMaxChannels) {
      BlendArgs<S> a = blend_args<S>(in, first, width, height, alpha_min, transmittance_min);
      a.image = pointer<S>(image) + first * height * width;
      a.d_image = pointer<S>(d_image) + first * height * width;
      a.alphas = first == 0 ? pointer<S>(alphas) : nullptr;
      a.d_alphas = first == 0 ? pointer<S>(d_alphas) : nullptr;
      a.slots = slot_space;
      share(tile_offsets.size(0) - 1, 1, [&](int64_t tile, int64_t) { kernels<S>().blend_vjp(a, int(tile)); });
      RecordArgs<S> sums = record_args<S>(in, first);
      sums.slots = slot_space;
      sums.d_means = pointer<S>(d_means), sums.d_conics = pointer<S>(d_conics);
      sums.d_opacities = pointer<S>(d_opacities), sums.d_colors = pointer<S>(d_colors) + first;
      share(n, kRowGrain, [&](int64_t begin, int64_t end) { kernels<S>().reduce_slots(sums, begin, end); });
    }
    return std::make_tuple(d_means, d_conics, d_opacities, d_colors);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("rasterize", TORCH_BOX(&n3d::rasterize));
  m.impl("rasterize_vjp", TORCH_BOX(&n3d::rasterize_vjp));
}
