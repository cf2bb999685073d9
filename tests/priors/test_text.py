"""Text and images: what captions say, what fits, and priors that do as they are told."""

import numpy as np
import pytest
import torch

from neural3d.errors import InputError
from neural3d.priors.fitting import seeded
from neural3d.priors.patches import PatchSource, Picture
from neural3d.priors.prior import PriorConfig
from neural3d.priors.records import Budget, Condition
from neural3d.priors.registry import make_prior
from neural3d.priors.text.captions import MEASURED, Vocabulary, caption_texts, drawn_captions, measured_words
from neural3d.priors.text.embedding import TextImageEmbedding, contrastive_loss, fit_embedding, fits
from neural3d.priors.text.unclip import UnclipPrior

from .textures import flat, wave_source

LABELS = ("low", "steep")


def _colored(color: tuple[float, float, float], noise: float = 0.0) -> torch.Tensor:
    """An image of one colour in [0, 1], with grey noise."""
    grey = noise * torch.randn(1, 1, 16, 16, generator=seeded(0))
    return 2 * (torch.tensor(color).view(1, 3, 1, 1) + grey).clamp(0, 1) - 1


@pytest.mark.parametrize(
    "color, noise, said",
    [
        ((0.1, 0.1, 0.1), 0.0, "dark gray smooth"),
        ((0.5, 0.5, 0.5), 0.03, "dim gray fine"),
        ((0.9, 0.9, 0.85), 0.0, "bright gray smooth"),
        ((0.8, 0.1, 0.1), 0.2, "dark red rough"),
        ((1.0, 0.6, 0.1), 0.0, "bright orange smooth"),
        ((0.4, 0.25, 0.1), 0.0, "dark brown smooth"),
        ((0.9, 0.9, 0.1), 0.0, "bright yellow smooth"),
        ((0.1, 0.6, 0.1), 0.0, "dim green smooth"),
        ((0.1, 0.2, 0.9), 0.0, "dark blue smooth"),
        ((0.1, 0.9, 0.9), 0.0, "bright cyan smooth"),
        ((0.5, 0.1, 0.9), 0.0, "dark purple smooth"),
        ((1.0, 0.4, 0.8), 0.0, "bright pink smooth"),
        ((0.95, 0.1, 0.2), 0.0, "dark red smooth"),
    ],
)
def test_words_are_measured(color, noise, said):
    assert caption_texts(measured_words(_colored(color, noise)), MEASURED) == [said]


def test_labels_add_their_words_and_fillers_are_passed_over():
    vocabulary = Vocabulary(("Mossy brick_wall", "red", "pile of stones"))
    assert vocabulary.words == (*MEASURED, "mossy", "brick", "wall", "pile", "stones")
    fitting = vocabulary.fitting(_colored((0.1, 0.6, 0.1)).expand(2, -1, -1, -1), torch.tensor([0, 1]))
    assert caption_texts(fitting, vocabulary.words) == ["dim green smooth mossy brick wall", "dim red green smooth"]
    assert vocabulary.numbers("a Wall of the STONES") == [vocabulary.words.index(word) for word in ("wall", "stones")]
    with pytest.raises(InputError, match="does not know castle, gold; it knows dark, dim, bright"):
        vocabulary.numbers("a castle of gold and stones")
    with pytest.raises(InputError, match="finds no words in it"):
        vocabulary.numbers("of the")


def test_a_drawn_caption_is_never_empty_and_never_wrong():
    fitting = torch.rand(400, 6, generator=seeded(0)) < 0.4
    fitting[:, 0] = True
    captions = drawn_captions(fitting, seeded(1))
    assert captions.any(1).all() and not (captions & ~fitting).any()
    assert 0.4 < captions[fitting].float().mean() < 0.8
    assert torch.equal(fits(fitting, captions).diagonal(), torch.ones(400, dtype=torch.bool))


def test_all_that_fit_share_the_loss():
    """By hand: two texts fit one image each, a third fits both."""
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
    is_fit = torch.tensor([[True, False, True], [False, True, True]])
    rows = -(logits.log_softmax(1)[is_fit].mean())
    columns = logits.log_softmax(0)
    by_text = -(columns[0, 0] + columns[1, 1] + (columns[0, 2] + columns[1, 2]) / 2) / 3
    assert float(contrastive_loss(logits, is_fit)) == pytest.approx(float((rows + by_text) / 2))


