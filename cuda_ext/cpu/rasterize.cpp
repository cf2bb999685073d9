// Blends the tiles' lists to an image and pulls gradients back. Channels go through in groups of four: colours blend
// independently, and the gradient of alpha is a sum over channels, so the groups' gradients simply add up.
#include <cmath>

#include "driver.h"

namespace n3d {
namespace {

constexpr int64_t kRowGrain = 2048;

struct Inputs {
  const Tensor &means_px, &conics, &opacities, &colors, &background, &tile_offsets, &gaussians, &slots, &slot_offsets;
};

// One record for each Gaussian that is seen, for `channels` colours from `first` on.
template <class S>
void pack_records(const Inputs& in, int64_t first, int channels, BlendRecord<S>* records) {
  const S *mean = pointer<S>(in.means_px), *conic = pointer<S>(in.conics), *opacity = pointer<S>(in.opacities);
  const S* color = pointer<S>(in.colors);
  const int32_t* slots = pointer<int32_t>(in.slot_offsets);
  const int64_t n = in.means_px.size(0), all = in.colors.size(1);
  const S log2_e = S(1.4426950408889634);
  share(n, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (slots[i] == slots[i + 1]) continue;
      BlendRecord<S>& r = records[i];
      r.x = mean[2 * i], r.y = mean[2 * i + 1];
      r.a = S(-0.5) * log2_e * conic[3 * i], r.b = -log2_e * conic[3 * i + 1],
      r.c = S(-0.5) * log2_e * conic[3 * i + 2];
      r.top = std::log2(opacity[i]);
      r.peak_scale = S(-0.5) / r.a;
      r.unused = S(0);
      for (int c = 0; c < channels; ++c) r.color[c] = color[i * all + first + c];
    }
  });
}

template <class S>
BlendArgs<S> blend_args(const Inputs& in, int64_t first, int64_t width, int64_t height, double alpha_min,
                        double transmittance_min) {
  static thread_local std::vector<char> space;
  BlendRecord<S>* records = aligned_space<BlendRecord<S>>(space, in.means_px.size(0));
  BlendArgs<S> a = {};
  const int64_t left = in.colors.size(1) - first;
  a.channels = int(left < kMaxChannels ? left : kMaxChannels);
  pack_records<S>(in, first, a.channels, records);
  a.records = records;
  a.tile_offsets = pointer<int32_t>(in.tile_offsets);
  a.gaussian_from_intersection = pointer<int32_t>(in.gaussians);
  a.slot_from_intersection = pointer<int32_t>(in.slots);
  a.width = int(width), a.height = int(height), a.tiles_x = int((width + kTile - 1) / kTile);
  a.background = pointer<S>(in.background) + first;
  a.log2_alpha_min = alpha_min > 0 ? S(std::log2(alpha_min)) : S(-126);
  a.transmittance_min = S(transmittance_min);
  return a;
}

// Sums each Gaussian's slots in their own order and turns moments into gradients.
template <class S>
void reduce_slots(const Inputs& in, const BlendArgs<S>& a, int64_t first, S* d_means, S* d_conics, S* d_opacities,
                  S* d_colors) {
  const S *conic = pointer<S>(in.conics), *opacity = pointer<S>(in.opacities);
  const int32_t* slots = pointer<int32_t>(in.slot_offsets);
  const int64_t n = in.means_px.size(0), all = in.colors.size(1);
  share(n, kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      S sum[kSlot] = {};
      for (int32_t slot = slots[i]; slot < slots[i + 1]; ++slot)
        for (int k = 0; k < kMomentCount + kMaxChannels; ++k)
          if (k < kMomentCount + a.channels) sum[k] += a.slots[int64_t(slot) * kSlot + k];
      // With q = -1/2 d^T conic d and vp = d loss / d log alpha: the sums are of vp, vp dx, vp dy, vp dx^2, vp dx dy,
      // vp dy^2.
      const S ca = conic[3 * i], cb = conic[3 * i + 1], cc = conic[3 * i + 2];
      d_means[2 * i] += ca * sum[1] + cb * sum[2];
      d_means[2 * i + 1] += cb * sum[1] + cc * sum[2];
      d_conics[3 * i] += S(-0.5) * sum[3];
      d_conics[3 * i + 1] -= sum[4];
      d_conics[3 * i + 2] += S(-0.5) * sum[5];
      if (slots[i] != slots[i + 1]) d_opacities[i] += sum[0] / opacity[i];
      for (int c = 0; c < a.channels; ++c) d_colors[i * all + first + c] = sum[kMomentCount + c];
    }
  });
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
      reduce_slots<S>(in, a, first, pointer<S>(d_means), pointer<S>(d_conics), pointer<S>(d_opacities),
                      pointer<S>(d_colors));
    }
    return std::make_tuple(d_means, d_conics, d_opacities, d_colors);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("rasterize", TORCH_BOX(&n3d::rasterize));
  m.impl("rasterize_vjp", TORCH_BOX(&n3d::rasterize_vjp));
}
