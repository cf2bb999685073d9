"""Going by maps: nothing changes before the branch is trained, then samples lie where the map says."""

import numpy as np
import pytest
import torch

from neural3d.errors import InputError
from neural3d.priors.controlled import ControlledPrior
from neural3d.priors.fitting import seeded
from neural3d.priors.laws.diffusion import Diffusion, DiffusionConfig
from neural3d.priors.maps import computed_maps, edge_maps
from neural3d.priors.networks.control import ControlBranch
from neural3d.priors.networks.unet import UNet
from neural3d.priors.patches import PatchSource, Picture
from neural3d.priors.prior import PriorConfig
from neural3d.priors.records import Budget, Condition
from neural3d.priors.registry import make_prior

from .textures import flat, wave_source


def _small(maps: str) -> ControlledPrior:
    torch.manual_seed(0)
    network = UNet(7, 3, 16)
    law = Diffusion(network, 3, DiffusionConfig("x0", draw_steps=8), standardizes=False)
    return ControlledPrior(PriorConfig("x0", 8, maps=maps), law, network)


def _drawn(number: int) -> Picture:
    """Dark where the map is black, bright where it is white; the map is blocks at random."""
    blocks = np.random.default_rng(number).integers(0, 2, (6, 6)).repeat(8, 0).repeat(8, 1).astype(np.uint8) * 255
    levels = np.where(blocks[..., None] > 0, flat(48, 200), flat(48, 50))
    return Picture(levels.astype(np.uint8), None, None, np.repeat(blocks[..., None], 3, 2))


def test_the_branch_starts_as_the_identity():
    torch.manual_seed(0)
    network = UNet(7, 3, 8)
    torch.nn.init.normal_(network.exit.weight)
    branch = ControlBranch(network)
    branch.begin_as(network)
    x, time, maps = torch.randn(2, 7, 13, 6), torch.rand(2), torch.randn(2, 3, 13, 6)
    plain = network(x, time)
    assert torch.equal(network(x, time, None, branch.bound(network, maps)), plain)
    torch.nn.init.normal_(branch.exits[0].weight, std=0.1)
    torch.nn.init.normal_(branch.entry.weight, std=0.1)
    told = [network(x, time, None, branch.bound(network, sign * maps)) for sign in (1, -1)]
    assert not torch.equal(told[0], plain) and not torch.equal(told[0], told[1])


def test_samples_lie_where_the_map_says_and_the_prior_itself_stays():
    """A map that training never saw, of another size; what is drawn without one is drawn as before."""
    source = PatchSource([_drawn(i) for i in range(4)], 8)
    prior = _small("given")
    kept = []

    def watch(progress) -> bool:
        if progress.stage == "control" and not kept:
            kept.append({name: value.clone() for name, value in prior.law.state_dict().items()})
        return False

    prior.fit(source, Budget(None, 240), watch=watch)
    assert all(torch.equal(value, kept[0][name]) for name, value in prior.law.state_dict().items())
    unseen = _drawn(9)
    maps = torch.from_numpy(unseen.map[:20, :28].copy()).movedim(-1, 0)[None].float() / 127.5 - 1
    samples = prior.sample(4, Condition(maps=maps), seed=1)
    assert samples.shape == (4, 3, 20, 28)
    bright, dark = (samples[(maps == side).expand_as(samples)].mean() for side in (1, -1))
    assert bright > 0.25 and dark < -0.25
    hole = torch.zeros(1, 1, 20, 28, dtype=torch.bool)
    hole[..., 4:16, 6:22] = True
    image = torch.where(hole, 0.0, 0.55 * maps)
    filled = prior.inpaint(image, hole, Condition(maps=maps), seed=2)
    inside = filled[hole.expand_as(filled)] * maps[hole.expand_as(maps)]
    assert inside.mean() > 0.25 and torch.equal(filled[..., 0, :], image[..., 0, :])


def test_a_source_without_maps_is_none_for_a_prior_that_needs_them():
    with pytest.raises(ValueError, match="this prior learns from pictures with maps"):
        _small("given").fit(wave_source(8), Budget(None, 2))


def test_edges_are_where_brightness_jumps():
    image = torch.full((1, 3, 6, 8), -0.8)
    image[..., 4:] = 0.6
    assert edge_maps(image)[0, 0].tolist() == [[-1, -1, -1, 1, 1, -1, -1, -1]] * 6


def test_x4_keeps_means_of_cells():
    image = wave_source(16).draw(1, seeded(0)).images
    coarse = computed_maps("x4", image)
    assert coarse.shape == image.shape and (coarse - image).abs().max() > 0.1
    means = [torch.nn.functional.avg_pool2d(one, 4) for one in (coarse, image)]
    assert (means[0] - means[1]).abs().mean() < 0.35 * (
        image - means[1].repeat_interleave(4, 2).repeat_interleave(4, 3)
    ).abs().mean()


@pytest.mark.parametrize(
    "config, said",
    [
        (PriorConfig("vae", 8, maps="edges"), "vae goes by no maps; ddpm, score, x0, flow-matching do"),
        (PriorConfig("x0", 8, maps="dreams"), "maps 'dreams': expected given, edges, x4, or none"),
    ],
)
def test_maps_that_cannot_be(config, said):
    with pytest.raises(InputError, match=said):
        make_prior(config)
