"""A generator and N(0, I), trained against a critic that stays with it as its guide."""

import torch
from jaxtyping import Float
from torch import Tensor

from neural3d.errors import InputError
from neural3d.priors.adversarial import AdversarialConfig, Draws, Players, fit_adversarially, generator_loss
from neural3d.priors.codecs.generator import Generator
from neural3d.priors.fitting import seeded
from neural3d.priors.laws.normal import StandardNormal
from neural3d.priors.networks.adversary import Critic
from neural3d.priors.patches import PatchSource
from neural3d.priors.prior import ComposedPrior, PriorConfig, batch_size
from neural3d.priors.records import (
    NOTHING_ASKED,
    Budget,
    Condition,
    Images,
    StageReport,
    Watch,
    watch_nothing,
)


class AdversarialPrior(ComposedPrior):
    """Source: Goodfellow et al., Generative Adversarial Nets, 2014; with labels Mirza and Osindero 2014."""

    def __init__(self, config: PriorConfig, game: AdversarialConfig, *, num_free: int, width: int) -> None:
        """With the number of free latents, and the channels of both networks."""
        num_labels = len(config.labels)
        super().__init__(config, Generator(config.size, num_free, width, num_labels), StandardNormal(num_labels))
        self.game, self.critic = game, Critic(config.size, width, num_labels)
        self.modules["critic"] = self.critic

    def fit(
        self, source: PatchSource, budget: Budget, seed: int = 0, watch: Watch = watch_nothing
    ) -> list[StageReport]:
        """Both players, by turns."""
        generator, count = seeded(seed), batch_size(source.size)

        def draw() -> Draws:
            batch = source.draw(count, generator)
            labels = batch.labels if self.config.labels else None
            shape = (count, *self.codec.latent_shape(self.config.size))
            return Draws(batch.images, self.law.draw(shape, Condition(labels), generator), labels)

        players = Players(_Decoding(self.codec), self.critic)
        self.modules.train()
        report = fit_adversarially(players, self.game, draw, budget, watch)
        self.modules.eval()
        return [report]

    def guide(self, images: Images, condition: Condition = NOTHING_ASKED, seed: int = 0) -> Float[Tensor, ""]:
        """What a generator would minimise: minus what the critic finds of the images.

        Raises: InputError where the critic knows labels and none is given.
        """
        if self.config.labels and condition.labels is None:
            raise InputError(f"{self.config.name}: say which label the images shall have")
        return generator_loss(self.game.game, self.critic(images, condition.labels if self.config.labels else None))


class _Decoding(torch.nn.Module):
    """A codec whose call decodes."""

    def __init__(self, codec: Generator) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, latents: Tensor) -> Images:
        return self.codec.decode(latents)