def test_the_methods_are_those_of_clip():
    """Logits are the scaled cosines of what the two halves give; padding and the order of words change nothing."""
    torch.manual_seed(0)
    model = TextImageEmbedding(Vocabulary(LABELS)).eval()
    images = wave_source(16).draw(3, seeded(0)).images
    ids = torch.tensor([[3, 1, 5, 0], [2, 0, 0, 0]])
    output = model(input_ids=ids, pixel_values=images, attention_mask=(ids > 0).long())
    halves = model.get_image_features(images).pooler_output, model.get_text_features(ids[:, :3]).pooler_output
    images_unit, texts_unit = (half / half.norm(dim=1, keepdim=True) for half in halves)
    assert torch.allclose(output.logits_per_image, model.logit_scale.exp() * images_unit @ texts_unit.T, atol=1e-5)
    assert torch.equal(output.logits_per_text, output.logits_per_image.T)
    mirrored = model.get_text_features(ids[:, [2, 0, 1]]).pooler_output
    assert torch.allclose(mirrored, halves[1], atol=1e-6)


def four_kinds() -> PatchSource:
    """Grey and coloured, dark and bright; the label says which of two patterns."""
    pictures = []
    for label, period in enumerate((4, 16)):
        for level in (60, 190):
            for tint in ((1.0, 1.0, 1.0), (1.25, 0.7, 0.7), (0.7, 0.8, 1.3)):
                wave = 35 * np.sin(2 * np.pi * np.arange(48) / period)[:, None, None]
                pixels = (flat(48, level) + wave) * np.array(tint)
                pictures.append(Picture(np.clip(pixels, 0, 255).astype(np.uint8), None, label))
    return PatchSource(pictures, 16, ("stripes", "hills"))


def test_held_out_captions_find_their_images():
    """Captions that training never drew as a whole: of all that fit new patches, each finds one that it fits."""
    torch.manual_seed(0)
    model = TextImageEmbedding(Vocabulary(("stripes", "hills")))
    source = four_kinds()
    fit_embedding(model, source, Budget(None, 100), seeded(0))
    batch = source.draw(200, seeded(99))
    fitting = model.vocabulary.fitting(batch.images, batch.labels)
    whole = fitting.unique(dim=0)
    assert len(whole) >= 8
    with torch.no_grad():
        images = model.embed_images(batch.images)
        found = (images @ model.embed_captions(whole).T).argmax(1)
        texts = [
            word
            for word in ("stripes", "hills", "dark", "bright", "red")
            if fitting[:, model.vocabulary.words.index(word)].any()
        ]
        best = (model.embed_texts(texts) @ images.T).argmax(1)
    right = (whole[found] == fitting).all(1).float().mean()
    assert right > 0.8, "chance is at most an eighth"
    assert all(fitting[i, model.vocabulary.words.index(word)] for i, word in zip(best.tolist(), texts, strict=True))


@pytest.fixture(scope="module")
def light_and_dark() -> PatchSource:
    return PatchSource([Picture(flat(40, 60), None, 0), Picture(flat(40, 190), None, 1)], 8, ("night", "day"))


def test_clip_shows_what_fits(light_and_dark):
    prior = make_prior(PriorConfig("clip", 8, light_and_dark.labels))
    prior.fit(light_and_dark, Budget(None, 40))
    night, day = (prior.sample(16, Condition(text=text)).mean((1, 2, 3)) for text in ("night", "day"))
    assert (night < 0).float().mean() > 0.9 and (day > 0).float().mean() > 0.9
    image = torch.full((1, 3, 8, 8), 0.5)
    assert prior.sample(16, Condition(images=image)).mean() > 0.2
    assert prior.guide(image, Condition(text="day")) < prior.guide(image, Condition(text="night"))
    assert len(prior.sample(1030)) == 1030, "more than are kept"
    with pytest.raises(InputError, match="clip tells which texts and images fit and cannot fill holes"):
        prior.inpaint(image, image[:, :1] > 0)


