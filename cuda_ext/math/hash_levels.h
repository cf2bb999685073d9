// Which rows of a table of features belong to which level of a multiresolution grid.
//
// Level l of L has floor(coarsest * growth^l) cells along each axis, growth = (finest / coarsest)^(1 / (L - 1)). A
// level whose (cells + 1)^3 corners are no more than 2^log2_rows has a row for each, in the order x, y, z; any other
// shares 2^log2_rows rows by a hash. The levels' rows follow each other in the table.
//
// Source: Mueller et al. 2022, Instant Neural Graphics Primitives, eq. 2, 3.
#pragma once

#include <math.h>
#include <stdint.h>

namespace n3d {

constexpr int kMaxHashLevels = 32;

struct HashLevel {
  int32_t cells;  // along each axis
  uint32_t rows;  // of the table
  int64_t first;  // row
  bool dense;     // a row for each corner
};

struct HashLevels {
  int count;
  HashLevel level[kMaxHashLevels];
  int64_t rows;  // of all levels
};

// Cells of one level; the small term keeps `finest` from being missed by a rounding error.
inline int32_t hash_cells(int level, int levels, int64_t coarsest, int64_t finest) {
  if (levels == 1) return int32_t(coarsest);
  const double growth = ::log(double(finest) / double(coarsest)) / double(levels - 1);
  return int32_t(::floor(double(coarsest) * ::exp(growth * level) + 1e-6));
}

inline HashLevels hash_levels(int levels, int64_t coarsest, int64_t finest, int log2_rows) {
  HashLevels found = {};
  found.count = levels;
  for (int l = 0; l < levels; ++l) {
    const int32_t cells = hash_cells(l, levels, coarsest, finest);
    const int64_t side = int64_t(cells) + 1, most = int64_t(1) << log2_rows;
    const bool dense = side * side * side <= most;
    found.level[l] = {cells, uint32_t(dense ? side * side * side : most), found.rows, dense};
    found.rows += found.level[l].rows;
  }
  return found;
}

}  // namespace n3d
