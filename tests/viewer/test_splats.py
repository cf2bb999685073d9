"""What is sent to the browser stands for the Gaussians, in float16 and all."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from neural3d.splats.gaussians import Gaussians
from neural3d.viewer.splats import splats_from_gaussians


def in_scene(cloud) -> np.ndarray:
    """The covariances as the browser sees them: through float16, back in scene units."""
    return cloud.covariances.astype(np.float16).astype(np.float64) / cloud.buffer_from_scene**2


def test_the_covariance_is_the_gaussians() -> None:
    """Turned by 90 degrees about z, the long x axis points along y."""
    half = math.sqrt(0.5)
    one = Gaussians(
        means_world=torch.tensor([[1.0, 2.0, 3.0]]),
        log_scales=torch.tensor([[4.0, 2.0, 1.0]]).log(),
        quats_wxyz=2.0 * torch.tensor([[half, 0.0, 0.0, half]]),
        logit_opacities=torch.tensor([0.0]),
        sh=torch.tensor([[[1.0, 0.0, -3.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0]]]),
    )
    cloud = splats_from_gaussians(one)
    np.testing.assert_allclose(in_scene(cloud)[0], np.diag([4.0, 16.0, 1.0]), atol=0.02)
    np.testing.assert_allclose(cloud.centers / cloud.buffer_from_scene, [[1.0, 2.0, 3.0]], rtol=1e-6)
    np.testing.assert_allclose(cloud.opacities, [[0.5]])
    np.testing.assert_allclose(cloud.rgbs, [[0.5 + 0.28209479, 0.5, 0.0]], atol=1e-6)


@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 1e3])
def test_no_size_of_scene_is_lost_in_float16(gaussians: Gaussians, size: float) -> None:
    """Unscaled, a covariance of 1e-6 squared is zero and one of 1e3 squared infinite."""
    sized = replace(
        gaussians, log_scales=torch.randn(300, 3) + math.log(size), means_world=size * gaussians.means_world
    )
    cloud = splats_from_gaussians(sized)
    halves = in_scene(cloud)
    traces = np.trace(halves, axis1=1, axis2=2)
    expected = sized.log_scales.exp().square().sum(dim=1).numpy()
    np.testing.assert_allclose(traces, expected, rtol=2e-3)


def test_one_huge_splat_neither_overflows_nor_takes_the_others_down(gaussians: Gaussians) -> None:
    scales = gaussians.log_scales.clone()
    scales[0] = 20.0
    cloud = splats_from_gaussians(replace(gaussians, log_scales=scales))
    assert np.isfinite(cloud.covariances.astype(np.float16)).all()
    np.testing.assert_allclose(np.trace(in_scene(cloud)[1:], axis1=1, axis2=2), 3 * 0.03**2, rtol=2e-3)


def test_beyond_the_limit_those_that_cover_most_stay_in_their_order(gaussians: Gaussians) -> None:
    scales = gaussians.log_scales.clone()
    scales[[200, 7, 90]] += 1.0
    opacities = gaussians.logit_opacities.clone()
    opacities[90] = -4.0
    cloud = splats_from_gaussians(replace(gaussians, log_scales=scales, logit_opacities=opacities), limit=2)
    expected = gaussians.means_world[[7, 200]].numpy()
    np.testing.assert_allclose(cloud.centers / cloud.buffer_from_scene, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["means_world", "log_scales", "quats_wxyz", "logit_opacities", "sh"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_gaussian_is_left_out_alone(gaussians: Gaussians, name: str, value: float) -> None:
    tensor = getattr(gaussians, name).clone()
    tensor[5] = value
    cloud = splats_from_gaussians(replace(gaussians, **{name: tensor}))
    assert len(cloud.centers) == 299
    assert all(np.isfinite(a).all() for a in (cloud.centers, cloud.covariances, cloud.rgbs, cloud.opacities))


def test_invisible_and_unturnable_gaussians_are_left_out(gaussians: Gaussians) -> None:
    opacities, quats = gaussians.logit_opacities.clone(), gaussians.quats_wxyz.clone()
    opacities[:10], quats[10:15] = -20.0, 0.0
    assert len(splats_from_gaussians(replace(gaussians, logit_opacities=opacities, quats_wxyz=quats)).centers) == 285


def test_no_gaussians_are_no_splats(gaussians: Gaussians) -> None:
    cloud = splats_from_gaussians(gaussians[:0])
    assert cloud.centers.shape == (0, 3) and cloud.covariances.shape == (0, 3, 3)
