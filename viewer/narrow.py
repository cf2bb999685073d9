"""Windows as narrow as a phone's, where viser lays the panel over the picture, at the bottom."""

import viser
from viser import _messages as wire

SCRIPT = """
(() => {
  if (window.neural3dNarrow) return;
  window.neural3dNarrow = true;
  const narrow = '(max-width: 36em)', wide = '[style*="width: 20em"]';
  const sheet = '.mantine-Paper-root[style*="bottom: 0px"][style*="right: 0px"]';
  const rule = `@media ${narrow} { ${sheet}${wide}, ${sheet} ${wide} { width: 100% !important } }`;
  document.head.appendChild(document.createElement('style')).textContent = rule;
  if (!matchMedia(narrow).matches) return;
  let tries = 0;
  const timer = setInterval(() => {
    const bar = document.querySelector(`${sheet} [style*="cursor: pointer"][style*="height: 3.5em"]`);
    if (bar) bar.click();
    if (bar || ++tries > 300) clearInterval(timer);
  }, 100);
})();
"""
"""The panel is as wide as the window there, not two thirds of it, and folded at first: a tap on its title opens it.

A page that viser lays out otherwise stays as it is.
"""


def fold_panel(client: viser.ClientHandle) -> None:
    """On this visitor's page, where it is narrow: the scene is what he came for."""
    client._websock_connection.queue_message(wire.RunJavascriptMessage(SCRIPT))
