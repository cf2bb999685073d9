// Lists the tiles that each Gaussian meets: the geometry for a register of Gaussians at a time, then their lists one
// after the other, and the same in another order. How many rows an ellipse has and how many tiles a row has cannot be
// predicted, so a row's tiles are written a register at a time and what is too much is written over.
#include "../kernels.h"
#include "../prefetch.h"
#include "../runs.h"
#include "../simd.h"
// simd.h's functions must be seen before the formulas that use them.
#include "../../math/tiles.h"

namespace n3d {
namespace N3D_ISA {

template <class V>
static N3D_INLINE Ellipse<V> load_ellipses(const TileArgs<typename V::scalar>& a, int64_t i, int n) {
  const auto *mean = a.means + 2 * i, *conic = a.conics + 3 * i, *extent = a.extents + 2 * i;
  return {load_rows<V>(mean, 2, n),      load_rows<V>(mean + 1, 2, n),  load_rows<V>(conic, 3, n),
          load_rows<V>(conic + 1, 3, n), load_rows<V>(conic + 2, 3, n), load_rows<V>(extent, 2, n),
          load_rows<V>(extent + 1, 2, n)};
}

// For each row of tiles the first tile and the number of them, of up to so many ellipses as a register has lanes.
template <class V>
struct TileSpans {
  using S = typename V::scalar;
  static constexpr int lanes = V::lanes;
  int32_t tiles_x, top[lanes], rows[lanes];
  int32_t* spans;  // [row,2,lanes]: first column, and how many
  int64_t at_most;

  N3D_INLINE TileSpans(const TileArgs<S>& a, int64_t i, int n, int32_t* space)
      : tiles_x(a.tiles_x), spans(space), at_most(0) {
    const Ellipse<V> e = load_ellipses<V>(a, i, n);
    const V zero(S(0));
    TileRows<V> box;
    set_box(box, e, a.tiles_x, a.tiles_y);
    const V height = max(box.y1 - box.y0, zero), width = box.x1 - box.x0;
    store_whole(select((e.extent_x > zero) & (width > zero), height, zero), rows);
    int32_t columns[lanes], most = 0;
    store_whole(width, columns);
    for (int lane = 0; lane < lanes; ++lane) {
      most = rows[lane] > most ? rows[lane] : most;
      if (rows[lane] > 0) at_most += int64_t(rows[lane]) * columns[lane];
    }
    store_whole(box.y0, top);
    if (most > 0) fill(a, e, box, most);
  }

  N3D_INLINE void fill(const TileArgs<S>& a, const Ellipse<V>& e, TileRows<V>& box, int most) {
    const V zero(S(0)), one(S(1));
    set_ellipse(box, e);
    V row = box.y0;
    TileBorder<V> low = tile_border(e, box, row);
    for (int r = 0; r < most; ++r, row = row + one) {
      const TileBorder<V> high = tile_border(e, box, row + one);
      const TileSpan<V> span = span_between(e, box, low, high, a.tiles_x);
      const V first = select(box.boxed, box.x0, span.first), last = select(box.boxed, box.x1, span.last);
      store_whole(first, spans + 2 * r * lanes);
      store_whole(max(last - first, zero), spans + (2 * r + 1) * lanes);
      low = high;
    }
  }

  N3D_INLINE int32_t* write(int lane, int32_t* out) const {
    for (int r = 0; r < rows[lane]; ++r) {
      const int32_t first = (top[lane] + r) * tiles_x + spans[2 * r * lanes + lane];
      const int32_t count = spans[(2 * r + 1) * lanes + lane];
      for (int k = 0; k < count; k += kListStep) store_run(first + k, out + k);
      out += count;
    }
    return out;
  }
};

template <class V>
static int64_t list_any_tiles(const TileArgs<typename V::scalar>& a, int64_t begin, int64_t end, TileSink& sink) {
  int64_t total = 0;
  for (int64_t i = begin; i < end; i += V::lanes) {
    const int n = end - i < V::lanes ? int(end - i) : V::lanes;
    const TileSpans<V> spans(a, i, n, sink.spans);
    const int64_t room = total + spans.at_most + kListStep;
    if (room > sink.room) sink.tiles = sink.grow(sink.owner, sink.room = room + room / 2);
    for (int lane = 0; lane < n; ++lane) {
      total = spans.write(lane, sink.tiles + total) - sink.tiles;
      a.ends[i + lane] = int32_t(total);
    }
  }
  return total;
}

int64_t list_tiles(const TileArgs<float>& a, int64_t begin, int64_t end, TileSink& sink) {
  return list_any_tiles<VectorF>(a, begin, end, sink);
}
int64_t list_tiles(const TileArgs<double>& a, int64_t begin, int64_t end, TileSink& sink) {
  return list_any_tiles<VectorD>(a, begin, end, sink);
}

int64_t list_pairs(const PairArgs& a, int64_t begin, int64_t end) {
  constexpr int64_t ahead = 12;  // Gaussians between asking for one and reading it
  const auto ranked = [&](int64_t i) { return a.ranked[i * a.stride]; };
  const auto tiles_of = [&](int32_t g) {
    const ListedTiles& block = a.blocks[g / kTileBlock];
    return block.tiles + (a.slots[g] - block.begin);
  };
  int64_t at = 0;
  for (int64_t i = begin; i < end; ++i) {
    if (i + 2 * ahead < end) prefetch(a.slots + ranked(i + 2 * ahead));
    if (i + ahead < end) prefetch(tiles_of(ranked(i + ahead)));
    const int32_t g = ranked(i), slot = a.slots[g], count = a.slots[g + 1] - slot;
    const int32_t* tiles = tiles_of(g);
    for (int32_t k = 0; k < count; k += kListStep) {
      copy_run(tiles + k, a.tiles + at + k);
      store_run(slot + k, a.pair_slots + at + k);
      store_same(g, a.gaussians + at + k);
    }
    at += count;
  }
  return at;
}

}  // namespace N3D_ISA
}  // namespace n3d
