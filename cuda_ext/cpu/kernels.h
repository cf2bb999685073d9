// The loops that are compiled once per instruction set, behind plain pointers; the drivers in cpu/*.cpp own tensors,
// threads and the choice of instruction set. S is float or double.
#pragma once

#include <stdint.h>

#include "../math/hash_levels.h"
#include "../math/radiance_layers.h"
#include "../math/tile.h"
#include "../math/window.h"

namespace n3d {

constexpr int kSlot = 16;        // numbers a (tile, Gaussian) pair leaves for the reduction
constexpr int kMaxChannels = 4;  // per pass; more channels take more passes

template <class S>
struct ProjectArgs {
  const S *means, *quats, *log_scales, *logit_opacities;  // [N,3] [N,4] [N,3] [N]
  const S* camera_from_world;                             // [4,4] row-major
  S fx, fy, cx, cy, near, blur, alpha_min;
  int width, height;
  bool antialiased;
  // forward: written; backward: extents are read (visible where > 0)
  S *means_px, *conics, *opacities, *depths, *extents;  // [N,2] [N,3] [N] [N] [N,2]
  // backward: gradients of the outputs, then of the parameters
  const S *d_means_px, *d_conics, *d_opacities, *d_depths;
  const S* d_means_more;  // [N,3] what else pulls on the means, or null
  S *d_means, *d_quats, *d_log_scales, *d_logit_opacities;
};

template <class S>
struct ShArgs {
  const S *means, *sh, *center, *extents;  // [N,3] [N,K,3] [3] [N,2] or null (all visible)
  int coefficients;                        // K as stored
  int degree;                              // as used
  S* colors;                               // [N,3]
  const S* d_colors;                       // [N,3]
  S *d_means, *d_sh;                       // [N,3] [N,K,3]; d_sh is null where only the pulls are asked for
  S* pulls;                                // [N,3]: what of d_colors passes the clamp
};

// Where lists of tiles go. `grow` makes room for at least so many and returns the place, with what was there before.
struct TileSink {
  int32_t* tiles;
  int64_t room;
  void* owner;
  int32_t* (*grow)(void* owner, int64_t room);
  int32_t* spans;  // [tiles_y,2,16] to work with
};
constexpr int kListStep = 16;     // tiles written at a time: a list's room goes so far beyond its end
constexpr int kTileBlock = 1024;  // Gaussians whose tiles are listed together

// The tiles that Gaussians meet, row by row of tiles, the Gaussians in their own order.
template <class S>
struct TileArgs {
  const S *means, *conics, *extents;  // [N,2] [N,3] [N,2]
  int tiles_x, tiles_y;
  int32_t* ends;  // [N] of each Gaussian's tiles, counted from those of the first one of the call
};

// The tiles of a block of Gaussians, and how many all blocks before it have.
struct ListedTiles {
  const int32_t* tiles;
  int32_t begin;
};

// The tiles of ranked[0], ranked[stride], .. one after the other, with their slots and Gaussians.
struct PairArgs {
  const int32_t* ranked;
  int64_t stride;
  const int32_t* slots;  // [N + 1]
  const ListedTiles* blocks;
  int32_t *tiles, *pair_slots, *gaussians;  // written
};

// A Gaussian made ready for the blend loops: one cache line for floats.
template <class S>
struct BlendRecord {
  S x, y;              // px
  S a, b, c;           // the exponent in base 2: log2 alpha = top + a dx^2 + b dx dy + c dy^2
  S twice_a, twice_c;  // of its slopes
  S top;               // log2 of the opacity
  S peak_x, peak_y;    // -1 / (2 a), -1 / (2 c): where a row's and a column's parabola peak, over its slope
  S unused[2];
  S color[kMaxChannels];  // channels of this pass
};

// Gaussians to records, and slots to gradients, for `channels` of the colours.
template <class S>
struct RecordArgs {
  const S *means, *conics, *opacities;  // [N,2] [N,3] [N]
  const S* colors;                      // the pass's first channel of [N,columns]
  int64_t columns;
  int channels;
  const int32_t* slot_offsets;          // [N + 1]
  BlendRecord<S>* records;              // [N], written where the Gaussian is seen
  const S* slots;                       // [I,kSlot]
  S *d_means, *d_conics, *d_opacities;  // added to
  S* d_colors;                          // like colors; set
};

template <class S>
struct BlendArgs {
  const BlendRecord<S>* records;  // [N]
  const int32_t *tile_offsets, *gaussian_from_intersection, *slot_from_intersection;
  int width, height, tiles_x;
  int channels;         // of this pass, 1 to kMaxChannels
  const S* background;  // [channels]
  S log2_alpha_min;     // at least -126
  S transmittance_min;
  S *image, *alphas;            // [channels,H,W] [H,W]; alphas may be null in later passes
  const S *d_image, *d_alphas;  // backward; d_alphas null in later passes
  S* slots;                     // [I,kSlot]
};

constexpr int kPlaneMargin = 16;      // columns of zeros before a row of a padded plane
constexpr int kSimilarityStrip = 72;  // rows that one thread takes at a time, at most

// L1 + SSIM and its gradient.
template <class S>
struct PhotometricArgs {
  const S* image;         // [3,H,W]
  const uint8_t* target;  // [H,W,3]
  const uint8_t* alpha;   // [H,W] or null
  const uint8_t* valid;   // [H,W] or null
  const S* background;    // [3]
  int width, height;
  S weight_l1, weight_ssim;      // divided by 3 * number of valid pixels
  S* d_image;                    // [3,H,W]
  double *row_loss, *row_error;  // [3 H] of the loss, and of the squared error with the image clamped to [0, 1]

