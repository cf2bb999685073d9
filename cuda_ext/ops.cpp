// The table of contents: every native operator's schema. Python adds the fakes and the gradients (neural3d/ops/), the
// drivers register themselves at the foot of their files.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(neural3d, m) {
  m.def(
      "project(Tensor means_world, Tensor quats_wxyz, Tensor log_scales, Tensor logit_opacities, Tensor "
      "camera_from_world, "
      "Tensor focal_px, Tensor principal_px, int width, int height, float near, float blur_px2, float alpha_min, "
      "bool antialiased) -> (Tensor means_px, Tensor conics, Tensor opacities, Tensor depths, Tensor extents_px)");
  m.def(
      "project_vjp(Tensor means_world, Tensor quats_wxyz, Tensor log_scales, Tensor logit_opacities, "
      "Tensor camera_from_world, Tensor focal_px, Tensor principal_px, int width, int height, float near, float "
      "blur_px2, "
      "float alpha_min, bool antialiased, Tensor extents_px, Tensor grad_means_px, Tensor grad_conics, "
      "Tensor grad_opacities, Tensor? grad_depths, Tensor? grad_means_world) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("visible_rows(Tensor extents_px) -> Tensor");
  m.def("sh_colors(Tensor means_world, Tensor sh, Tensor center_world, int degree, Tensor? extents_px) -> Tensor");
  m.def(
      "sh_colors_vjp(Tensor means_world, Tensor sh, Tensor center_world, int degree, Tensor? extents_px, Tensor "
      "colors, "
      "Tensor grad_colors) -> (Tensor, Tensor)");
  m.def(
      "sh_pulls(Tensor means_world, Tensor sh, Tensor center_world, int degree, Tensor? extents_px, Tensor colors, "
      "Tensor grad_colors) -> (Tensor grad_means_world, Tensor pulls)");
  m.def(
      "bin_gaussians(Tensor means_px, Tensor conics, Tensor depths, Tensor extents_px, int width, int height) "
      "-> (Tensor tile_offsets, Tensor gaussian_from_intersection, Tensor slot_from_intersection, Tensor "
      "slot_offsets)");
  m.def(
      "bin_gaussians_within(Tensor means_px, Tensor conics, Tensor depths, Tensor extents_px, int width, int height, "
      "int capacity) -> (Tensor tile_offsets, Tensor gaussian_from_intersection, Tensor slot_from_intersection, Tensor "
      "slot_offsets, Tensor pairs)");
  m.def(
      "rasterize(Tensor means_px, Tensor conics, Tensor opacities, Tensor colors, Tensor background, Tensor "
      "tile_offsets, "
      "Tensor gaussian_from_intersection, Tensor slot_from_intersection, Tensor slot_offsets, int width, int height, "
      "float alpha_min, float transmittance_min, bool with_state=False) -> (Tensor image, Tensor alphas, Tensor "
      "state)");
  m.def(
      "rasterize_vjp(Tensor means_px, Tensor conics, Tensor opacities, Tensor colors, Tensor background, "
      "Tensor tile_offsets, Tensor gaussian_from_intersection, Tensor slot_from_intersection, Tensor slot_offsets, "
      "int width, int height, float alpha_min, float transmittance_min, Tensor image, Tensor alphas, Tensor state, "
      "Tensor grad_image, Tensor? grad_alphas) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def(
      "photometric(Tensor image, Tensor target, Tensor? target_alpha, Tensor? valid, Tensor background, "
      "float ssim_weight) -> (Tensor loss, Tensor squared_error, Tensor grad_image)");
  m.def(
      "adam(Tensor(a!) param, Tensor grad, Tensor(b!) first_moment, Tensor(c!) second_moment, Tensor learning_rates, "
      "Tensor? visible, int step, float beta1, float beta2, float eps) -> Tensor");
  m.def(
      "adam_sh(Tensor(a!) sh, Tensor pulls, Tensor means_world, Tensor center_world, int degree, Tensor(b!) "
      "first_moment, Tensor(c!) second_moment, Tensor learning_rates, Tensor? visible, int step, float beta1, float "
      "beta2, float eps) -> Tensor");
  m.def("color_affine(Tensor image, Tensor matrix) -> Tensor");
  m.def("color_affine_vjp(Tensor image, Tensor matrix, Tensor grad) -> (Tensor, Tensor)");
  m.def("bilateral_slice(Tensor image, Tensor grid) -> Tensor");
  m.def("bilateral_slice_vjp(Tensor image, Tensor grid, Tensor grad) -> (Tensor, Tensor)");
  m.def("neighbor_distances(Tensor points, int k) -> Tensor");
  m.def(
      "add_penalties(Tensor log_scales, Tensor logit_opacities, Tensor visible, float scale_weight, float "
      "opacity_weight, "
      "Tensor(a!) grad_log_scales, Tensor(b!) grad_logit_opacities) -> ()");
  m.def(
      "shake(Tensor(a!) means_world, Tensor quats_wxyz, Tensor log_scales, Tensor logit_opacities, Tensor visible, "
      "float strength, int seed, int step) -> ()");
  m.def(
      "hash_encode(Tensor positions, Tensor table, int levels, int coarsest, int finest, int log2_rows, bool smooth) "
      "-> Tensor");
  m.def(
      "hash_encode_vjp(Tensor positions, Tensor table, int levels, int coarsest, int finest, int log2_rows, "
      "bool smooth, Tensor grad, bool with_positions, bool with_table) -> (Tensor, Tensor)");
  m.def(
      "adam_hash(Tensor(a!) table, Tensor positions, Tensor grad_features, int levels, int coarsest, int finest, int "
      "log2_rows, bool smooth, Tensor(b!) first_moment, Tensor(c!) second_moment, Tensor learning_rates, int step, "
      "float beta1, float beta2, float eps) -> Tensor");
  m.def(
      "march(Tensor origins, Tensor directions, Tensor offsets, Tensor box, Tensor occupied, bool contracted, float "
      "near, float far, float step, float cone, int max_steps) -> (Tensor positions, Tensor ts, Tensor deltas, Tensor "
      "ray_offsets)");
  m.def(
      "march_vjp(Tensor origins, Tensor directions, Tensor box, bool contracted, Tensor ts, Tensor ray_offsets, Tensor "
      "grad_positions) -> (Tensor, Tensor)");
  m.def(
      "composite(Tensor densities, Tensor colors, Tensor ts, Tensor deltas, Tensor ray_offsets, float "
      "transmittance_min) -> (Tensor seen, Tensor alphas, Tensor depths, Tensor distortions)");
  m.def(
      "composite_vjp(Tensor densities, Tensor colors, Tensor ts, Tensor deltas, Tensor ray_offsets, float "
      "transmittance_min, Tensor grad_seen, Tensor grad_alphas, Tensor grad_depths, Tensor grad_distortions) -> "
      "(Tensor, Tensor)");
  m.def(
      "update_occupancy(Tensor(a!) densities, Tensor(b!) occupied, Tensor cells, Tensor found, float decay, float "
      "threshold) -> ()");
  m.def(
      "radiance_mlp(Tensor features, Tensor weights, Tensor? ray_features, Tensor? ray_offsets, int width, int "
      "geometry) -> (Tensor densities, Tensor colors)");
  m.def(
      "radiance_mlp_vjp(Tensor features, Tensor weights, Tensor? ray_features, Tensor? ray_offsets, int width, int "
      "geometry, Tensor grad_densities, Tensor grad_colors) -> (Tensor, Tensor, Tensor)");
  m.def(
      "proposal_edges(Tensor features, Tensor edges, Tensor offsets, float near, float knee, float far, int count, "
      "float "
      "uniform) -> Tensor");
  m.def(
      "interlevel(Tensor features, Tensor edges, Tensor densities, Tensor fine_edges, float near, float knee, float "
      "far) "
      "-> Tensor");
  m.def(
      "interlevel_vjp(Tensor features, Tensor edges, Tensor densities, Tensor fine_edges, float near, float knee, "
      "float "
      "far, Tensor grad) -> Tensor");
  m.def(
      "nearest_points(Tensor queries, Tensor points, Tensor cells, Tensor names, Tensor first, float radius, float "
      "cells_per_unit, int k) -> Tensor");
  m.def(
      "blend_points(Tensor positions, Tensor points, Tensor embeddings, Tensor confidences, Tensor mix, Tensor "
      "neighbors, float radius) -> (Tensor features, Tensor confidence, Tensor shares)");
  m.def(
      "blend_points_vjp(Tensor positions, Tensor points, Tensor embeddings, Tensor confidences, Tensor mix, Tensor "
      "neighbors, float radius, Tensor shares, Tensor grad_features, Tensor grad_confidence) -> (Tensor, Tensor, "
      "Tensor)");
  m.def("fma_peak_gflops(int rounds) -> float");
  m.def("keep_memory() -> ()");
  m.def("simd() -> str");
  m.def("set_simd(str name) -> ()");
}
