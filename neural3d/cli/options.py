"""What can be typed: one dataclass a command, its docstrings are the help. Nothing heavy is imported here."""

import io
import re
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import (
    Positional,
    arg,
    subcommand,
)

from neural3d.cli.ingest_options import Ingest, Posing
from neural3d.cli.option_types import (
    AllowedHosts,
    CaptureFolder,
    Device,
    Flag,
    Number,
    OptionalNumber,
    OptionalWhole,
    RunFolder,
    Whole,
    unless_given,
)
from neural3d.cli.prior_options import Prior
from neural3d.cli.texture_options import Texture
from neural3d.errors import InputError
from neural3d.train.config import SplatConfig
from neural3d.train.mlp_config import MlpConfig

DESCRIPTION = (
    "Posed photos in, a 3D scene out. A capture is a folder of photos with their camera poses; a run is the folder "
    "that a training writes. To begin: neural3d demo, then neural3d make CAPTURE --output RUN."
)


_ExportFormat = Literal[
    *("ply", "compressed-ply", "splat", "spz", "sog", "glb", "usd", "html"),
    *("mesh", "points", "cameras", "st-maps"),
]


@dataclass(frozen=True)
class Training:
    """What `train` and `make` have in common; what is left out is chosen from the capture."""

    output: RunFolder
    """Folder of the run, created where it is missing."""
    steps: Annotated[
        OptionalWhole, unless_given(f"{SplatConfig.steps:,} for splats, {MlpConfig.steps:,} for fields")
    ] = None
    """How many steps to train in all; growth and step sizes are spread over them."""
    max_seconds: Annotated[
        OptionalNumber, unless_given(f"{SplatConfig.max_seconds:.0f}, no limit where --steps is given")
    ] = None
    """How long to train in all; whichever of --steps and this comes first ends it."""
    downscale: Annotated[OptionalNumber, unless_given("chosen from size and memory, and printed")] = None
    """Use photos at 1/X of their size."""
    seed: Whole = SplatConfig.seed
    """Where randomness begins: with --steps, the same seed gives the same result to the byte."""
    overwrite: Flag = False
    """Replace the run that is in the folder."""
    background: Literal["auto", "white", "black", "random"] = SplatConfig.background
    """What lies behind the scene; auto: random while training on photos with transparency, else black."""
    device: Device = None
    """Where to compute; a run that is resumed goes on where it was made unless this says otherwise."""
    backend: Literal["native", "gsplat", "nerfacc"] = "native"
    """Whose engine renders while training, for comparison; gsplat: that library's rasterizer, for splats; nerfacc: that
    library's volume rendering, for the fields hashgrid and points. Both need a GPU."""
    field: Annotated[
        Literal["hashgrid", "mlp", "points"] | None,
        arg(
            metavar="{hashgrid,mlp,points}",
            help_behavior_hint="(default: hashgrid, or mlp with --tiny, --paper or --ndc)",
        ),
    ] = None
    """Which radiance field; hashgrid: features in a hash grid, fast; mlp: the networks of the first paper; points:
    features on points of surfaces, the capture's or those of a short fit of splats (Point-NeRF)."""
    preset: Annotated[
        Literal["fast", "default", "best"] | None,
        arg(metavar="{fast,default,best}", help_behavior_hint="(default: default)"),
    ] = None
    """How large a hash grid is, and how long it is trained unless --steps or --max-seconds says so; hashgrid only."""
    points_from: Literal["auto", "capture", "splats"] = "auto"
    """Where neural points begin; splats: on surfaces that a short fit of splats shows, whose time counts; auto: on the
    capture's points where these are as many as the field may have, else splats; points only."""
    tiny: Flag = False
    """One small network instead of two large ones, for a first picture within two minutes; mlp only."""
    ndc: Flag = MlpConfig.ndc
    """Let infinity be a plane, for captures whose cameras all face one way; mlp only."""
    paper: Flag = False
    """As many rays and samples as the first paper has, also where photos with alpha show that nothing can be, and its
    learning rates, for days of training; mlp only."""
    max_gaussians: Annotated[OptionalWhole, unless_given("a quarter of a photo's pixels, 20,000 to 300,000")] = None
    """The most Gaussians that the model may have."""
    densify: Literal["mcmc", "adc"] = SplatConfig.densify
    """How Gaussians come and go; mcmc: moved and grown at random, adc: copied and split by thresholds."""
    few_photos: Flag = False
    """For 6 to 12 photos: a cap fitted to the points, Gaussians left out at random, depth that bends at edges only."""
    antialiased: Flag = SplatConfig.antialiased
    """Dim Gaussians smaller than a pixel (Mip-Splatting), for scenes seen from near and far."""
    exposure: Literal["none", "affine", "bilateral"] = SplatConfig.exposure
    """Learn how each photo's colours differ from the scene's; affine: as a whole, bilateral: in parts of it, too (for
    splats). The field hashgrid does so where photos have no alpha, the field mlp never."""
    ignore_moving: Flag = SplatConfig.ignore_moving
    """People, cars, shadows: leave out of each photo what the other photos speak against."""
    refine_cameras: Flag = SplatConfig.refine_cameras
    """Learn small corrections of poses and focal lengths with the scene; how far cameras moved is told at the end. For
    splats and the field hashgrid."""
    sh_degree: Whole = SplatConfig.sh_degree
    """How finely colour may vary with the direction of view, 0 (not at all) to 3."""


