// A bilateral grid over one image. Bands of rows share nothing but the rows of nodes between them, whose gradients are
// the sum of two bands', so the number of threads does not change a bit.
#include "driver.h"
// After driver.h, whose kernels.h declares no loops for the instruction set "scalar".
#include "../math/bilateral.h"

namespace n3d {
namespace {

template <class S>
struct BilateralSpace {
  std::vector<char> nodes, d_nodes;
  std::vector<int> first_row;  // of each band, and the height
};

int bands_of(int nodes_y) { return nodes_y > 1 ? nodes_y - 1 : 1; }

template <class S>
void begin_bilateral(BilateralSpace<S>& space, BilateralArgs<S>& a, const Tensor& image, const Tensor& grid) {
  STD_TORCH_CHECK(image.dim() == 3 && image.size(0) == 3, "neural3d: an image is [3, H, W]");
  STD_TORCH_CHECK(grid.dim() == 4 && grid.size(0) == kBilateralMatrix && grid.numel() > 0,
                  "neural3d: a grid is [12, Z, Y, X]");
  a.image = pointer<S>(image), a.height = int(image.size(1)), a.width = int(image.size(2));
  a.nodes_z = int(grid.size(1)), a.nodes_y = int(grid.size(2)), a.nodes_x = int(grid.size(3));
  const int64_t count = grid.numel() / kBilateralMatrix;
  const S* from = pointer<S>(grid);
  S* nodes = aligned_space<S>(space.nodes, grid.numel());
  const int64_t plane = int64_t(a.nodes_y) * a.nodes_x;
  for (int64_t k = 0; k < kBilateralMatrix; ++k)
    for (int64_t z = 0; z < a.nodes_z; ++z)
      for (int64_t yx = 0; yx < plane; ++yx)
        nodes[(yx * a.nodes_z + z) * kBilateralMatrix + k] = from[k * count + z * plane + yx];
  a.nodes = nodes;
  const int bands = bands_of(a.nodes_y);
  space.first_row.assign(size_t(bands) + 1, a.height);
  for (int row = a.height - 1; row >= 0; --row) {
    const int band = int(scalar::node_position<S>(row, a.height, a.nodes_y));
    for (int b = band < bands ? band : bands - 1; b >= 0 && space.first_row[size_t(b)] > row; --b)
      space.first_row[size_t(b)] = row;
  }
}

// Calls loop for every band with work space of its thread.
template <class S, class F>
void each_band(const BilateralSpace<S>& space, const BilateralArgs<S>& a, F loop) {
  share(bands_of(a.nodes_y), 1, [&](int64_t band, int64_t) {
    static thread_local std::vector<char> bytes;
    S* own = aligned_space<S>(bytes, a.space());
    loop(a, int(band), space.first_row[size_t(band)], space.first_row[size_t(band) + 1], own);
  });
}

}  // namespace

static Tensor bilateral_slice(Tensor image, Tensor grid) {
  return N3D_FOR_SCALAR(image, S, [&] {
    static thread_local BilateralSpace<S> space;
    BilateralArgs<S> a = {};
    begin_bilateral(space, a, image, grid);
    Tensor out = fresh({3, a.height, a.width}, scalar_type<S>());
    a.out = pointer<S>(out);
    each_band(space, a, kernels<S>().bilateral);
    return out;
  });
}

static std::tuple<Tensor, Tensor> bilateral_slice_vjp(Tensor image, Tensor grid, Tensor grad) {
  return N3D_FOR_SCALAR(image, S, [&] {
    static thread_local BilateralSpace<S> space;
    BilateralArgs<S> a = {};
    begin_bilateral(space, a, image, grid);
    STD_TORCH_CHECK(grad.numel() == image.numel(), "neural3d: a gradient has the image's size");
    Tensor d_image = fresh({3, a.height, a.width}, scalar_type<S>());
    Tensor d_grid = fresh({kBilateralMatrix, a.nodes_z, a.nodes_y, a.nodes_x}, scalar_type<S>());
    a.d_out = pointer<S>(grad), a.d_image = pointer<S>(d_image);
    const int bands = bands_of(a.nodes_y);
    const int64_t row = int64_t(a.nodes_x) * a.nodes_z * kBilateralMatrix;
    a.d_nodes = aligned_space<S>(space.d_nodes, 2 * bands * row);
    each_band(space, a, kernels<S>().bilateral_vjp);
    S* to = pointer<S>(d_grid);
    for (int64_t k = 0; k < kBilateralMatrix; ++k)
      for (int64_t z = 0; z < a.nodes_z; ++z)
        for (int64_t y = 0; y < a.nodes_y; ++y)
          for (int64_t x = 0; x < a.nodes_x; ++x) {
            const int64_t at = (x * a.nodes_z + z) * kBilateralMatrix + k;
            const S over = y < bands ? a.d_nodes[2 * y * row + at] : S(0);
            *to++ = y > 0 ? over + a.d_nodes[(2 * y - 1) * row + at] : over;
          }
    return std::make_tuple(d_image, d_grid);
  });
}

}  // namespace n3d

STABLE_TORCH_LIBRARY_IMPL(neural3d, CPU, m) {
  m.impl("bilateral_slice", TORCH_BOX(&n3d::bilateral_slice));
  m.impl("bilateral_slice_vjp", TORCH_BOX(&n3d::bilateral_slice_vjp));
}
