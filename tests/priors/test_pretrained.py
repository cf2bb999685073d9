"""Weights of the user's own: tiny random ones, written as their libraries write them, read without a network."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neural3d.cli import main
from neural3d.errors import InputError
from neural3d.priors.files import save_prior
from neural3d.priors.pretrained.clip import PretrainedClip
from neural3d.priors.pretrained.pipelines import PretrainedPrior
from neural3d.priors.prior import PriorConfig
from neural3d.priors.records import Condition
from neural3d.priors.registry import make_prior

diffusers = pytest.importorskip("diffusers", reason="the extra [weights] is not installed")
transformers = pytest.importorskip("transformers", reason="the extra [weights] is not installed")

WIDTH = 16


def _tokenizer(root: Path):
    """Letters alone: every text is read."""
    words = [*"abcdefghijklmnopqrstuvwxyz", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz")]
    words += ["<|startoftext|>", "<|endoftext|>"]
    root.mkdir(parents=True, exist_ok=True)
    (root / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (root / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(str(root / "vocab.json"), str(root / "merges.txt"), model_max_length=12)


def _text_config() -> dict:
    return {
        "vocab_size": 54, "hidden_size": WIDTH, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 12, "bos_token_id": 52, "eos_token_id": 53,
        "pad_token_id": 53, "projection_dim": WIDTH,
    }  # fmt: skip


def _unet(in_channels: int):
    return diffusers.UNet2DConditionModel(
        block_out_channels=(16, 32), layers_per_block=1, sample_size=8, in_channels=in_channels, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=4, norm_num_groups=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An inpainting pipeline, one of the same parts that draws, a ControlNet, and a CLIP."""
    root = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    tokenizer = _tokenizer(root / "words")
    text = transformers.CLIPTextModel(transformers.CLIPTextConfig(**_text_config())).eval()
    vae = diffusers.AutoencoderKL(
        block_out_channels=[16, 16], in_channels=3, out_channels=3, latent_channels=4, norm_num_groups=4,
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    parts = {"vae": vae, "text_encoder": text, "tokenizer": tokenizer, "scheduler": scheduler}
    parts |= {"safety_checker": None, "feature_extractor": None}
    diffusers.StableDiffusionInpaintPipeline(**parts, unet=_unet(9)).save_pretrained(root / "inpaint")
    unet = _unet(4)
    diffusers.StableDiffusionPipeline(**parts, unet=unet).save_pretrained(root / "draw")
    control = diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8))
    for layer in (control.controlnet_mid_block, control.controlnet_cond_embedding.conv_out):  # zero at first
        torch.nn.init.normal_(layer.weight)
    control.save_pretrained(root / "control")
    vision = {"hidden_size": WIDTH, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 16, "patch_size": 8, "projection_dim": WIDTH}
    config = transformers.CLIPConfig(text_config=_text_config(), vision_config=vision, projection_dim=WIDTH)
    transformers.CLIPModel(config).eval().save_pretrained(root / "clip")
    tokenizer.save_pretrained(root / "clip")
    transformers.CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size=16).save_pretrained(root / "clip")
    return root


def _with_hole() -> tuple[torch.Tensor, torch.Tensor]:
    image = 2 * torch.rand(1, 3, 40, 70, generator=torch.Generator().manual_seed(0)) - 1
    unknown = torch.zeros(1, 1, 40, 70, dtype=torch.bool)
    unknown[..., 8:30, 10:50] = True
    return image, unknown


