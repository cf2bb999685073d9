"""What commands find in a run's folder: the model, the cameras without their photos, the capture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural3d.cameras import Cameras
from neural3d.capture import load_capture
from neural3d.checkpoints import Checkpoint
from neural3d.errors import InputError
from neural3d.run import Run
from neural3d.scene import Scene, Similarity
from neural3d.splats.gaussians import Gaussians

SCENE_FILE = "scene.json"


@dataclass(frozen=True)
class Views:
    """The part of a scene that rendering needs, kept with the run so that no photo is read again."""

    cameras: Cameras
    names: tuple[str, ...]
    test_indices: Int[Tensor, "B"]
    up_world: Float[Tensor, "3"]
    capture_from_scene: Similarity
    has_alpha: bool


@dataclass(frozen=True)
class Model:
    """A trained model and where it comes from."""

    run: Run
    checkpoint: Checkpoint
    gaussians: Gaussians
    views: Views


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
        },
    )


def load_model(path: Path) -> Model:
    """The model of a run's last checkpoint.

    Raises: InputError when there is no run, or none of its checkpoints is there and whole.
    """
    run = Run.open(path)
    checkpoint = run.latest_checkpoint()
    if checkpoint is None:
        raise InputError(
            f"{path}: the run has no checkpoint yet; go on with neural3d train splat --resume --output {path}"
        )
    tensors = {
        name.removeprefix("gaussians."): t for name, t in checkpoint.tensors.items() if name.startswith("gaussians.")
    }
    if not tensors:
        raise InputError(f"{path}: the run holds no Gaussians; give the run of a splat training")
    gaussians = Gaussians(**tensors, antialiased=bool(checkpoint.meta["antialiased"]))
    return Model(run, checkpoint, gaussians, _load_views(run))


def load_scene(run: Run, capture: Path | None) -> Scene:
    """The capture that the run was trained on, at the run's downscale.

    Raises: InputError when it is not where it was.
    """
    folder = capture or Path(run.config["capture"])
    if not folder.is_dir():
        raise InputError(f"{folder}: the capture of the run {run.path} is not there; name it with --capture")
    return load_capture(folder, downscale=run.config["downscale"])


def _load_views(run: Run) -> Views:
    content: dict[str, Any] | None = run.read_json(SCENE_FILE)
    if content is None:
        raise InputError(f"{run.path}: {SCENE_FILE} is missing; resume the run once, or train again")
    cameras, similarity = content["cameras"], content["capture_from_scene"]
    floats = {name: torch.tensor(values, dtype=torch.float32) for name, values in cameras.items() if name != "size_px"}
    return Views(
        cameras=Cameras(**floats, size_px=torch.tensor(cameras["size_px"])),
        names=tuple(content["names"]),
        test_indices=torch.tensor(content["test_indices"], dtype=torch.int64),
        up_world=torch.tensor(content["up_world"], dtype=torch.float32),
        capture_from_scene=Similarity(
            similarity["scale"],
            torch.tensor(similarity["rotation"], dtype=torch.float64),
            torch.tensor(similarity["translation"], dtype=torch.float64),
        ),
        has_alpha=content["has_alpha"],
    )
