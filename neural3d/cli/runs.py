"""What commands find in a run's folder: the model, the cameras without their photos, the capture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.capture import load_capture
from neural3d.capture.georeference.world_file import find_world, world_from_json, world_to_json
from neural3d.checkpoints import Checkpoint
from neural3d.cli.kept_cameras import cameras_from_json, frame_from_json, up_from_json
from neural3d.cli.progress import say
from neural3d.devices import DeviceName, choose_device
from neural3d.errors import InputError, said
from neural3d.render.model import Model
from neural3d.run import Run
from neural3d.scene import Scene, Similarity, World
from neural3d.splats.gaussians import Gaussians
from neural3d.train.camera_refinement import cameras_of_checkpoint
from neural3d.train.config import SplatConfig, config_from_json
from neural3d.train.fields import FieldConfig, field_config_from_json, field_of
from neural3d.train.splats import kind_of

SCENE_FILE = "scene.json"
POSE_TOLERANCE = 1e-4
"""In the scene's frame and in turns: below it lies what other machines round otherwise."""

Value = TypeVar("Value")
BackendName = Literal["native", "gsplat", "nerfacc"]


@dataclass(frozen=True)
class Settings:
    """What a run was made with."""

    capture: Path
    downscale: float
    config: SplatConfig | FieldConfig
    device: DeviceName
    """Where it was trained."""
    backend: BackendName
    """Whose engine rendered."""

    @property
    def method(self) -> Literal["splat", "nerf"]:
        """What `neural3d train` calls it."""
        return "splat" if isinstance(self.config, SplatConfig) else "nerf"

    @property
    def background(self) -> str:
        """Behind the model."""
        return self.config.background


@dataclass(frozen=True)
class Views:
    """The part of a scene that rendering needs, kept with the run so that no photo is read again."""

    cameras: Cameras
    names: tuple[str, ...]
    test_indices: Int[Tensor, "B"]
    up_world: Float[Tensor, "3"]
    capture_from_scene: Similarity
    has_alpha: bool
    world: World | None = None


@dataclass(frozen=True)
class Trained:
    """A trained model and where it comes from."""

    run: Run
    settings: Settings
    checkpoint: Checkpoint
    model: Model
    views: Views

    @property
    def cameras(self) -> Cameras:
        """Of all photos; those trained on as they were refined, where they were."""
        given = self.views.cameras
        held_out = set(self.views.test_indices.tolist())
        rows = torch.tensor([i for i in range(len(given)) if i not in held_out], dtype=torch.int64)
        refined = cameras_of_checkpoint(self.checkpoint.tensors, given[rows])
        pose, focal = given.camera_from_world.clone(), given.focal_px.clone()
        pose[rows], focal[rows] = refined.camera_from_world, refined.focal_px
        return replace(given, camera_from_world=pose, focal_px=focal)

    @property
    def gaussians(self) -> Gaussians:
        """The model, for whoever can do nothing with another.

        Raises: InputError where it is a field.
        """
        if not isinstance(self.model, Gaussians):
            raise InputError(f"{self.run.path}: the run holds a radiance field; give the run of a splat training")
        return self.model


def save_views(run: Run, scene: Scene) -> None:
    """Write scene.json.

    Raises: StorageError.
    """
    cameras = {name: getattr(scene.cameras, name).tolist() for name in Cameras.__dataclass_fields__}
    similarity = scene.capture_from_scene
    run.write_json(
        SCENE_FILE,
        {
            "cameras": cameras,
            "names": [photo.name for photo in scene.photos],
            "test_indices": scene.test_indices.tolist(),
            "up_world": scene.up_world.tolist(),
            "has_alpha": scene.has_alpha,
            "capture_from_scene": {
                "scale": similarity.scale,
                "rotation": similarity.rotation.tolist(),
                "translation": similarity.translation.tolist(),
            },
            "world": None if scene.world is None else world_to_json(scene.world),
        },
    )


def load_trained(path: Path) -> Trained:
    """The model of a run's last whole checkpoint; a warning names each later one that is damaged.

    Raises: InputError when there is no run, or none of its checkpoints is there and whole.
    """
    run = Run.open(path)
    settings, checkpoint = load_settings(run), run.latest_checkpoint()
    if checkpoint is None:
        raise InputError(
            f"{path}: the run has no checkpoint yet; go on with neural3d train {settings.method} --resume "
            f"--output {path}"
        )
    for skipped in checkpoint.skipped:
        say(f"neural3d: warning: passed over {skipped}")
    model = _gaussians(run, checkpoint) if settings.method == "splat" else field_of(checkpoint, settings.config)
    views = load_views(run)
    if views is None:
        raise InputError(f"{path}: {SCENE_FILE} is missing; resume the run once, or train again")
    return Trained(run, settings, checkpoint, model, views)


def world_of(trained: Trained) -> World | None:
    """The way to metres: what lies beside the capture now, else what it was when the run was trained.

    Raises: InputError when world.json is damaged.
    """
    capture, views = trained.settings.capture, trained.views
    places = views.capture_from_scene.apply(views.cameras.centers_world.double()).numpy()
    folder = capture.parent if capture.is_file() else capture
    return find_world(folder, dict(zip(views.names, places, strict=True)))[0] or views.world


def require_world(trained: Trained) -> World:
    """As `world_of`.

    Raises: InputError with the remedy where no metres are known.
    """
    world = world_of(trained)
    if world is None:
        raise InputError(
            f"--units metres: {trained.run.path} knows no metres; find them: neural3d world {trained.settings.capture}"
        )
    return world


def placed(model: Model, device: DeviceName | None) -> Model:
    """The model where it is to be computed.

    Raises: InputError where that does not work.
    """
    if isinstance(model, Gaussians):
        return model.to(choose_device(device))
    require_cpu(device)
    return model