@dataclass(frozen=True)
class Train(Training):
    """Train a model on a capture, and nothing else; Ctrl-C saves a checkpoint and leaves."""

    method: Positional[Literal["splat", "nerf"]] = tyro.MISSING
    """What to train; splat: Gaussian splats, nerf: a radiance field, see --field."""
    capture: Annotated[Path | None, arg(metavar="CAPTURE", help_behavior_hint="(needed unless --resume)")] = None
    """Folder of photos with their camera poses."""
    init_field: Annotated[Path | None, arg(metavar="RUN", help_behavior_hint="(default: the capture's points)")] = None
    """Begin with the surfaces that a radiance field shows, trained on the same capture; splat only."""
    resume: Flag = False
    """Go on with the run in the folder from its last checkpoint, with the options it was made with."""
    viewer: bool = False
    """Watch in the browser while it trains, and afterwards until Ctrl-C."""
    allow_host: AllowedHosts = ()
    """A name under which browsers may reach the viewer, as through a proxy; can be given more than once."""
    json: Flag = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class Make(Posing, Training):
    """Everything: find poses where there are none, train splats (or with --field a field), judge, export, show."""

    source: Positional[Annotated[Path, arg(metavar="PHOTOS|VIDEO|CAPTURE")]] = tyro.MISSING
    """Folder of photos, with their camera poses or without, or a video; poses that are found go to RUN-capture, and
    options about finding them, masks and metres are for photos without."""
    viewer: bool = True
    """Watch in the browser while it trains, and afterwards until Ctrl-C."""
    allow_host: AllowedHosts = ()
    """A name under which browsers may reach the viewer, as through a proxy; can be given more than once."""
    json: Flag = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class Demo:
    """The same as make, on the capture that comes with neural3d, in about a minute."""

    output: RunFolder = Path("runs/demo")
    """Folder of the run; an earlier run in it is replaced."""
    max_seconds: Number = 45.0
    """How long to train."""
    device: Device = None
    """Where to compute."""
    viewer: bool = True
    """Watch in the browser while it trains, and afterwards until Ctrl-C."""
    json: Flag = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class Inspect:
    """Say what is in a capture, what is wrong with it, and how long and how much memory training will take."""

    capture: Positional[CaptureFolder]
    """Folder of photos with their camera poses."""
    picture: Annotated[Path | None, arg(metavar="FILE.png", help_behavior_hint="(default: none is drawn)")] = None
    """Draw cameras and points from above and from the side into this file."""
    json: Flag = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class Masks:
    """Cut out the object that the photos of a capture go around, and write masks; GrabCut, from the points."""

    capture: Positional[CaptureFolder]
    """Folder of photos with their camera poses and points."""
    output: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: CAPTURE/masks)")] = None
    """Where the masks go: white is the object, black is ignored by train and ingest."""
    segment: Annotated[str | None, arg(metavar="MODULE:FUNCTION", help_behavior_hint="(default: GrabCut)")] = None
    """A function of yours in GrabCut's place: takes a picture and neural3d.capture.foreground.Seeds, returns a mask."""
    overwrite: Flag = False
    """Replace masks that are there, and remove those of photos in which the object is not seen."""
    json: Flag = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class World:
    """Give a capture metres and a true up, by its photos' GPS or by measured points; kept in world.json beside it."""

    capture: Positional[CaptureFolder]
    """Folder of photos with their camera poses."""
    gps: Flag = False
    """By the positions in the photos' EXIF; those that the others speak against are left out."""
    control_points: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: none)")] = None
    """By a text file: a line is name, x, y, z where name is a photo and the place its camera's, or name, x, y, z,
    photo, u, v for a point seen in a photo, in pixels from its top left corner; metres, z up."""
    overwrite: Flag = False
    """Replace what an earlier start has found."""
    json: Flag = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class Eval:
    """Judge a run on the photos that it has not seen; pictures go to RUN/renders/eval."""

    run: Positional[RunFolder]
    """Folder of the run."""
    capture: Annotated[Path | None, arg(metavar="CAPTURE", help_behavior_hint="(default: where it was)")] = None
    """Where the run's capture lies now, if it was moved."""
    device: Device = None
    """Where to render."""
    json: Flag = False
    """Print one JSON object and nothing else on stdout."""


