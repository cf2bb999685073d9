"""Each wrong argument is refused with a ValueError that names it, before any memory is touched."""

import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import torch
from native_arguments import COUNT, HEIGHT, WIDTH, camera, scene

from neural3d.ops.adam import adam_step, adam_step_hash
from neural3d.ops.bilateral_slice import bilateral_slice
from neural3d.ops.bin import bin_gaussians
from neural3d.ops.blend_points import blend_points
from neural3d.ops.color_affine import color_affine
from neural3d.ops.composite import composite
from neural3d.ops.explore import add_penalties, shake
from neural3d.ops.hash_encode import hash_encode
from neural3d.ops.march import march
from neural3d.ops.nearest_points import nearest_points
from neural3d.ops.neighbors import neighbor_distances
from neural3d.ops.occupancy import update_occupancy
from neural3d.ops.photometric import photometric_loss
from neural3d.ops.point_index import index_points
from neural3d.ops.project import project
from neural3d.ops.proposal import interlevel, proposal_edges
from neural3d.ops.radiance_mlp import density_mlp, radiance_mlp
from neural3d.ops.rasterize import rasterize
from neural3d.ops.records import MarchRange
from neural3d.ops.sh import sh_colors

sys.path.insert(0, str(Path(__file__).parents[2]))
from ops.random_rays import LAYERS, LEVELS, SCALE, make_grid, make_guess, make_rays, make_samples

SIZE = {"width": WIDTH, "height": HEIGHT}


def right_arguments() -> dict[Callable, dict]:
    """For every wrapper, arguments that it takes."""
    leaves = {name: tensor.detach() for name, tensor in scene().items()}
    names = ("means_world", "quats_wxyz", "log_scales", "logit_opacities")
    cameras = dict(zip(("camera_from_world", "focal_px", "principal_px"), camera(), strict=True))
    seen = project(*(leaves[name] for name in names), **cameras, **SIZE)
    ellipses = {name: getattr(seen, name) for name in ("means_px", "conics", "opacities")}
    harmonics = {"means_world": leaves["means_world"], "sh": leaves["sh"], "camera_center_world": torch.zeros(3)}
    blended = {"colors": torch.rand(COUNT, 3), "bins": bin_gaussians(seen, **SIZE), "background": torch.zeros(3)}
    target = torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8)
    image = torch.rand(3, HEIGHT, WIDTH)
    state = {name: torch.rand(COUNT, 5) for name in ("param", "grad", "first_moment", "second_moment")}
    visible = torch.ones(COUNT, dtype=torch.bool)
    faded = {name: leaves[name] for name in ("log_scales", "logit_opacities")} | {"visible": visible}
    weights = {"scale_weight": 0.1, "opacity_weight": 0.1}
    grads = {"grad_log_scales": torch.zeros(COUNT, 3), "grad_logit_opacities": torch.zeros(COUNT)}
    return {
        add_penalties: faded | weights | grads,
        shake: {name: leaves[name] for name in names} | {"visible": visible, "strength": 1.0, "seed": 0, "step": 0},
        neighbor_distances: {"points": torch.rand(COUNT, 3), "k": 3},
        project: {name: leaves[name] for name in names} | cameras | SIZE,
        sh_colors: harmonics | {"degree": 3, "extents_px": seen.extents_px},
        rasterize: ellipses | blended,
        photometric_loss: {"image": image, "target": target, "background": torch.zeros(3)},
        adam_step: state | {"learning_rates": torch.rand(5), "step": 1},
        color_affine: {"image": image, "matrix": torch.rand(3, 4)},
        bilateral_slice: {"image": image, "grid": torch.rand(12, 4, 3, 5)},
    }


