"""The make table: how long somebody with a folder of photos waits for something to look at."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from websockets.exceptions import WebSocketException

from neural3d.bench.children import BOUND_TO_STDIN
from neural3d.bench.machine import provenance
from neural3d.bench.page_client import Message, PageClient

SIGNS = {"preview_seconds": "CameraFrustumMessage", "scene_seconds": "GaussianSplatsMessage"}
"""What the page shows first of the poses, and of the scene."""
_LOOK_SECONDS = 0.2
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\?token=\S+")


def measure_making(source: Path, *, max_seconds: float | None = None, limit_seconds: float = 3600.0) -> dict[str, Any]:
    """`neural3d make`, watched by one page from the first moment until the files are written.

    Raises:
        RuntimeError: It failed, or had no answer after `limit_seconds`; its last lines are named.
    """
    with TemporaryDirectory() as folder:
        run, log = Path(folder) / "run", Path(folder) / "log"
        arguments = ["make", str(source), "--output", str(run), "--json"]
        arguments += [] if max_seconds is None else ["--max-seconds", str(max_seconds)]
        seconds, answer = _watched(arguments, log, limit_seconds)
    facts = {key: answer[key] for key in ("psnr", "psnr_color_corrected", "train_seconds", "num_gaussians")}
    return {"table": "making", "source": source.resolve().name, **seconds, **facts, **provenance()}


def _watched(arguments: list[str], log: Path, limit_seconds: float) -> tuple[dict[str, float], dict[str, Any]]:
    """When the page showed what, when all was done, and the command's answer."""
    begun, found = time.monotonic(), dict[str, float]()
    answers = log.with_suffix(".json")
    with log.open("w") as told, answers.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", BOUND_TO_STDIN, "neural3d", *arguments],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=told,
        )
        assert process.stdin is not None
        with process.stdin:
            try:
                while (
                    process.poll() is None and not answers.stat().st_size and time.monotonic() - begun < limit_seconds
                ):
                    _look(log, begun, found)
                found["seconds"] = time.monotonic() - begun
            finally:
                process.send_signal(signal.SIGINT)
                process.wait()
    if not answers.stat().st_size or SIGNS.keys() - found.keys():
        last = " / ".join(log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:])
        raise RuntimeError(f"make ended with status {process.returncode}: {last}")
    return found, json.loads(answers.read_text(encoding="utf-8"))


def _look(log: Path, begun: float, found: dict[str, float]) -> None:
    """Note what the page shows for the first time; returns when the page's server changes, or nothing comes."""
    time.sleep(_LOOK_SECONDS)
    address = _ADDRESS.search(log.read_text(encoding="utf-8", errors="replace"))
    if address is None or SIGNS.keys() <= found.keys():
        return
    wanted = {sign: name for name, sign in SIGNS.items() if name not in found}

    def is_new(message: Message) -> bool:
        return message["type"] in wanted

    try:
        with PageClient(address.group()) as client:
            message = client.wait_for(is_new)
    except (TimeoutError, OSError, WebSocketException):
        return  # the poses' page makes way for the training's; or nothing has come for a minute
    found[wanted[message["type"]]] = time.monotonic() - begun
