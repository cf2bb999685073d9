"""What the textures table says of its rows."""

import pytest

from neural3d.bench.textures import paired


def row(method: str, texture: str, c2st: float, seam: float) -> dict:
    return {"method": method, "texture": texture, "seed": 0, "c2st": c2st, "swd": 0.1, "sharpness": 1.0, "seam": seam}


def test_methods_are_compared_hole_by_hole():
    """One is nearer to 0.5 by 0.1 in holes that differ by 0.3, and its seams are as far off, on the other side."""
    rows = [row("gpdm", "easy", 0.6, 1.2), row("gpdm", "hard", 0.9, 1.4), row("gpdm", "alone", 0.5, 1.0)]
    rows += [row("quilt", "easy", 0.5, 0.8), row("quilt", "hard", 0.8, 0.6), row("telea", "new", 1.0, 1.0)]
    found = paired(rows, "gpdm")
    assert set(found) == {"quilt"}
    assert found["quilt"]["c2st"]["mean"] == pytest.approx(0.1)
    assert found["quilt"]["c2st"]["interval"] == pytest.approx((0.1, 0.1))
    assert found["quilt"]["seam"]["mean"] == pytest.approx(0) and found["quilt"]["swd"]["mean"] == 0
