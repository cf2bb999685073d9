"""export of a file of splats, and not of a run: its frame and units go with it."""

from pathlib import Path

import pytest
import torch
from surface_ball import ball

from neural3d.cli import main
from neural3d.export.formats import read_splats, space_of_file, write_splats
from neural3d.scene import Similarity


def test_usd_with_z_up_stands_upright_and_keeps_its_units(tmp_path: Path):
    pytest.importorskip("pxr", reason="needs usd-core: pip install usd-core")
    source, model = tmp_path / "a.usda", ball(20)
    frame = {"capture_from_scene": Similarity.identity(), "up_axis": "Z", "metres_per_unit": 0.25}
    write_splats(source, model, **frame)
    for name in ("b.usdc", "b.glb"):
        assert main(["export", str(source), "--output", str(tmp_path / name)]) == 0
    kept = space_of_file(tmp_path / "b.usdc")
    assert kept.up_world == (0, 0, 1) and kept.metres_per_unit == 0.25
    x, y, z = model.means_world.unbind(1)
    upright = torch.stack([x, z, -y], dim=1)  # glTF has +y up
    assert torch.allclose(read_splats(tmp_path / "b.glb").means_world, upright, atol=1e-5)
