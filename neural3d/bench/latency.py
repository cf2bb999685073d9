"""The latency table: how long a visitor waits for the engine's picture after he has moved."""

import io
import math
import random
import time
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from PIL import Image

from neural3d.bench.children import end_with_parent
from neural3d.bench.machine import provenance
from neural3d.bench.page_client import Message, PageClient
from neural3d.bench.scenes import RENDER_200K, SceneSpec, generate
from neural3d.render.splats import render_function
from neural3d.splats.gaussians import Gaussians
from neural3d.train.observer import Progress
from neural3d.viewer import Viewer

WIDTH, HEIGHT = 640, 360
SCENE = replace(
    RENDER_200K,
    name="100,000 Gaussians at 640x360",
    width=WIDTH,
    height=HEIGHT,
    num_gaussians=100_000,
    pairs=28_000_000,
)
"""The density of the render table's scene: a quarter of its pixels and pairs."""
MOVES = 300
MAX_PAUSE_SECONDS = 0.1
"""Between a picture and the next move, by chance, so that moves come at any time of the viewer's rounds."""
SETTLE_SECONDS = 2.0
_WARM_UP = 20


def measure_latency(*, scene: SceneSpec = SCENE, moves: int = MOVES) -> dict[str, Any]:
    """One visitor who moves the camera of a paused training, and waits for each picture.

    The visitor is a process of its own. A wait is from the camera's message to the decoded picture, over the loopback;
    a browser adds what it takes to show a JPEG.
    """
    made = generate(scene)
    answer = watched_while_paused(made.gaussians, moves)
    waits_ms, heights = np.array(answer["waits_ms"]), np.array(answer["heights"])
    return {
        "table": "latency",
        "scene": scene.name,
        "num_gaussians": len(made.gaussians),
        "window_px": [WIDTH, HEIGHT],
        "moves": moves,
        **{f"p{share}_ms": float(np.percentile(waits_ms, share)) for share in (50, 95)},
        "max_ms": float(waits_ms.max()),
        "picture_rows": {"least": int(heights.min()), "median": int(np.median(heights))},
        "unasked_pictures": answer["unasked"],
        **provenance(),
    }


def watched_while_paused(gaussians: Gaussians, moves: int) -> dict[str, Any]:
    """What a visitor measures of a training that he pauses."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    with Viewer(is_training=True, render_fn_from=render_function, port=0) as viewer:
        process = context.Process(target=_visit, args=(viewer.url, moves, theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            _train_until_answered(viewer, gaussians, ours)
            return ours.recv()
        except EOFError as error:
            raise RuntimeError("the visitor ended without an answer; its last lines are above") from error
        finally:
            process.kill()
            process.join()


def _train_until_answered(viewer: Viewer, gaussians: Gaussians, answers: Connection) -> None:
    """What the loop of a training does around its steps, which take no time here."""
    told = Progress(100, 1000, 0.1, 1.0, 9.0, 20.0, 0.1, 100.0, num_gaussians=len(gaussians))
    while not answers.poll(0.05):
        if viewer.requested() == "run":
            viewer.on_progress(told, lambda: gaussians)


def _visit(url: str, moves: int, answers: Connection) -> None:
    """Pause, let the engine draw, and move."""
    end_with_parent()
    chance = random.Random(0)
    with PageClient(url) as client:
        client.stand(_camera(0))
        pause, by = client.controls("Pause", "Drawn by")
        client.set(by, "engine (exact)")
        client.picture()
        client.set(pause, True)
        for i in range(_WARM_UP):
            _timed(client, i)
        client.forget(SETTLE_SECONDS)
        found, unasked = [], 0
        for i in range(moves):
            found.append(_timed(client, i))
            unasked += client.forget(chance.uniform(0, MAX_PAUSE_SECONDS))
    waits, heights = zip(*found, strict=True)
    answers.send({"waits_ms": waits, "heights": heights, "unasked": unasked})


def _timed(client: PageClient, i: int) -> tuple[float, int]:
    """Milliseconds from a move to the picture, and the picture's height."""
    camera = _camera(i)
    began = time.perf_counter()
    client.stand(camera)
    with Image.open(io.BytesIO(client.picture())) as picture:
        picture.load()
        return 1e3 * (time.perf_counter() - began), picture.height


def _camera(i: int) -> Message:
    """On a small circle before the scene, which looks along +z as its own camera does."""
    angle = 0.3 * i
    return {
        "wxyz": (1.0, 0.0, 0.0, 0.0),
        "position": (0.1 * math.cos(angle), 0.1 * math.sin(angle), 0.0),
        "fov": 2 * math.atan(HEIGHT / WIDTH / 2),
        "near": 0.01,
        "far": 1000.0,
        "image_height": HEIGHT,
        "image_width": WIDTH,
        "look_at": (0.0, 0.0, 4.0),
        "up_direction": (0.0, -1.0, 0.0),
    }
