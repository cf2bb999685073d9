"""A diffusion on pixels that also goes by a map: where edges, depths, materials are, or what is there, only coarser."""

from dataclasses import replace

import torch
from torch import Tensor

from neural3d.priors.codecs.codec import Identity
from neural3d.priors.fitting import Stage, fit_stage, seeded
from neural3d.priors.inpainting import fill_box, flattened
from neural3d.priors.laws.diffusion import Diffusion
from neural3d.priors.maps import GIVEN, computed_maps
from neural3d.priors.networks.control import ControlBranch
from neural3d.priors.networks.unet import UNet
from neural3d.priors.patches import Batch, PatchSource
from neural3d.priors.prior import ComposedPrior, PriorConfig, batch_size
from neural3d.priors.records import (
    NOTHING_ASKED,
    Budget,
    Condition,
    Images,
    StageReport,
    Unknown,
    Watch,
    watch_nothing,
)

_CONTROL_SHARE = 0.4


class ControlledPrior(ComposedPrior):
    """First a prior like any other; then its weights stay as they are, and a branch that reads maps is trained.

    Source: Zhang et al., Adding Conditional Control to Text-to-Image Diffusion Models, 2023, section 3.2.
    """

    law: Diffusion

    def __init__(self, config: PriorConfig, law: Diffusion, network: UNet) -> None:
        super().__init__(config, Identity(), law)
        self.control = ControlBranch(network).eval()
        self._network = network
        self.modules["control"] = self.control
        law.control_of = lambda maps: self.control.bound(network, maps)

    def fit(
        self, source: PatchSource, budget: Budget, seed: int = 0, watch: Watch = watch_nothing
    ) -> list[StageReport]:
        """The prior without maps, then the branch."""
        first, second = budget.split(1 - _CONTROL_SHARE, _CONTROL_SHARE)
        reports = super().fit(source, first, seed, watch)
        self.control.begin_as(self._network)
        self.law.requires_grad_(False)
        generator, count = seeded(seed + 1), batch_size(source.size)

        def loss_of(step: int) -> Tensor:
            batch = source.draw(count, generator)
            return self.law.loss(batch.images, Condition(batch.labels, maps=self._maps(batch)), generator)

        reports.append(fit_stage(Stage("control", self.control, second, is_averaged=True), loss_of, watch))
        self.law.requires_grad_(True)
        return reports

    @torch.no_grad()
    def sample(self, count: int, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Images:
        """With a map, images of its size."""
        if condition.maps is None:
            return super().sample(count, condition, seed)
        condition = replace(condition, maps=condition.maps.expand(count, -1, -1, -1))
        shape = (count, 3, *condition.maps.shape[-2:])
        return self.law.draw(shape, condition, seeded(seed)).clamp(-1, 1)

    def fill(self, images: Images, unknown: Unknown, condition: Condition, generator: torch.Generator) -> Images:
        """With maps of the images' size, what is filled in goes by them."""
        if condition.maps is None:
            return super().fill(images, unknown, condition, generator)

        def fill_window(window: Tensor, hole: Unknown) -> Tensor:
            images, maps = window[:, :3], window[:, 3:]
            mapped = replace(condition, maps=maps)
            return torch.cat([self._fill_window(flattened(images, hole), hole, mapped, generator), maps], 1)

        stacked = torch.cat([images, condition.maps.expand(len(images), -1, -1, -1)], 1)
        return fill_box(stacked, unknown, self.config.size, fill_window)[:, :3]

    def _maps(self, batch: Batch) -> Images:
        if self.config.maps == GIVEN:
            if batch.maps is None:
                raise ValueError("source: this prior learns from pictures with maps; give each of them one")
            return batch.maps
        return computed_maps(self.config.maps, batch.images)