@dataclass(frozen=True)
class Render:
    """Render pictures or a video of a run."""

    run: Positional[RunFolder]
    """Folder of the run."""
    output: Path
    """A folder for pictures, a pattern for them (shots/tea.%04d.exr), or a file that ends in .mp4 or .mov."""
    cameras: Annotated[str, arg(metavar="orbit|test|photos|FILE")] = "orbit"
    """Once around the scene; the held-out views; those of all photos; or a file of cameras: .usd (.usda, .usdc, .usdz),
    .chan, .glb, .gltf, .blender.json, a nerfstudio camera_path.json, any transforms.json."""
    format: Annotated[
        Literal["png", "tiff", "exr", "mp4", "mov"] | None,
        arg(metavar="{png,tiff,exr,mp4,mov}", help_behavior_hint="(default: by --output, else png)"),
    ] = None
    """png, tiff (16 bits): display sRGB; exr: layers in scene-linear light for compositors; mp4, mov: a video."""
    frames: Annotated[
        str | None, arg(metavar="N|A-B[xS]", help_behavior_hint="(default: 120 of an orbit, all of a file)")
    ] = None
    """How many views an orbit has; or frames by number, as 1001-1100x2. Finished pictures are not rendered again."""
    size: Annotated[
        tuple[int, int] | None, arg(metavar="W H", help_behavior_hint="(default: the file's, else the first photo's)")
    ] = None
    """Of the pictures, in pixels; the angle of view across stays."""
    fps: Annotated[OptionalNumber, unless_given("the camera file's, else 30")] = None
    """Frames a second."""
    bits: Literal[8, 16] = 8
    """Of each colour channel of a PNG."""
    alpha: Flag = False
    """Nothing behind the model, and straight alpha: PNG, TIFF, ProRes 4444."""
    panorama: Flag = False
    """All around each camera, 360 by 180 degrees in an equirectangular picture (--size, twice as wide as high)."""
    stereo: Annotated[OptionalNumber, unless_given("one eye")] = None
    """Two eyes so far apart, in --units: side by side, or in files of their own where --output has %V,
    which becomes left and right."""
    convergence: Annotated[OptionalNumber, unless_given("infinity")] = None
    """With --stereo: how far away things are seen at the same place by both eyes, in --units."""
    codec: Annotated[
        Literal["h264", "hevc", "prores422hq", "prores4444"] | None,
        arg(metavar="{h264,hevc,prores422hq,prores4444}", help_behavior_hint="(default: h264 for .mp4, else ProRes)"),
    ] = None
    """Of a video; ProRes goes into a .mov."""
    layers: tuple[Literal["rgba", "depth", "normal", "position", "motion", "object"], ...] = (
        "rgba",
        "depth",
        "normal",
        "position",
    )
    """Parts of an EXR; motion: how far what a pixel shows goes until the next frame, in pixels; object: a Cryptomatte
    of what the photos' masks show."""
    objects: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: the capture's masks)")] = None
    """With the layer object: masks of the photos, named like these, white where an object is; or a folder of masks an
    object, whose name is the object's."""
    color_space: Literal["linear", "acescg", "srgb"] = "linear"
    """Of an EXR; linear: light with the primaries of Rec.709; acescg; srgb: display values as they were trained."""
    precision: Literal["half", "float"] = "half"
    """Of colours and normals in an EXR; depth and position are float always."""
    overscan: Whole = 0
    """Pixels beyond each border of an EXR's picture: its data window is larger than its display window."""
    shutter: Number = 0.0
    """Blur an EXR's colours while the camera moves: how much of a frame the shutter is open; 0.5 is 180 degrees."""
    shutter_samples: Whole = 16
    """How many views are averaged for that."""
    deep: Annotated[OptionalWhole, unless_given("a flat picture")] = None
    """A deep EXR of splats, with at most so many samples a pixel (16 is plenty): R, G, B, A, Z and ZBack."""
    distort: Flag = False
    """Bend an EXR's pictures as the lens bent the photos, to go onto a plate; else they are straight."""
    up: Annotated[
        Literal["keep", "y", "z", "y-down"] | None,
        arg(metavar="{keep,y,z,y-down}", help_behavior_hint="(default: y for .glb and .gltf, else keep)"),
    ] = None
    """The up axis that the file of cameras was exported with; keep: the capture's own axes."""
    units: Literal["capture", "metres"] = "capture"
    """What the file of cameras speaks of, and depths, positions and the distance of eyes with it; metres: with z up, as
    export --units metres writes."""
    device: Device = None
    """Where to render."""


