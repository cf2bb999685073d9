"""A critic that has learned on other textures tells a method's marks, and nothing else."""

import math

import pytest
import torch

from neural3d.bench.texture_cases import cases
from neural3d.priors.critics import Shown, areas_across, shown
from neural3d.priors.metrics import RandomFeatures
from neural3d.texture.proposals import smoothed

SIDE = 64


def windows_of(change) -> list[Shown]:
    """Of each made texture, its hole filled by what `change` makes of the truth and of the same texture elsewhere."""
    features, found = RandomFeatures(), []
    for seed in range(3):
        elsewhere = {case.name: case.image for case in cases(None, SIDE, seed + 50)}
        for case in cases(None, SIDE, seed):
            filled = torch.where(case.hole, change(case.image, elsewhere[case.name]), case.image)
            found.append(shown(case.name, filled, case.image, case.hole, features))
    return found


def mean_of(areas: list[float]) -> float:
    return math.fsum(areas) / len(areas)


def test_true_texels_of_another_place_are_hardly_told_apart():
    """They are as good as a filling can be; the issue of a critic of one hole alone."""
    assert 0.4 < mean_of(areas_across(windows_of(lambda true, other: other))) < 0.6


def test_the_truth_itself_is_not_told_apart_at_all():
    assert areas_across(windows_of(lambda true, other: true)) == [0.5] * 42


def test_blur_is_known_on_textures_that_the_critic_never_saw():
    """Hardly visible blur does not need to be learned anew."""
    assert mean_of(areas_across(windows_of(lambda true, other: smoothed(other, 0.7)))) > 0.8


def test_a_critic_needs_other_textures():
    alone = [case for case in windows_of(lambda true, other: other) if case.texture == "bricks"]
    with pytest.raises(ValueError, match="give holes of two at least"):
        areas_across(alone)