def right_arguments_of_fields() -> dict[Callable, dict]:
    """For every wrapper of a field's operators."""
    origins, directions = make_rays(5, torch.float32)
    samples = make_samples(5, torch.float32)
    count = len(samples.ts)
    marched = {"origins": origins, "directions": directions, "offsets": torch.zeros(5), "box": torch.ones(4)}
    constants = {"ts": samples.ts, "deltas": samples.deltas, "ray_offsets": samples.ray_offsets}
    layered = {"features": torch.rand(count, LAYERS.inputs), "weights": torch.rand(LAYERS.num_weights)}
    rays = {"ray_features": torch.rand(5, LAYERS.ray_inputs), "ray_offsets": samples.ray_offsets}
    memory = {"densities": torch.rand(4, 4, 4), "occupied": make_grid(4, 0.5)}
    looks = {"cells": torch.tensor([1, 2], dtype=torch.int32), "found": torch.rand(2), "decay": 0.9, "threshold": 0.1}
    features, edges, densities, fine = (part.float() for part in make_guess(5))
    guess = {"features": features, "edges": edges, "scale": SCALE}
    tabled = {name: torch.rand(LEVELS.rows, 4) for name in ("table", "first_moment", "second_moment")}
    tabled |= {"positions": samples.positions, "pulls": torch.rand(count, 4 * LEVELS.count)}
    points = torch.rand(9, 3)
    blended = {"positions": torch.rand(5, 3), "points": points, "embeddings": torch.rand(9, 16), "radius": 0.5}
    blended |= {
        "confidences": torch.rand(9),
        "mix": torch.rand(3, 16),
        "neighbors": torch.ones(5, 2, dtype=torch.int32),
    }
    return {
        index_points: {"points": points, "radius": 0.5},
        nearest_points: {"queries": torch.rand(5, 3), "index": index_points(points, 0.5), "k": 4},
        blend_points: blended,
        proposal_edges: guess | {"offsets": torch.zeros(5), "count": 4, "uniform": 0.1},
        interlevel: guess | {"densities": densities, "fine_edges": fine},
        hash_encode: {"positions": samples.positions, "table": torch.rand(LEVELS.rows, 4), "levels": LEVELS},
        adam_step_hash: tabled | {"levels": LEVELS, "learning_rates": torch.rand(4), "step": 1},
        march: marched | {"occupied": make_grid(4, 0.5), "span": MarchRange(0.1)},
        composite: {"densities": torch.rand(count), "colors": torch.rand(count, 3)} | constants,
        radiance_mlp: layered | rays | {"layers": LAYERS},
        density_mlp: layered | {"layers": LAYERS},
        update_occupancy: memory | looks,
    }


