// This instruction set's loops as a table of pointers.
#include "../kernels.h"

namespace n3d {
namespace N3D_ISA {

template <class S>
static constexpr Kernels<S> table = {
    project,      project_vjp, sh,        sh_vjp,      sh_products,    list_tiles,         list_pairs, pack_records,
    reduce_slots, blend,       blend_vjp, photometric, color_affine,   color_affine_vjp,   bilateral,  bilateral_vjp,
    adam,         penalties,   shake,     hash_encode, hash_table_vjp, hash_positions_vjp, radiance,   radiance_vjp,
    blend_points, pull_points};

const Kernels<float>* float_table() { return &table<float>; }
const Kernels<double>* double_table() { return &table<double>; }

}  // namespace N3D_ISA
}  // namespace n3d