  // Of a padded row, of which the window's zeros on both sides are a part.
  int64_t stride() const { return (width + 4 * kPlaneMargin + 15) / 16 * 16; }
  // What a strip needs: rows of five planes, with those above and below that its windows' windows reach.
  int64_t space() const { return stride() * (5 * kSimilarityStrip + (2 * 4 + 3 * 2) * kWindowRadius); }
};

template <class S>
struct AdamArgs {
  S *param, *first, *second;  // [N,C]
  const S *grad, *rates;      // [N,C] [C]
  const uint8_t* visible;     // [N], or null for all rows
  bool only_pulled;           // numbers whose gradient is 0 stay as they are
  int64_t columns;
  S beta1, beta2, eps;
  S bias1, bias2;  // 1 / (1 - beta1^step), 1 / sqrt(1 - beta2^step)
};

// Markov-chain densification is in single precision alone.
struct PenaltyArgs {
  const float *log_scales, *logits;  // [N,3] [N]
  const uint8_t* visible;            // [N]
  float per_scale, per_opacity;
  float *d_log_scales, *d_logits;  // added to
};

struct ShakeArgs {
  const float *quats, *log_scales, *logits;  // [N,4] [N,3] [N]
  const uint8_t* visible;                    // [N]
  float strength;
  uint64_t key;
  float* means;  // [N,3]
};

constexpr int kColorMatrix = 12;  // a 3x4 matrix by rows

template <class S>
struct ColorArgs {
  const S *image, *matrix;  // [3,H,W] [3,4]
  int64_t plane;            // H W
  S* out;                   // [3,H,W], forward
  const S* d_out;           // [3,H,W], backward
  S* d_image;               // [3,H,W]
};

constexpr int kBilateralMatrix = 12;  // numbers of a node: a 3x4 matrix by rows
constexpr int kBilateralStrip = 64;   // columns of the image that go through a band together

// Work is done in bands: the rows between two rows of nodes.
template <class S>
struct BilateralArgs {
  const S* image;  // [3,H,W]
  const S* nodes;  // [Y,X,Z,12]
  int width, height, nodes_x, nodes_y, nodes_z;
  S* out;          // [3,H,W], forward
  const S* d_out;  // [3,H,W], backward
  S* d_image;      // [3,H,W]
  S* d_nodes;      // [bands,2,X,Z,12]: what a band pulls on the nodes over and under it

