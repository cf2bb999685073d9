"""Web viewers of others, from npm, in a headless Chromium: what they show of a file."""

import base64
import functools
import http.server
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from browser.chromium import Page
from PIL import Image

from .splat_transform import FOV_DEGREES, HEIGHT, VARIABLE, WIDTH

_HEAD = f"""<!doctype html><body style="margin:0"><canvas id=c width={WIDTH} height={HEIGHT}></canvas>
<script>const [file, eye, target] = JSON.parse(decodeURIComponent(location.hash.slice(1)));
const canvas = document.getElementById('c'), fov = {FOV_DEGREES}; window.shown = 0;
addEventListener('error', e => window.failed = String(e.message || e));
addEventListener('unhandledrejection', e => window.failed = String(e.reason));</script>"""
SPARK = (
    _HEAD
    + """<script type=importmap>{"imports": {"three": "/modules/three/build/three.module.js",
"three/addons/": "/modules/three/examples/jsm/",
"@sparkjsdev/spark": "/modules/@sparkjsdev/spark/dist/spark.module.js"}}</script><script type=module>
import * as THREE from 'three';
import { SparkRenderer, SplatMesh } from '@sparkjsdev/spark';
const renderer = new THREE.WebGLRenderer({ canvas, antialias: false, preserveDrawingBuffer: true });
renderer.setPixelRatio(1); renderer.setSize(canvas.width, canvas.height, false); renderer.setClearColor(0, 1);
const scene = new THREE.Scene(), camera = new THREE.PerspectiveCamera(fov, canvas.width / canvas.height, 0.01, 100);
camera.position.set(...eye); camera.up.set(0, -1, 0); camera.lookAt(...target);
scene.add(new SparkRenderer({ renderer }));
const mesh = new SplatMesh({ url: file });
scene.add(mesh);
await mesh.initialized;
window.count = mesh.packedSplats?.numSplats ?? mesh.numSplats;
renderer.setAnimationLoop(() => { renderer.render(scene, camera); window.shown++; });
</script>"""
)
BABYLON = (
    _HEAD
    + """<script src=/modules/babylonjs/babylon.js></script>
<script src=/modules/babylonjs-loaders/babylonjs.loaders.js></script><script>
const engine = new BABYLON.Engine(canvas, false, { preserveDrawingBuffer: true });
const scene = new BABYLON.Scene(engine);
scene.useRightHandedSystem = true; scene.clearColor = new BABYLON.Color4(0, 0, 0, 1);
const camera = new BABYLON.FreeCamera('camera', new BABYLON.Vector3(...eye), scene);
camera.upVector = new BABYLON.Vector3(0, -1, 0); camera.setTarget(new BABYLON.Vector3(...target));
camera.fov = fov * Math.PI / 180; camera.minZ = 0.01; camera.maxZ = 100;
BABYLON.AppendSceneAsync(file, scene).then(() => {
  const mesh = scene.meshes.find(m => m.splatCount);
  window.count = mesh ? mesh.splatCount : 0;
  engine.runRenderLoop(() => { scene.render(); window.shown++; });
}).catch(e => window.failed = String(e));
</script>"""
)


def modules(*packages: str) -> Path:
    """The folder of npm packages; skips the test where one is not installed."""
    folder = Path(os.environ.get(VARIABLE, Path(__file__).parent / "node_modules"))
    for package in packages:
        if not (folder / package).is_dir():
            pytest.skip(f"{package} is not in {folder}: run `npm install` in tests/clients, or set {VARIABLE}")
    return folder


@contextmanager
def served(page: str, packages: Path, files: Path) -> Iterator[str]:
    """The address of a page that finds packages under /modules and files under /files."""
    (files / "client.html").write_text(page)
    places = {"modules": packages, "files": files}

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            place, _, rest = path.partition("?")[0].lstrip("/").partition("/")
            return str(places.get(place, files / "nothing") / rest)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/files/client.html"
    finally:
        server.shutdown()
        server.server_close()


def picture(page: Page, address: str) -> tuple[int, np.ndarray]:
    """How many splats the client found, and what it shows of them once nothing changes any more; values in [0, 1]."""
    page.open(address)
    page.wait_for("window.failed || window.shown > 20", seconds=120)
    assert not page.evaluate("window.failed"), page.evaluate("window.failed")
    before = None
    for _ in range(40):
        frame = page.evaluate("window.shown")
        page.wait_for(f"window.shown > {frame + 3}")
        url = page.evaluate("document.getElementById('c').toDataURL('image/png')")
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
            now = np.asarray(image.convert("RGB")).astype(np.float64) / 255
        if before is not None and np.array_equal(before, now) and now.mean() > 0.01:
            return page.evaluate("window.count"), now
        before = now
    raise AssertionError(f"the picture never settles, or stays empty: mean {now.mean()}, {page.console}")