@dataclass(frozen=True)
class View:
    """Look at a run or a file of splats in the browser, until Ctrl-C."""

    source: Positional[Annotated[Path, arg(metavar="RUN|FILE")]]
    """Folder of a run, or a file of Gaussian splats in any format that export writes."""
    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets in everybody who knows the printed address with its token."""
    port: Whole = 7007
    """The first port to try; the next free one is taken."""
    allow_host: AllowedHosts = ()
    """A name under which browsers may reach the viewer, as through a proxy; can be given more than once."""
    browser: bool = True
    """Open the browser, where there is a display."""
    device: Device = None
    """Where to render exact pictures."""


@dataclass(frozen=True)
class Export:
    """Write a run's model as a file that other programs open, in the capture's own frame and units."""

    source: Positional[Annotated[Path, arg(metavar="RUN|FILE")]]
    """Folder of a run, or a file of Gaussian splats in any of the formats, to convert it."""
    output: Annotated[Path, arg(metavar="FILE")]
    """The file; replaced where it is there."""
    format: Annotated[
        _ExportFormat | None,
        arg(metavar="{ply,…,html,mesh,points,cameras,st-maps}", help_behavior_hint="(default: by --output)"),
    ] = None
    """ply: the layout of the INRIA code, which every splat tool reads, nothing lost; compressed-ply, spz, sog: small;
    splat: one colour a Gaussian; glb: glTF with KHR_gaussian_splatting; usd: for Nuke and Houdini; html: a page that
    shows the scene by itself, offline; mesh: the surface that the run's views agree on, as .ply, .obj, .glb or .usd;
    points: a cloud of points of that surface, with normals and colours, as .ply; cameras: see --cameras, as .usd,
    .usda, .usdc, .chan, .glb, .gltf, .blender.json or a nerfstudio .json; st-maps: a folder of EXR maps that undistort
    the run's photos and distort renders again."""
    crop: Annotated[
        tuple[float, float, float, float, float, float] | None,
        arg(metavar="X Y Z X Y Z", help_behavior_hint="(default: everything)"),
    ] = None
    """A box: only what lies between the first point and the second, in the capture's frame."""
    min_opacity: Number = 0.0
    """Leave out what is more transparent than this, 0 to 1."""
    max_splats: Annotated[OptionalWhole, unless_given("all")] = None
    """The most Gaussians to write: those that the run's cameras see most of; of a file, seen from all sides."""
    up: Annotated[
        Literal["keep", "y", "z", "y-down"] | None,
        arg(metavar="{keep,y,z,y-down}", help_behavior_hint="(default: y for glb, else keep)"),
    ] = None
    """Turn the scene so that up is this axis; keep: the capture's own axes."""
    units: Literal["capture", "metres"] = "capture"
    """Of the file; metres: with z up, as neural3d world or ingest --gps has found them for the
    capture; a crop is then in metres, too."""
    cameras: Annotated[str, arg(metavar="photos|test|orbit|FILE")] = "photos"
    """With --format cameras: the run's photos, those held out, once around the scene, or a file, to convert it."""
    frames: Annotated[str | None, arg(metavar="N|A-B[xS]", help_behavior_hint="(default: all, 120 of an orbit)")] = None
    """With --format cameras: how many views an orbit has; or frames by number, as 1001-1100x2."""
    fps: Annotated[OptionalNumber, unless_given("the file's, else 30")] = None
    """With --format cameras: frames a second."""
    triangles: Annotated[OptionalWhole, unless_given("200,000, with a texture 50,000")] = None
    """With --format mesh: how many triangles it may have."""
    texture: Annotated[OptionalWhole, unless_given("colours at the vertices")] = None
    """With --format mesh, .obj or .glb: a texture of so many pixels a side; what no photo saw is white in a mask that
    lies beside the mesh, FILE.unseen.png."""
    texture_from: Annotated[
        Literal["photos", "renders"] | None,
        arg(metavar="{photos,renders}", help_behavior_hint="(default: photos where they are still there)"),
    ] = None
    """What the texture is made from: the photos that the run was trained on, or its own renders."""
    voxel: Annotated[OptionalNumber, unless_given("two pixels wide")] = None
    """With --format mesh: how fine the surface is found, in units of the capture."""
    max_points: Annotated[OptionalWhole, unless_given("200,000")] = None
    """With --format points: how many points it may have."""
    spz_version: Annotated[Literal["3", "4"] | None, arg(metavar="{3,4}", help_behavior_hint="(default: 3)")] = None
    """Of an SPZ file; 3 is read by all viewers, 4 is smaller."""