def require_cpu(device: DeviceName | None) -> None:
    """Fields have no other device yet.

    Raises: InputError.
    """
    if device == "cuda":
        raise InputError("--device cuda: radiance fields are computed on the CPU; leave it out")


def _gaussians(run: Run, checkpoint: Checkpoint) -> Gaussians:
    tensors = {
        name.removeprefix("gaussians."): t for name, t in checkpoint.tensors.items() if name.startswith("gaussians.")
    }
    if not tensors:
        raise InputError(f"{run.path}: the run holds no Gaussians; give the run of a splat training")
    return Gaussians(**tensors, **kind_of(checkpoint))


def load_settings(run: Run) -> Settings:
    """What config.json says that the run was made with.

    Raises: InputError naming the setting that is missing or makes no sense.
    """
    return _read(run.path / "config.json", run.config, _settings)


def load_views(run: Run) -> Views | None:
    """The cameras of scene.json; None where training has never begun.

    Raises: InputError when the file is broken.
    """
    content = run.read_json(SCENE_FILE)
    return None if content is None else _read(run.path / SCENE_FILE, content, _views)


def load_scene(settings: Settings, views: Views | None, capture: Path | None) -> Scene:
    """The capture that the run was trained on, at the run's downscale.

    Raises: InputError when it is not where it was, or is not what it was: the scene's frame comes from the cameras, so
        one photo more or less would move everything away from the model.
    """
    folder = capture or settings.capture
    if not folder.exists():
        raise InputError(f"{folder}: the capture of the run is not there; name it with --capture")
    scene = load_capture(folder, downscale=settings.downscale)
    if views is not None and (change := _change(views, scene)):
        raise InputError(f"{folder}: not the capture that the run was trained on ({change}); restore it or train again")
    return scene


def _change(views: Views, scene: Scene) -> str | None:
    """What is different, None where nothing is."""
    names = tuple(photo.name for photo in scene.photos)
    if names != views.names:
        gone, new = _few(views.names, names), _few(names, views.names)
        return ", ".join([f"{gone} gone"] * bool(gone) + [f"{new} new"] * bool(new)) or "its photos are named otherwise"
    if not torch.equal(scene.cameras.size_px, views.cameras.size_px):
        return "its photos have other sizes"
    if sorted(scene.test_indices.tolist()) != sorted(views.test_indices.tolist()):
        return "other photos are held out"  # the run has learnt from those that would judge it
    return _lens_change(views.cameras, scene.cameras) or _pose_change(views, scene)


def _lens_change(before: Cameras, now: Cameras) -> str | None:
    """Beyond what other machines round otherwise while they take distortion out."""
    tolerance_px = POSE_TOLERANCE * before.focal_px
    if bool(((now.focal_px - before.focal_px).abs() > tolerance_px).any()):
        return "its cameras have other focal lengths"
    if bool(((now.principal_px - before.principal_px).abs() > tolerance_px).any()):
        return "its cameras have other principal points"
    return None


def _pose_change(views: Views, scene: Scene) -> str | None:
    now, before = scene.capture_from_scene, views.capture_from_scene
    moved = (now.translation - before.translation).abs().max() > POSE_TOLERANCE * before.scale
    scaled = abs(now.scale / before.scale - 1) > POSE_TOLERANCE
    posed = (scene.cameras.camera_from_world - views.cameras.camera_from_world).abs().max() > POSE_TOLERANCE
    return "its cameras have moved" if moved or scaled or posed else None


def _few(names: Sequence[str], others: Sequence[str]) -> str:
    """Those that the others lack, a few of them by name."""
    lacking = sorted(set(names) - set(others))
    return ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")


def _read(path: Path, content: dict[str, Any], parse: Callable[[dict[str, Any]], Value]) -> Value:
    """Parse what a file of the run holds.

    Raises: InputError naming the file where it is not what this program wrote.
    """
    try:
        return parse(content)
    except KeyError as error:
        raise InputError(f"{path}: {error.args[0]} is missing; restore the file or train again") from error
    except InputError as error:
        raise InputError(f"{path}: {said(error, 300)}; restore the file or train again") from error
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError, OverflowError) as error:
        raise InputError(f"{path}: not as it was written ({said(error)}); restore the file or train again") from error


def _settings(content: dict[str, Any]) -> Settings:
    if content["method"] == "nerf":
        config = field_config_from_json(content["field"], content["nerf"])
    else:
        config = config_from_json(content["splat"])
    device = content["device"]
    if device not in get_args(DeviceName):
        raise InputError(f"device: expected {' or '.join(get_args(DeviceName))}, got {device!r}")
    backend = content["backend"]
    if backend not in get_args(BackendName):
        raise InputError(f"backend: expected {' or '.join(get_args(BackendName))}, got {backend!r}")
    return Settings(Path(content["capture"]), float(content["downscale"]), config, device, backend)


def _views(content: dict[str, Any]) -> Views:
    names = tuple(content["names"])
    test_indices = torch.tensor(content["test_indices"], dtype=torch.int64)
    if not ((test_indices >= 0) & (test_indices < len(names))).all():
        raise InputError(f"test_indices: expected whole numbers from 0 to {len(names) - 1}, one a held-out photo")
    return Views(
        cameras=cameras_from_json(content["cameras"], names),
        names=names,
        test_indices=test_indices,
        up_world=up_from_json(content),
        capture_from_scene=frame_from_json(content["capture_from_scene"]),
        has_alpha=bool(content["has_alpha"]),
        # Runs of earlier versions say nothing about it.
        world=None if content.get("world") is None else world_from_json(content["world"]),
    )
