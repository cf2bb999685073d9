"""What can be typed: one dataclass a command, its docstrings are the help. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, UseAppendAction, subcommand

from neural3d.train.config import SplatConfig

AllowedHosts = UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True)
class Training:
    """What `train` and `make` have in common; what is left out is chosen from the capture."""

    output: Path
    """Folder of the run."""
    steps: int | None = None
    """Total steps; fixes every schedule. Default: 30,000 or 5 minutes, whichever comes first."""
    max_seconds: float | None = None
    """Total training time. Default: 300, and no limit where --steps is given."""
    downscale: float | None = None
    """Use photos at 1/K of their size. Default: chosen from size and memory."""
    seed: int = SplatConfig.seed
    """Same seed, same result to the byte."""
    overwrite: bool = False
    """Replace the run that is in the folder."""
    background: Literal["auto", "white", "black", "random"] = SplatConfig.background
    """Behind the Gaussians; auto is random for photos with transparency, else black."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to compute."""
    backend: Literal["native", "gsplat"] = "native"
    """Whose rasterizer."""
    max_gaussians: int | None = None
    """Hard cap. Default: chosen from the photos."""
    densify: Literal["mcmc", "adc"] = SplatConfig.densify
    """How Gaussians come and go: by relocation below the cap, or by thresholds."""
    antialiased: bool = SplatConfig.antialiased
    """Mip-style opacity compensation, for scenes seen from near and far."""
    exposure: Literal["none", "affine", "bilateral"] = SplatConfig.exposure
    """Colour correction of each photo that is learnt beside the scene."""
    sh_degree: int = SplatConfig.sh_degree
    """Of the view-dependent colour, 0 to 3."""


@dataclass(frozen=True)
class Train(Training):
    """Train a model on a capture; Ctrl-C saves a checkpoint and leaves."""

    method: Positional[Literal["splat"]] = tyro.MISSING
    """What to train: Gaussian splats."""
    capture: Path | None = None
    """Folder of posed photos; needed unless --resume."""
    resume: bool = False
    """Go on with the run in the folder, with the options it was made with."""
    viewer: bool = False
    """Watch in the browser."""
    allow_host: AllowedHosts = ()
    """A name under which browsers may reach the viewer, as through a proxy; can be given more than once."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class Make(Training):
    """Everything: inspect, train, evaluate, export, view."""

    source: Positional[Path] = tyro.MISSING
    """A capture: a folder of photos with their poses."""
    viewer: bool = True
    """Show the result in the browser until Ctrl-C."""
    allow_host: AllowedHosts = ()
    """A name under which browsers may reach the viewer, as through a proxy; can be given more than once."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class Demo:
    """The bundled capture: train, evaluate, export, open the viewer."""

    output: Path = Path("runs/demo")
    """Folder of the run; an earlier run in it is replaced."""
    max_seconds: float = 45.0
    """Training time."""
    viewer: bool = True
    """Show the result in the browser until Ctrl-C."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class Inspect:
    """What is in a capture, what is wrong with it, how long and how much memory it will take."""

    capture: Positional[Path]
    """Folder of posed photos."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class Eval:
    """Judge a run on the photos that it has not seen; pictures go to RUN/renders/eval."""

    run: Positional[Path]
    """Folder of the run."""
    capture: Path | None = None
    """Where the capture lies now, if it was moved."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class Render:
    """Pictures or a video of a run."""

    run: Positional[Path]
    """Folder of the run."""
    output: Path
    """A folder for pictures, a file for a video."""
    cameras: str = "orbit"
    """orbit, test (the held-out views), or a file: camera_path.json of nerfstudio, or transforms.json."""
    format: Literal["png", "mp4"] | None = None
    """Default: by the suffix of --output."""
    frames: int = 120
    """Of the orbit."""
    fps: float | None = None
    """Of the video. Default: the camera file's, else 30."""
    bits: Literal[8, 16] = 8
    """A channel, of PNG."""


@dataclass(frozen=True)
class View:
    """Look at a run or a splat PLY in the browser, until Ctrl-C."""

    source: Positional[Path]
    """Folder of a run, or a file."""
    host: str = "127.0.0.1"
    """Where to listen; anything but 127.0.0.1 lets others in who know the address."""
    port: int = 7007
    """The first port to try; the next free one is taken."""
    allow_host: AllowedHosts = ()
    """A name under which browsers may reach the viewer, as through a proxy; can be given more than once."""
    browser: bool = True
    """Open the browser."""


@dataclass(frozen=True)
class Export:
    """Write a run's model as a file that other programs open, in the capture's own frame and units."""

    run: Positional[Path]
    """Folder of the run."""
    output: Path
    """The file."""
    format: Literal["ply"] = "ply"
    """ply: the layout of the INRIA code, which every splat tool reads."""


@dataclass(frozen=True)
class Bench:
    """Measure this machine; on the captures in the folder NEURAL3D_DATA where that is set, else on the bundled one."""

    table: Positional[Literal["step", "render", "quality", "memory"]]
    """step and render: speed, a minute each; quality: PSNR over training time, 10 minutes; memory: 3 minutes."""
    json: bool = False
    """Print one JSON object and nothing else on stdout."""


Command = (
    Annotated[Demo, subcommand("demo")]
    | Annotated[Make, subcommand("make")]
    | Annotated[Inspect, subcommand("inspect")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Eval, subcommand("eval")]
    | Annotated[Render, subcommand("render")]
    | Annotated[View, subcommand("view")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Bench, subcommand("bench")]
)


def parse(arguments: list[str] | None) -> Command:
    """The command that was typed.

    Raises: SystemExit 2 with an explanation for what cannot be understood, 0 after --help.
    """
    return tyro.cli(Command, prog="neural3d", description="Photos in, a 3D scene out.", args=arguments)