@dataclass(frozen=True)
class Bench:
    """Measure this machine, on the captures in the folder NEURAL3D_DATA where that is set, else on the bundled one."""

    table: Positional[Literal["step", "render", "quality", "memory", "priors"]]
    """step and render: speed, a minute each; quality: PSNR over training time, 10 minutes; memory: 3 minutes;
    priors: what each of them draws, 7 minutes."""
    device: Device = None
    """For step and render; a GPU has tables of its own."""
    json: Flag = False
    """Print one JSON object and nothing else on stdout."""


Command = (
    Annotated[Demo, subcommand("demo")]
    | Annotated[Make, subcommand("make")]
    | Annotated[Ingest, subcommand("ingest")]
    | Annotated[Inspect, subcommand("inspect")]
    | Annotated[Masks, subcommand("masks")]
    | Annotated[World, subcommand("world")]
    | Annotated[Train, subcommand("train")]
    | Annotated[Eval, subcommand("eval")]
    | Annotated[Render, subcommand("render")]
    | Annotated[View, subcommand("view")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Prior, subcommand("prior")]
    | Annotated[Texture, subcommand("texture")]
    | Annotated[Bench, subcommand("bench")]
)


def parse(arguments: list[str] | None) -> Command:
    """The command that was typed.

    Raises:
        InputError: It cannot be understood.
        SystemExit: With 0, after --help.
    """
    box = io.StringIO()
    try:
        with redirect_stderr(box):
            return tyro.cli(Command, prog="neural3d", description=DESCRIPTION, args=arguments)
    except SystemExit as stopped:
        if not stopped.code:
            raise
    raise InputError(one_line(box.getvalue()))


def one_line(box: str) -> str:
    """What a box of tyro's says: what is wrong, what may have been meant, whose help to ask for."""
    rows = [row.strip(" │╭╮╰╯") for row in box.splitlines()]
    # A rule parts the blocks; where the terminal has no lines to draw with, the title has one of its own.
    parts = "\n".join(row if row.strip("─-") else "\0" for row in rows[1:]).split("\0")
    blocks = [part for part in parts if part.strip()] or [""]
    wrong = " ".join(blocks[0].split()).rstrip(".")
    meant = [match for block in blocks[1:] for match in re.findall(r"^--[\w-]+", block, re.MULTILINE)]
    helps = re.findall(r"neural3d[\w ]*--help", box)
    typed = re.findall(r"--[\w-]+", wrong)  # an option of another command is none that may have been meant
    hints = [f"perhaps you meant {flag}" for flag in meant[:1] if "Perhaps" in box and flag not in typed]
    return "; ".join([wrong, *hints, *(f"see {command}" for command in helps[-1:])])