  int64_t space() const {  // numbers that a thread needs to work with
    const int64_t column = int64_t(nodes_z) * kBilateralMatrix;
    return column * 2 * kBilateralStrip + int64_t(nodes_x) * (kBilateralStrip + column);
  }
};

// A multiresolution hash grid looked up at points, and its gradients.
template <class S>
struct HashArgs {
  const S *positions, *table;  // [P,3] [rows,features]
  int64_t points;
  int features;  // of a row: 1, 2, 4 or 8
  bool smooth;
  HashLevels levels;
  S* out;          // [P,levels features], forward
  const S* d_out;  // like out
  S* d_positions;  // like positions
};

constexpr int kRadianceRays = 64;  // that go through the layers together

// Features of samples and of their rays to densities and colours, and the gradients.
template <class S>
struct RadianceArgs {
  const S *features, *ray_features;  // [S,inputs] [R,ray inputs], or null for densities alone
  const int32_t* offsets;            // [R + 1], or null
  RadianceLayers layers;
  const S *rows, *columns;  // every layer's weights by rows and by columns, padded with zeros
  S *densities, *colors;    // [S] [S,3], forward
  const S *d_densities, *d_colors;
  S *d_features, *d_ray_features;  // like features, ray_features
};

constexpr int kMaxPointNeighbors = 16;

// Features of near points blended at places, and the gradients.
template <class S>
struct PointBlendArgs {
  const S *positions, *points, *embeddings, *confidences, *mix;  // [S,3] [P,3] [P,width] [P] [3,width]
  const int32_t* neighbors;                                      // [S,k], -1 for none
  int64_t places, count;
  int k, width;  // 16, 32 or 64 numbers of a point
  S radius;
  S *features, *confidence, *shares;   // [S,width] [S] [S,k]; backward: shares are read
  const S *d_features, *d_confidence;  // like features, confidence
  const int32_t *first_pairs, *pairs;  // [P + 1]: each point's pairs (place k + neighbour), ascending
  S *d_embeddings, *d_confidences;     // like embeddings, confidences
};

template <class S>
struct Kernels {
  void (*project)(const ProjectArgs<S>&, int64_t begin, int64_t end);
  void (*project_vjp)(const ProjectArgs<S>&, int64_t begin, int64_t end);
  void (*sh)(const ShArgs<S>&, int64_t begin, int64_t end);
  void (*sh_vjp)(const ShArgs<S>&, int64_t begin, int64_t end);
  void (*sh_products)(const ShArgs<S>&, int64_t begin, int64_t end);                 // d_sh from the pulls
  int64_t (*list_tiles)(const TileArgs<S>&, int64_t begin, int64_t end, TileSink&);  // returns how many
  int64_t (*list_pairs)(const PairArgs&, int64_t begin, int64_t end);                // returns how many
  void (*pack_records)(const RecordArgs<S>&, int64_t begin, int64_t end);
  void (*reduce_slots)(const RecordArgs<S>&, int64_t begin, int64_t end);
  void (*blend)(const BlendArgs<S>&, int tile);
  void (*blend_vjp)(const BlendArgs<S>&, int tile);
  void (*photometric)(const PhotometricArgs<S>&, int channel, int row_begin, int row_end, S* space);
  void (*color_affine)(const ColorArgs<S>&, int64_t begin, int64_t end);
  void (*color_affine_vjp)(const ColorArgs<S>&, int64_t begin, int64_t end, double* d_matrix);  // sums of these pixels
  void (*bilateral)(const BilateralArgs<S>&, int band, int row_begin, int row_end, S* space);
  void (*bilateral_vjp)(const BilateralArgs<S>&, int band, int row_begin, int row_end, S* space);
  int64_t (*adam)(const AdamArgs<S>&, int64_t begin, int64_t end);  // returns rows with a non-finite gradient
  void (*penalties)(const PenaltyArgs&, int64_t begin, int64_t end);
  void (*shake)(const ShakeArgs&, int64_t begin, int64_t end);
  void (*hash_encode)(const HashArgs<S>&, int64_t begin, int64_t end);
  // Rows [first_row, end_row) of a level; what is pulled at the first goes to the begin of d_rows.
  void (*hash_table_vjp)(const HashArgs<S>&, int level, uint32_t first_row, uint32_t end_row, S* d_rows);
  void (*hash_positions_vjp)(const HashArgs<S>&, int64_t begin, int64_t end);
  // Rays [begin, end), or samples where there are no rays; what these pull on the weights goes to d_rows.
  void (*radiance)(const RadianceArgs<S>&, int64_t begin, int64_t end, S* space);
  void (*radiance_vjp)(const RadianceArgs<S>&, int64_t begin, int64_t end, S* d_rows, S* space);
  void (*blend_points)(const PointBlendArgs<S>&, int64_t begin, int64_t end);
  // Points [begin, end); what these pull on the mix goes to d_mix.
  void (*pull_points)(const PointBlendArgs<S>&, int64_t begin, int64_t end, S* d_mix);
};

// The table of the instruction set in force (NEURAL3D_SIMD or the best that this processor has).
template <class S>
const Kernels<S>& kernels();

using PeakLoop = double (*)(int64_t rounds, float* sink);
PeakLoop peak_loop();  // of the same instruction set

#if defined(N3D_ISA)
namespace N3D_ISA {
#define N3D_DECLARE_KERNELS(S)                                           \
  void project(const ProjectArgs<S>&, int64_t, int64_t);                 \
  void project_vjp(const ProjectArgs<S>&, int64_t, int64_t);             \
  void sh(const ShArgs<S>&, int64_t, int64_t);                           \
  void sh_vjp(const ShArgs<S>&, int64_t, int64_t);                       \
  void sh_products(const ShArgs<S>&, int64_t, int64_t);                  \
  int64_t list_tiles(const TileArgs<S>&, int64_t, int64_t, TileSink&);   \
  void pack_records(const RecordArgs<S>&, int64_t, int64_t);             \
  void reduce_slots(const RecordArgs<S>&, int64_t, int64_t);             \
  void blend(const BlendArgs<S>&, int);                                  \
  void blend_vjp(const BlendArgs<S>&, int);                              \
  void photometric(const PhotometricArgs<S>&, int, int, int, S*);        \
  void color_affine(const ColorArgs<S>&, int64_t, int64_t);              \
  void color_affine_vjp(const ColorArgs<S>&, int64_t, int64_t, double*); \
  void bilateral(const BilateralArgs<S>&, int, int, int, S*);            \
  void bilateral_vjp(const BilateralArgs<S>&, int, int, int, S*);        \
  void hash_encode(const HashArgs<S>&, int64_t, int64_t);                \
  void hash_table_vjp(const HashArgs<S>&, int, uint32_t, uint32_t, S*);  \
  void hash_positions_vjp(const HashArgs<S>&, int64_t, int64_t);         \
  void radiance(const RadianceArgs<S>&, int64_t, int64_t, S*);           \
  void radiance_vjp(const RadianceArgs<S>&, int64_t, int64_t, S*, S*);   \
  void blend_points(const PointBlendArgs<S>&, int64_t, int64_t);         \
  void pull_points(const PointBlendArgs<S>&, int64_t, int64_t, S*);      \
  int64_t adam(const AdamArgs<S>&, int64_t, int64_t);
int64_t list_pairs(const PairArgs&, int64_t, int64_t);
void penalties(const PenaltyArgs&, int64_t, int64_t);
void shake(const ShakeArgs&, int64_t, int64_t);
double peak(int64_t rounds, float* sink);
N3D_DECLARE_KERNELS(float)
N3D_DECLARE_KERNELS(double)
#undef N3D_DECLARE_KERNELS
}  // namespace N3D_ISA
#endif

}  // namespace n3d
