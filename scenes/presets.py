"""Settings that suit the captures of this folder; `dataclasses.replace` changes one."""

from neural3d.train.config import SplatConfig

TEATIME = SplatConfig(max_seconds=50.0, exposure="none")
"""For scenes/teatime: inside a minute, and without colour correction, because every photo has the same exposure."""