WRONG = [
    (index_points, "points", torch.full((9, 3), torch.nan)),
    (index_points, "points", torch.full((9, 3), 1e30)),
    (index_points, "points", torch.zeros(9, 3, dtype=torch.int64)),
    (index_points, "points", torch.rand(9, 2)),
    (index_points, "radius", 0.0),
    (index_points, "radius", float("nan")),
    (nearest_points, "queries", torch.rand(5, 2)),
    (nearest_points, "queries", torch.rand(5, 3, dtype=torch.float16)),
    (nearest_points, "index", index_points(torch.rand(9, 3, dtype=torch.float64), 0.5)),
    (nearest_points, "index", replace(index_points(torch.rand(9, 3), 0.5), rows=torch.zeros(8, dtype=torch.int32))),
    (nearest_points, "k", 0),
    (nearest_points, "k", 17),
    (blend_points, "positions", torch.rand(5, 3, requires_grad=True)),
    (blend_points, "points", torch.rand(8, 3)),
    (blend_points, "embeddings", torch.rand(9, 17)),
    (blend_points, "confidences", torch.rand(9, 1)),
    (blend_points, "mix", torch.rand(16, 3)),
    (blend_points, "neighbors", torch.full((5, 2), 9, dtype=torch.int32)),
    (blend_points, "neighbors", torch.zeros(5, 17, dtype=torch.int32)),
    (blend_points, "neighbors", torch.zeros(5, 2, dtype=torch.int64)),
    (blend_points, "radius", 0.0),
    (proposal_edges, "features", torch.rand(5, 13)),
    (proposal_edges, "features", torch.rand(5, 0, 2)),
    (proposal_edges, "edges", torch.rand(5, 13)),
    (proposal_edges, "offsets", torch.rand(4)),
    (proposal_edges, "count", 0),
    (proposal_edges, "uniform", 1.1),
    (interlevel, "edges", torch.rand(5, 14, dtype=torch.float64)),
    (interlevel, "densities", torch.rand(4, 9)),
    (interlevel, "densities", torch.rand(5, 9, requires_grad=True)),
    (interlevel, "fine_edges", torch.rand(5, 9)),
    (hash_encode, "positions", torch.rand(5, 2)),
    (hash_encode, "table", torch.rand(LEVELS.rows - 1, 4)),
    (hash_encode, "table", torch.rand(LEVELS.rows, 3)),
    (hash_encode, "table", torch.rand(LEVELS.rows, 4, dtype=torch.float64)),
    (adam_step_hash, "positions", torch.rand(5, 2)),
    (adam_step_hash, "table", torch.rand(LEVELS.rows, 3)),
    (adam_step_hash, "pulls", torch.rand(5, 4 * LEVELS.count - 1)),
    (adam_step_hash, "first_moment", torch.rand(LEVELS.rows, 4, dtype=torch.float64)),
    (adam_step_hash, "second_moment", torch.rand(LEVELS.rows - 1, 4)),
    (adam_step_hash, "learning_rates", torch.rand(1)),
    (adam_step_hash, "step", 0),
    (march, "origins", torch.rand(5, 2)),
    (march, "directions", torch.rand(4, 3)),
    (march, "offsets", torch.rand(4)),
    (march, "offsets", torch.rand(5, requires_grad=True)),
    (march, "box", torch.rand(6)),
    (march, "box", torch.ones(4, requires_grad=True)),
    (march, "occupied", torch.rand(4, 4, 4)),
    (march, "occupied", torch.ones(4, 4, 5, dtype=torch.bool)),
    (march, "occupied", torch.ones(0, 0, 0, dtype=torch.bool)),
    (composite, "colors", torch.rand(3, 3)),
    (composite, "ts", torch.rand(3)),
    (composite, "deltas", torch.rand(3)),
    (composite, "ray_offsets", torch.zeros(6, dtype=torch.int64)),
    (radiance_mlp, "features", torch.rand(3, LAYERS.inputs + 1)),
    (radiance_mlp, "weights", torch.rand(LAYERS.num_weights - 1)),
    (radiance_mlp, "ray_features", torch.rand(5, LAYERS.ray_inputs, dtype=torch.float64)),
    (radiance_mlp, "ray_offsets", torch.zeros(5, dtype=torch.int32)),
    (density_mlp, "features", torch.rand(3, LAYERS.inputs + 1)),
    (density_mlp, "weights", torch.rand(LAYERS.num_density_weights)),
    (update_occupancy, "densities", torch.rand(4, 4, 4, dtype=torch.float64)),
    (update_occupancy, "occupied", torch.ones(4, 4, 3, dtype=torch.bool)),
    (update_occupancy, "cells", torch.tensor([1.0, 2.0])),
    (update_occupancy, "cells", torch.tensor([1, 64], dtype=torch.int32)),
    (update_occupancy, "found", torch.rand(3)),
    (project, "means_world", torch.rand(COUNT, 2)),
    (project, "means_world", torch.rand(COUNT, 3, dtype=torch.float16)),
    (project, "means_world", torch.rand(COUNT, 3, device="meta")),
    (project, "quats_wxyz", torch.rand(COUNT + 1, 4)),
    (project, "quats_wxyz", torch.rand(COUNT, 4, dtype=torch.float64)),
    (project, "log_scales", torch.rand(COUNT)),
    (project, "logit_opacities", torch.rand(COUNT, 1)),
    (project, "camera_from_world", torch.eye(3)),
    (project, "focal_px", torch.rand(1)),
    (project, "principal_px", torch.rand(2, dtype=torch.float64)),
    (project, "camera_from_world", torch.eye(4, requires_grad=True)),
    (project, "focal_px", torch.ones(2, requires_grad=True)),
    (project, "principal_px", torch.ones(2, requires_grad=True)),
    (project, "width", 0),
    (project, "height", -3),
    (sh_colors, "sh", torch.rand(COUNT, 16)),
    (sh_colors, "degree", 4),
    (sh_colors, "degree", -1),
    (sh_colors, "extents_px", torch.rand(COUNT)),
    (sh_colors, "camera_center_world", torch.rand(4)),
    (sh_colors, "camera_center_world", torch.zeros(3, requires_grad=True)),
    (rasterize, "conics", torch.rand(COUNT, 4)),
    (rasterize, "opacities", torch.rand(COUNT - 1)),
    (rasterize, "colors", torch.rand(COUNT - 1, 3)),
    (rasterize, "colors", torch.rand(COUNT)),
    (rasterize, "colors", torch.rand(COUNT, 3).T.contiguous().T),
    (rasterize, "background", torch.zeros(2)),
    (rasterize, "background", torch.zeros(3, requires_grad=True)),
    (photometric_loss, "image", torch.rand(HEIGHT, WIDTH, 3)),
    (photometric_loss, "image", torch.rand(HEIGHT, WIDTH)),
    (photometric_loss, "ssim_weight", 1.5),
    (photometric_loss, "target", torch.rand(HEIGHT, WIDTH, 3)),
    (photometric_loss, "target", torch.zeros(HEIGHT, WIDTH + 1, 3, dtype=torch.uint8)),
    (photometric_loss, "target_alpha", torch.rand(HEIGHT, WIDTH)),
    (photometric_loss, "valid", torch.ones(HEIGHT, WIDTH, dtype=torch.uint8)),
    (photometric_loss, "valid", torch.ones(HEIGHT + 1, WIDTH, dtype=torch.bool)),
    (photometric_loss, "background", torch.zeros(4)),
    (photometric_loss, "background", torch.zeros(3, requires_grad=True)),
    (adam_step, "grad", torch.rand(COUNT, 4)),
    (adam_step, "visible", torch.ones(COUNT)),
    (adam_step, "first_moment", torch.rand(COUNT, 5, dtype=torch.float64)),
    (adam_step, "second_moment", torch.rand(COUNT)),
    (adam_step, "learning_rates", torch.rand(4)),
    (adam_step, "step", 0),
    (add_penalties, "log_scales", torch.rand(COUNT, 3, dtype=torch.float64)),
    (add_penalties, "visible", torch.ones(COUNT)),
    (add_penalties, "grad_logit_opacities", torch.zeros(COUNT, 1)),
    (shake, "means_world", torch.rand(COUNT, 3, dtype=torch.float64)),
    (shake, "visible", torch.ones(COUNT - 1, dtype=torch.bool)),
    (neighbor_distances, "points", torch.rand(COUNT, 2)),
    (neighbor_distances, "points", torch.rand(1, 3)),
    (neighbor_distances, "points", torch.full((COUNT, 3), torch.nan)),
    (neighbor_distances, "points", torch.rand(COUNT, 3, dtype=torch.float64)),
    (neighbor_distances, "k", 0),
    (neighbor_distances, "k", 17),
    (color_affine, "image", torch.rand(4, HEIGHT, WIDTH)),
    (color_affine, "matrix", torch.rand(3, 3)),
    (bilateral_slice, "image", torch.rand(4, HEIGHT, WIDTH)),
    (bilateral_slice, "grid", torch.rand(3, 4)),
    (bilateral_slice, "grid", torch.rand(9, 4, 3, 5)),
    (bilateral_slice, "grid", torch.rand(12, 4, 0, 5)),
    (bilateral_slice, "grid", torch.rand(12, 4, 3, 5, dtype=torch.float64)),
]