def test_vqgan_clip_moves_towards_its_text(light_and_dark):
    """Towards it as the eye sees it, and as brightness is measured; in a hole, too, and what is known stays."""
    prior = make_prior(PriorConfig("vqgan-clip", 8, light_and_dark.labels))
    prior.fit(light_and_dark, Budget(None, 160))
    plain = prior.sample(8, seed=3)
    told = {text: prior.sample(8, Condition(text=text), seed=3) for text in ("night", "day")}
    for text, images in told.items():
        assert prior.guide(images, Condition(text=text)) < prior.guide(plain, Condition(text=text)) - 0.1
    assert told["night"].mean() < -0.2 and told["day"].mean() > 0.2
    image, hole = torch.zeros(1, 3, 12, 12), torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    hole[..., 2:10, 2:10] = True
    filled = [prior.inpaint(image, hole, Condition(text=text), seed=1)[hole.expand_as(image)].mean() for text in told]
    assert filled[0] < filled[1] - 0.3


@pytest.fixture(scope="module")
def unclip(light_and_dark):
    """Of two hues at each of two brightnesses: a text of one brightness leaves the hue open, and where stripes lie."""
    tints, stripes = ((1.2, 0.8, 0.6), (0.6, 0.8, 1.2)), 1 + 0.2 * np.where(np.arange(40) % 8 < 4, 1, -1)[None, :, None]
    pictures = [
        Picture(np.clip(level * stripes.repeat(40, 0) * np.array(tint), 0, 255).astype(np.uint8), None, label)
        for label, level in enumerate((60, 190))
        for tint in tints
    ]
    source = PatchSource(pictures, 8, light_and_dark.labels)
    torch.manual_seed(0)
    prior = UnclipPrior(PriorConfig("unclip", 8, source.labels), width=16, shares=(0.2, 0.3, 0.5))
    prior.fit(source, Budget(None, 500))
    return prior, source


def energy_distance(points: torch.Tensor, others: torch.Tensor) -> float:
    """Between two laws, of draws from each; 0 for equal ones."""
    within = [torch.pdist(side).mean() for side in (points, others)]
    return float(2 * torch.cdist(points, others).mean() - within[0] - within[1])


def test_unclips_prior_beats_the_texts_embedding_itself(unclip):
    """The paper's own ablation: what is decoded from the prior's draws is distributed as the true patches are."""
    prior, source = unclip
    batch, sums = source.draw(200, seeded(5)), torch.zeros(2, 2)
    for label, text in enumerate(source.labels):
        true = batch.images[batch.labels == label]
        drawn = prior.embeddings(24, Condition(text=text), seeded(1))
        direct = prior.model.embed_texts([text]).detach().expand(24, -1)
        for i, vectors in enumerate((drawn, direct)):
            images = prior.law.draw((24, 3, 8, 8), Condition(vectors=vectors), seeded(2)).detach()
            sums[i, 0] += energy_distance(vectors, prior.model.embed_images(true).detach())
            sums[i, 1] += energy_distance(images.mean((2, 3)), true.mean((2, 3)))
    assert (sums[0] < torch.tensor([0.3, 0.6]) * sums[1]).all(), f"embeddings and colours, by prior and by text: {sums}"


def test_unclip_does_as_the_text_says_and_varies_an_image(unclip):
    prior, _ = unclip
    night, day = (prior.sample(8, Condition(text=text), seed=4) for text in ("night", "day"))
    assert night.mean() < -0.3 and day.mean() > 0.15
    bright = torch.full((1, 3, 8, 8), 0.5)
    varied = prior.sample(8, Condition(images=bright), seed=4)
    assert varied.mean() > 0.2 and varied.std(0).mean() > 0.01
    darkened = prior.sample(8, Condition(text="night", images=bright), seed=4)
    assert darkened.mean() < varied.mean() - 0.2
    image, hole = torch.zeros(1, 3, 12, 12), torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    hole[..., 2:10, 2:10] = True
    filled = [prior.inpaint(image, hole, Condition(text=text), seed=1) for text in ("night", "day")]
    assert all(torch.equal(one[..., 0, :], image[..., 0, :]) for one in filled)
    assert filled[0][hole.expand_as(image)].mean() < filled[1][hole.expand_as(image)].mean()