@pytest.mark.parametrize("name", ["inpaint", "draw"])
def test_pipelines_fill_holes(weights: Path, name: str):
    """Of any size, known pixels kept to the bit, the same for a seed; a text counts."""
    prior = PretrainedPrior(weights / name, steps=2)
    image, unknown = _with_hole()
    filled = prior.inpaint(image, unknown, Condition(text="brick"), seed=1)
    is_known = ~unknown.expand_as(image)
    assert torch.equal(filled[is_known], image[is_known]) and filled.isfinite().all()
    assert not torch.equal(filled, image)
    assert torch.equal(prior.inpaint(image, unknown, Condition(text="brick"), seed=1), filled)
    for others in ({"condition": Condition(text="moss"), "seed": 1}, {"condition": Condition(text="brick"), "seed": 2}):
        assert not torch.equal(prior.inpaint(image, unknown, **others), filled)


def test_a_pipeline_is_given_the_holes_surroundings_at_its_own_size(weights: Path, monkeypatch: pytest.MonkeyPatch):
    """A photo of 900 x 1300 with a small hole, and with a large one: what is asked of 16-pixel weights is small."""
    prior, asked = PretrainedPrior(weights / "inpaint", steps=1), []
    called = prior._called
    monkeypatch.setattr(prior, "_called", lambda *given: asked.append(given[1]) or called(*given))
    image = torch.linspace(-1, 1, 1300).expand(1, 3, 900, 1300).contiguous()
    for rows, columns in ((slice(400, 404), slice(1290, 1300)), (slice(100, 600), slice(10, 30))):
        unknown = torch.zeros(1, 1, 900, 1300, dtype=torch.bool)
        unknown[..., rows, columns] = True
        filled = prior.inpaint(image, unknown, seed=1)
        assert torch.equal(filled[~unknown.expand_as(image)], image[~unknown.expand_as(image)])
        assert not torch.equal(filled, image) and filled.isfinite().all()
    assert [question["image"].size for question in asked] == [(64, 64), (64, 64)]
    near, far = (np.array(question["image"])[:, :, 0] for question in asked)
    assert near[0, :16].min() > 245, "the right end of the ramp alone"
    assert far[0, 15] - int(far[0, 0]) > 150, "of a hole of 500 rows, 1000 columns around it"
    assert np.array(asked[0]["mask_image"]).any() and np.array(asked[1]["mask_image"])[:16, :16].mean() < 100


def test_images_without_a_hole_are_not_asked_about(weights: Path):
    prior = PretrainedPrior(weights / "inpaint", steps=1)
    image, unknown = _with_hole()
    both = torch.cat([image, image]), torch.cat([torch.zeros_like(unknown), unknown])
    filled = prior.inpaint(*both, seed=1)
    assert torch.equal(filled[0], image[0]) and not torch.equal(filled[1], image[0])


def test_a_controlnet_reads_the_map(weights: Path):
    prior = PretrainedPrior(weights / "draw", weights / "control", steps=2)
    image, unknown = _with_hole()
    maps = [torch.full((1, 3, 40, 70), value) for value in (-1.0, 1.0)]
    filled = [prior.inpaint(image, unknown, Condition(maps=one), seed=1) for one in maps]
    assert not torch.equal(*filled)
    with pytest.raises(InputError, match="a map needs a ControlNet; say where it lies, by --control"):
        PretrainedPrior(weights / "draw").inpaint(image, unknown, Condition(maps=maps[0]))


def test_pipelines_draw(weights: Path):
    prior = PretrainedPrior(weights / "draw", steps=2)
    assert prior.reads == {"text"} and prior.config.size == 16
    samples = prior.sample(2, Condition(text="moss"), seed=3)
    assert samples.shape == (2, 3, 16, 16) and torch.equal(samples, prior.sample(2, Condition(text="moss"), seed=3))
    with pytest.raises(InputError, match="StableDiffusionInpaintPipeline fills holes and draws nothing else"):
        PretrainedPrior(weights / "inpaint").sample(1)


def test_weights_are_read_to_the_bit(weights: Path):
    prior, clip = PretrainedPrior(weights / "draw"), PretrainedClip(weights / "clip")
    again = diffusers.UNet2DConditionModel.from_pretrained(weights / "draw" / "unet", local_files_only=True)
    for mine, other in zip(prior._pipeline.unet.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, other)
    model = transformers.CLIPModel.from_pretrained(weights / "clip", local_files_only=True)
    assert all(torch.equal(a, b) for a, b in zip(clip._model.parameters(), model.parameters(), strict=True))


