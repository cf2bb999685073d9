"""The kinds of what can be typed, with a plain line for what is none of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import FlagCreatePairsOff, UseAppendAction, arg
from tyro.constructors import PrimitiveConstructorSpec


def _spec(kind: Callable[[str], Any], metavar: str, expected: str) -> PrimitiveConstructorSpec:
    """A number, or None where that is the default, with one plain line for what is none."""

    def read(words: list[str]) -> Any:
        try:
            return kind(words[0])
        except ValueError:
            raise ValueError(f"expected {expected}, got {words[0]!r}") from None

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: value is None or isinstance(value, int | float),
        str_from_instance=lambda value: [str(value)],
    )


def unless_given(chosen: str) -> Any:
    """What the help says in place of "(default: None)"."""
    return arg(help_behavior_hint=f"(default: {chosen})")


_WHOLE, _NUMBER = _spec(int, "N", "a whole number"), _spec(float, "X", "a number")
Whole, Number = Annotated[int, _WHOLE], Annotated[float, _NUMBER]
OptionalWhole, OptionalNumber = Annotated[int | None, _WHOLE], Annotated[float | None, _NUMBER]
Flag = FlagCreatePairsOff[bool]
Device = Annotated[
    Literal["cpu", "cuda"] | None, arg(metavar="{cpu,cuda}", help_behavior_hint="(default: cuda where it works)")
]
CaptureFolder = Annotated[Path, arg(metavar="CAPTURE")]
RunFolder = Annotated[Path, arg(metavar="RUN")]
AllowedHosts = Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="NAME")]
