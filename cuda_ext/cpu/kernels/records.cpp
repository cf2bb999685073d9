// Before and after the blend loops: Gaussians made ready for them, and what the loops leave summed for each Gaussian.
#include "../kernels.h"
#include "../simd.h"

namespace n3d {
namespace N3D_ISA {

template <class S>
static N3D_INLINE bool is_seen(const RecordArgs<S>& a, int64_t i) {
  return a.slot_offsets[i] != a.slot_offsets[i + 1];
}

template <class V>
static void pack_records(const RecordArgs<typename V::scalar>& a, int64_t begin, int64_t end) {
  using S = typename V::scalar;
  const S log2_e = S(1.4426950408889634);
  N3D_ALIGN64 S tops[V::lanes];
  for (int64_t block = begin; block < end; block += V::lanes) {
    const int n = end - block < V::lanes ? int(end - block) : V::lanes;
    (V(log2_e) * log(load_rows<V>(a.opacities + block, 1, n))).store(tops);
    for (int lane = 0; lane < n; ++lane) {
      const int64_t i = block + lane;
      if (!is_seen(a, i)) continue;
      BlendRecord<S>& r = a.records[i];
      r.x = a.means[2 * i], r.y = a.means[2 * i + 1];
      r.a = S(-0.5) * log2_e * a.conics[3 * i], r.b = -log2_e * a.conics[3 * i + 1];
      r.c = S(-0.5) * log2_e * a.conics[3 * i + 2];
      r.top = tops[lane];
      r.twice_a = r.a + r.a, r.twice_c = r.c + r.c;
      r.peak_x = S(-0.5) / r.a, r.peak_y = S(-0.5) / r.c;
      for (int c = 0; c < a.channels; ++c) r.color[c] = a.colors[i * a.columns + c];
    }
  }
}

// A Gaussian's slots in their own order.
template <class V, int REGISTERS>
static N3D_INLINE void sum_slots(const RecordArgs<typename V::scalar>& a, int64_t i, typename V::scalar* sum) {
  using S = typename V::scalar;
  V total[REGISTERS];
  for (int j = 0; j < REGISTERS; ++j) total[j] = V(S(0));
  for (int32_t slot = a.slot_offsets[i]; slot < a.slot_offsets[i + 1]; ++slot)
    for (int j = 0; j < REGISTERS; ++j) total[j] = total[j] + V::load(a.slots + int64_t(slot) * kSlot + j * V::lanes);
  for (int j = 0; j < REGISTERS; ++j) total[j].store(sum + j * V::lanes);
}

// With q = -1/2 d^T conic d and p = d loss / d log alpha, a slot holds the sums of p, p dx, p dy, p dx^2, p dx dy, p
// dy^2 and the colours' gradients.
template <class V>
static void reduce_slots(const RecordArgs<typename V::scalar>& a, int64_t begin, int64_t end) {
  using S = typename V::scalar;
  constexpr int registers = (kMomentCount + kMaxChannels + V::lanes - 1) / V::lanes;
  N3D_ALIGN64 S sum[registers * V::lanes];
  for (int64_t i = begin; i < end; ++i) {
    for (int c = 0; c < a.channels; ++c) a.d_colors[i * a.columns + c] = S(0);
    if (!is_seen(a, i)) continue;
    sum_slots<V, registers>(a, i, sum);
    const S ca = a.conics[3 * i], cb = a.conics[3 * i + 1], cc = a.conics[3 * i + 2];
    a.d_means[2 * i] += ca * sum[1] + cb * sum[2];
    a.d_means[2 * i + 1] += cb * sum[1] + cc * sum[2];
    a.d_conics[3 * i] += S(-0.5) * sum[3];
    a.d_conics[3 * i + 1] -= sum[4];
    a.d_conics[3 * i + 2] += S(-0.5) * sum[5];
    a.d_opacities[i] += sum[0] / a.opacities[i];
    for (int c = 0; c < a.channels; ++c) a.d_colors[i * a.columns + c] = sum[kMomentCount + c];
  }
}

void pack_records(const RecordArgs<float>& a, int64_t begin, int64_t end) { pack_records<VectorF>(a, begin, end); }
void pack_records(const RecordArgs<double>& a, int64_t begin, int64_t end) { pack_records<VectorD>(a, begin, end); }
void reduce_slots(const RecordArgs<float>& a, int64_t begin, int64_t end) { reduce_slots<VectorF>(a, begin, end); }
void reduce_slots(const RecordArgs<double>& a, int64_t begin, int64_t end) { reduce_slots<VectorD>(a, begin, end); }

}  // namespace N3D_ISA
}  // namespace n3d
