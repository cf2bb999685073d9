"""What can be typed after `neural3d texture`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand

from neural3d.cli.option_types import Flag, Number, RunFolder, Whole


@dataclass(frozen=True)
class _Texturing:
    """What the commands of `texture` that make a run have in common."""

    run: Positional[RunFolder]
    """Folder of a run of splats; only read."""
    output: Annotated[Path, arg(metavar="RUN2")]
    """Folder of the new run, which all other commands take; the mesh lies in its exports/, pictures in renders/."""
    texture: Whole = 1024
    """Side of the texture in pixels."""
    triangles: Whole = 50_000
    """The most triangles of the mesh."""
    reach: Number = 0.25
    """How far the surface is continued where no photo looked, as a share of its own size; 0 leaves it open."""
    method: str = "auto"
    """smooth, quilt, patchnn, a prior by name (x0, flow-matching, ldm, vqgan, …), the file of a trained prior; auto
    hides known texels, tries several, and takes the one that does best."""
    seconds: Number = 240.0
    """About how long priors may be trained and tried; auto and priors by name use a third of it for training."""
    fast: Flag = False
    """Compare fewer patches, and train no prior."""
    objects: Annotated[Path | None, arg(metavar="MASKS", help_behavior_hint="(default: the whole scene)")] = None
    """Folder of masks of the photos, as neural3d masks writes them: keep only what they hold, with sides of its own all
    around."""
    capture: Annotated[Path | None, arg(metavar="CAPTURE", help_behavior_hint="(default: where it was)")] = None
    """Where the run's capture lies now, if it was moved."""
    seed: Whole = 0
    """Where randomness begins."""
    overwrite: Flag = False
    """Replace the run that is in the folder."""
    json: Flag = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class TextureComplete(_Texturing):
    """Fill in what no photo saw: on a mesh, and as new splats; what was seen is not changed."""


@dataclass(frozen=True)
class TextureEdit(_Texturing):
    """Forget the texture in a box, and fill it in again from around it, or with the texels of an image."""

    box: Annotated[tuple[float, float, float, float, float, float], arg(metavar="X Y Z X Y Z")] = tyro.MISSING
    """From the first point to the second, in the capture's frame."""
    source: Annotated[Path | None, arg(metavar="IMAGE", help_behavior_hint="(default: the scene itself)")] = None
    """An image to copy texels from."""


@dataclass(frozen=True)
class TextureRestyle(_Texturing):
    """Lay the texels of an image over the whole surface, where they resemble it."""

    style: Annotated[Path, arg(metavar="IMAGE")] = tyro.MISSING
    """The image: a painting, a material."""


@dataclass(frozen=True)
class TextureTile:
    """Make a tile that repeats without seams, from a patch of a material."""

    image: Positional[Annotated[Path, arg(metavar="IMAGE")]]
    """The patch."""
    output: Annotated[Path, arg(metavar="FILE.png")]
    """The tile, as large as the patch; must not be there yet."""
    seed: Whole = 0
    """Where randomness begins."""


@dataclass(frozen=True)
class Texture:
    """Textures of what was reconstructed: complete what no photo saw, edit, restyle; tiles from a patch."""

    action: OmitArgPrefixes[
        OmitSubcommandPrefixes[
            Annotated[TextureComplete, subcommand("complete")]
            | Annotated[TextureEdit, subcommand("edit")]
            | Annotated[TextureRestyle, subcommand("restyle")]
            | Annotated[TextureTile, subcommand("tile")]
        ]
    ]
