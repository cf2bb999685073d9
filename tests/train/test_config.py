"""Every setting of a training has its limits, and a refusal names the setting."""

import math
from dataclasses import asdict, fields

import pytest

from neural3d.errors import InputError
from neural3d.train.config import LearningRates, SplatConfig, config_from_json
from neural3d.train.limits import above, between, number, one_of, switch, whole

WRONG = {
    "steps": [0, -1],
    "max_seconds": [0.0, -1.0, math.nan, math.inf],
    "seed": [-1, 2**63],
    "max_gaussians": [0, -5],
    "sh_degree": [-1, 4],
    "gaussians_per_point": [0.0, -1.0, math.nan],
    "drop_share": [-0.1, 0.95, math.nan],
    "bend_weight": [-1.0, math.nan],
    "ssim_weight": [-0.1, 1.1, math.nan],
    "coarse_levels": [-1, 5],
    "coarse_until": [-0.5, 1.5, math.nan],
    "checkpoint_seconds": [-1.0, math.nan],
}


WORDS = {"background", "densify", "exposure", "antialiased", "ignore_moving", "refine_cameras"}
"""Their types are checked while tests run, before their limits."""


def test_every_setting_has_limits():
    assert {*WRONG, *WORDS, "rates"} == {field.name for field in fields(SplatConfig)}


@pytest.mark.parametrize(
    ("limit", "held", "refused"),
    [
        (whole(1), [1, 10**12], [0, True, 1.0, "1", None]),
        (whole(0, 3), [0, 3], [-1, 4]),
        (whole(1).or_none(), [None, 1], [0]),
        (number(0), [0, 0.0, 1e300], [-1e-300, math.nan, math.inf, False, "0", None]),
        (number(0, 1), [0, 1.0], [1.1]),
        (above(0, 1), [1e-300, 1], [0, 1.1, math.nan]),
        (between(0, 1), [0.5], [0, 1, math.nan]),
        (one_of("a", "b"), ["a"], ["c", "", None, 1, ["a"]]),
        (switch(), [True, False], [0, 1, "True", None]),
    ],
)
def test_limits(limit, held, refused):
    assert [limit.holds(value) for value in held] == [True] * len(held)
    assert [limit.holds(value) for value in refused] == [False] * len(refused)


@pytest.mark.parametrize("name", WRONG)
def test_what_makes_no_sense_is_named(name):
    for value in WRONG[name]:
        with pytest.raises(InputError, match=f"^{name}: expected .*, got "):
            config_from_json({**asdict(SplatConfig()), name: value})


@pytest.mark.parametrize("name", [field.name for field in fields(LearningRates)])
@pytest.mark.parametrize("value", [-1e-9, math.nan, math.inf])
def test_rates_that_make_no_step_are_named(name, value):
    with pytest.raises(InputError, match=rf"^rates\.{name}: expected a number, .*, got "):
        LearningRates(**{name: value})


def test_a_configuration_survives_json():
    config = SplatConfig(steps=7, max_seconds=None, rates=LearningRates(quats=0.0))
    assert config_from_json(asdict(config)) == config


def test_settings_of_other_programs_are_named():
    content = asdict(SplatConfig())
    for broken, message in (
        ({**content, "warp": 9}, "^warp: there is no such setting"),
        ({name: content[name] for name in content if name != "seed"}, "^seed: missing"),
        ({**content, "rates": None}, "^rates: missing"),
        ({**content, "rates": {**content["rates"], "warp": 9}}, r"^rates\.warp: there is no such setting"),
        ({**content, "rates": {}}, r"^rates\.means_start: missing"),
    ):
        with pytest.raises(InputError, match=message):
            config_from_json(broken)