def test_a_clip_answers_as_its_own_processor_lets_it(weights: Path):
    """Images of its own size: what is embedded is what transformers embeds, and gradients reach the pixels."""
    clip = PretrainedClip(weights / "clip")
    model = transformers.CLIPModel.from_pretrained(weights / "clip", local_files_only=True).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    processor = transformers.CLIPImageProcessorPil.from_pretrained(weights / "clip", local_files_only=True)
    expected = model.get_image_features(**processor(Image.fromarray(pixels), return_tensors="pt")).pooler_output
    images = (torch.from_numpy(pixels).float().movedim(-1, 0)[None] / 127.5 - 1).requires_grad_(True)
    vectors = clip.embed_images(images)
    assert torch.allclose(vectors, expected / expected.norm(), atol=1e-4)
    assert torch.autograd.grad(vectors.sum(), images)[0].abs().max() > 0
    texts = clip.embed_texts(["moss", "a wall of many bricks and stones that never ends"])
    assert torch.allclose(texts.norm(dim=1), torch.ones(2)) and not torch.equal(texts[0], texts[1])


def test_the_command_line_takes_folders(weights: Path, tmp_path: Path):
    for name, size in (("image", (27, 21)), ("mask", (27, 21))):
        pixels = np.zeros((size[1], size[0]), np.uint8)
        pixels[5:12, 4:20] = 255
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    options = [word for name in ("image", "mask") for word in (f"--{name}", str(tmp_path / f"{name}.png"))]
    command = ["prior", "inpaint", str(weights / "draw"), *options, "--text", "moss", "--output"]
    more = ["--map", str(tmp_path / "mask.png"), "--control", str(weights / "control")]
    assert main([*command, str(tmp_path / "plain.png")]) == 0 == main([*command, str(tmp_path / "told.png"), *more])
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "told.png").read_bytes()
    prior, sheets = tmp_path / "vq.prior", [tmp_path / f"{i}.png" for i in range(2)]
    save_prior(prior, make_prior(PriorConfig("vqgan-clip", 8)), {})
    for sheet, more in zip(sheets, ([], ["--clip", str(weights / "clip")]), strict=True):
        command = ["prior", "sample", str(prior), "--text", "dark", "--count", "1", "--output", str(sheet)]
        assert main([*command, *more]) == 0
    assert sheets[0].read_bytes() != sheets[1].read_bytes()


def test_folders_that_cannot_be(weights: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"holds no model_index.json; give a folder as save_pretrained writes it"):
        PretrainedPrior(tmp_path)
    with pytest.raises(InputError, match=r"holds no config.json"):
        PretrainedClip(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "X"]}')
    with pytest.raises(InputError, match="cannot be read as DiffusionPipeline"):
        PretrainedPrior(broken)
    pickled = tmp_path / "pickled"
    transformers.CLIPModel.from_pretrained(weights / "clip").config.save_pretrained(pickled)
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pickles, as pytorch_model.bin, which can run any program, are refused"):
        PretrainedClip(pickled)


def test_no_torchvision_is_needed(tmp_path: Path):
    """All that is used imports where torchvision is not to be found."""
    code = (
        "import sys; sys.modules['torchvision'] = None\n"
        "from transformers import CLIPModel, CLIPTokenizer, CLIPImageProcessorPil\n"
        "from diffusers import DiffusionPipeline, AutoPipelineForInpainting, ControlNetModel, UNet2DModel\n"
        "from diffusers import KandinskyV22InpaintCombinedPipeline, StableUnCLIPImg2ImgPipeline\n"
        "print('whole')"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.stdout.strip() == "whole", answer.stderr[-2000:]