def twisted(value: object) -> list:
    """What a tensor may be by mistake: on another device, of another dtype, with gaps; those of a record likewise."""
    if is_dataclass(value):
        names = [field.name for field in fields(value) if isinstance(getattr(value, field.name), torch.Tensor)]
        return [replace(value, **{name: wrong}) for name in names for wrong in twisted(getattr(value, name))]
    if not isinstance(value, torch.Tensor):
        return []
    other = torch.int64 if value.dtype != torch.int64 else torch.int32
    return [value.to("meta"), value.to(other), torch.stack([value, value], dim=-1)[..., 0]]


failures = []
right = right_arguments() | right_arguments_of_fields()
bins = right[rasterize]["bins"]
sizes = [{"width": WIDTH + 16}, {"height": HEIGHT - 16}, {"width": 0}, {"tile_offsets": bins.tile_offsets[:-1]}]
too_short = [{name: getattr(bins, name)[1:]} for name in ("slot_from_intersection", "slot_offsets")]
WRONG += [(rasterize, "bins", replace(bins, **changes)) for changes in sizes + too_short]
for function, values in right.items():
    function(**values)
    if function is index_points:
        continue  # plain torch, which takes what lies anywhere and has gaps
    mistakes = [(function, name, wrong) for name, value in values.items() for wrong in twisted(value)]
    # Its only tensor may lie anywhere.
    WRONG += [mistake for mistake in mistakes if function is not neighbor_distances or not mistake[2].is_meta]
for function, name, value in WRONG:
    try:
        function(**right[function] | {name: value})
        failures.append(f"{function.__name__}({name}={value!r:.80}) was taken")
    except ValueError as error:
        if name not in str(error):
            failures.append(f"{function.__name__}({name}): the message does not name it: {error}")
    except Exception as error:
        failures.append(f"{function.__name__}({name}): {type(error).__name__} instead of ValueError: {error}")
assert not failures, "\n".join(failures)
