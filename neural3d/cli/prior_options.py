"""What can be typed after `neural3d prior`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand

from neural3d.cli.option_types import Flag, OptionalNumber, OptionalWhole, Whole, unless_given


@dataclass(frozen=True)
class PriorTrain:
    """Train a prior on a folder of images, searched recursively; its weights become one file."""

    prior: Annotated[str, arg(metavar="NAME")]
    """ae-linear, ae, vae, flow, gan, gan-ns, wgan, cgan, ddpm, score, x0, flow-matching, ldm, dit, vqgan, igpt,
    clip, vqgan-clip, unclip, patchnn, quilt."""
    images: Annotated[Path, arg(metavar="DIR")]
    """Folder of images; where all lie in subfolders, their names are the labels."""
    output: Annotated[Path, arg(metavar="P")]
    """The prior's file (safetensors); must not be there yet."""
    seconds: Annotated[OptionalNumber, unless_given("60, no limit where --steps is given")] = None
    """How long to train in all."""
    steps: Annotated[OptionalWhole, unless_given("no limit")] = None
    """How many steps to train in all; with it, a seed gives the same file to the byte at the same number of threads."""
    seed: Whole = 0
    """Where randomness begins."""
    size: Annotated[OptionalWhole, unless_given("the prior's own, 16 to 64")] = None
    """Side of the patches that it learns and draws: 8, 16, 32, 64 or 128 pixels."""
    downscale: Annotated[OptionalNumber, unless_given("so that a patch shows a quarter of an image's height")] = None
    """Learn from images at 1/X of their size."""
    labels: Annotated[Path | None, arg(metavar="FILE.csv", help_behavior_hint="(default: names of subfolders)")] = None
    """What images show: lines of an image or a folder, a comma, a label, as wall.jpg,mossy brick; `.` is all others.
    For clip, vqgan-clip and unclip their words are words of captions."""
    maps: Annotated[str | None, arg(metavar="edges|x4|DIR", help_behavior_hint="(default: none)")] = None
    """Learn to go by a map, too: by edges of the image, by the image at a quarter of its size (which makes small images
    larger), or by the folder's image of the same path and size (depth, lines, materials). For ddpm, score, x0 and
    flow-matching."""
    json: Flag = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class PriorSample:
    """Draw from a prior: many images on one sheet."""

    file: Positional[Annotated[Path, arg(metavar="P")]]
    """The prior's file; or a folder with weights of your own, a pipeline of diffusers. Needs [weights]."""
    output: Annotated[Path, arg(metavar="SHEET.png")]
    """The sheet; must not be there yet."""
    label: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: any)")] = None
    """Ask for this label, of those that the prior was trained with."""
    text: Annotated[str | None, arg(metavar="WORDS", help_behavior_hint="(default: any)")] = None
    """Ask for this: words of brightness, colour, roughness and labels; for clip, vqgan-clip and unclip."""
    image: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Draw variations of the middle of this image; with --text, change it so. For clip, which shows what resembles it,
    and unclip."""
    clip: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: the prior's own)")] = None
    """Let vqgan-clip see through these weights, a folder of transformers' CLIPModel, which read any text."""
    map: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Go by this map, of the kind that the prior was trained with; samples are of its size at the prior's scale. Edges
    are white on black; for x4 it is an image that shall be 4 times as large."""
    count: Whole = 16
    """How many images."""
    seed: Whole = 0
    """Where randomness begins: the same seed draws the same images."""
    enlarge: Whole = 4
    """How many pixels of the sheet a pixel is wide."""


@dataclass(frozen=True)
class PriorInpaint:
    """Fill a hole in an image with what a prior finds likely there; known pixels keep their values."""

    file: Positional[Annotated[Path, arg(metavar="P")]]
    """The prior's file; or a folder with weights of your own, a pipeline of diffusers. Needs [weights]."""
    image: Annotated[Path, arg(metavar="FILE")]
    """The image, of any size."""
    mask: Annotated[Path, arg(metavar="FILE")]
    """An image of the same size, white where something is to be filled in."""
    output: Annotated[Path, arg(metavar="FILE.png")]
    """The result; must not be there yet."""
    label: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="(default: any)")] = None
    """Ask for this label, of those that the prior was trained with."""
    text: Annotated[str | None, arg(metavar="WORDS", help_behavior_hint="(default: any)")] = None
    """Ask for this in the hole; for vqgan-clip and unclip."""
    map: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """Go by this map of the image's size, of the kind that the prior was trained with."""
    control: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: none)")] = None
    """A ControlNet that reads the map, where P is a folder of diffusers."""
    refine: Flag = False
    """Copy texels of the image along what the prior proposes, and blend them: sharp at the image's own size."""
    seed: Whole = 0
    """Where randomness begins: another seed fills it in another way, where the prior knows several."""


@dataclass(frozen=True)
class Prior:
    """2D generative priors, trained on your own images without downloaded weights: train, sample, inpaint."""

    action: OmitArgPrefixes[
        OmitSubcommandPrefixes[
            Annotated[PriorTrain, subcommand("train")]
            | Annotated[PriorSample, subcommand("sample")]
            | Annotated[PriorInpaint, subcommand("inpaint")]
        ]
    ]
