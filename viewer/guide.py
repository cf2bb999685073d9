"""The page Help, the keys, and files that are dropped on the page."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import viser
from viser import _messages as wire

TEXT = """
| Mouse | |
|:--|:--|
| drag | turn |
| right drag, two fingers | move sideways |
| wheel, pinch | nearer, farther |
| click a photo | stand there |

| Keys | |
|:--|:--|
{keys}
| W A S D, Q E | walk, down and up |
| arrows | turn |
| Ctrl K | all commands |

**Browser or engine.** The browser draws each splat in one colour, smoothly. The engine draws what training
sees: view-dependent colours, fields, depth, normals. Its pictures are coarse while you move.

**Compare.** Stand at a photo, then choose a comparison: the photo and the render share the picture.

**Select and delete.** Edit → a tool; drag a rectangle, or paint with the brush. Nothing is lost: Undo takes it
back, and files on disk change only when you save or download.
"""
DROP_SCRIPT = """
(() => {
  window.neural3dUpload = UUID;
  if (window.neural3dDrops) return;
  window.neural3dDrops = true;
  addEventListener('dragover', e => e.preventDefault());
  addEventListener('drop', e => {
    e.preventDefault();
    const input = document.getElementById('file_upload_' + window.neural3dUpload);
    if (!input || !e.dataTransfer.files.length) return;
    const one = new DataTransfer();
    one.items.add(e.dataTransfer.files[0]);
    input.files = one.files;
    input.dispatchEvent(new Event('change', { bubbles: true }));
  });
})();
"""
"""Hands the file to the button that opens files; sent by the server, it needs nothing that the page does not have."""


@dataclass(frozen=True)
class Shortcut:
    """A command with its key."""

    key: Any
    label: str
    run: Callable[[viser.ClientHandle], None]
    modifier: Any = None

    @property
    def shown(self) -> str:
        """As the help names it."""
        return f"Ctrl {self.key}" if self.modifier else str(self.key).capitalize()


def add_shortcuts(gui: viser.GuiApi, shortcuts: tuple[Shortcut, ...]) -> None:
    """Make the keys work for all visitors."""
    for shortcut in shortcuts:
        gui.add_command(shortcut.label, hotkey=shortcut.key, modifier=shortcut.modifier).on_trigger(_runs(shortcut))


def _runs(shortcut: Shortcut) -> Callable[[viser.CommandEvent], None]:
    def run(event: viser.CommandEvent) -> None:
        if event.client is not None:
            shortcut.run(event.client)

    return run


def add_help(gui: viser.GuiApi, shortcuts: tuple[Shortcut, ...]) -> None:
    """Say what mouse and keys do."""
    rows = "\n".join(f"| {shortcut.shown} | {shortcut.label} |" for shortcut in shortcuts)
    gui.add_markdown(TEXT.format(keys=rows))


def accept_drops(client: viser.ClientHandle, upload_uuid: str) -> None:
    """Files that are dropped on this visitor's page are opened."""
    script = DROP_SCRIPT.replace("UUID", f"{upload_uuid!r}")
    client._websock_connection.queue_message(wire.RunJavascriptMessage(script))
