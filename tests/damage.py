"""Damage that strategies of hypothesis make up: what disks, cables, other programs and ill will do to files."""

import re
import struct

from hypothesis import strategies as st

WORDS = [
    b"nan",
    b"-inf",
    b"1e999",
    b"0",
    b"-1",
    b"99999999999999999999",
    b"",
    b"null",
    b"[]",
    b"{}",
    b'"',
    b"\0",
    b"\xff",
]
WORDS += [b"\xe2\x80\xa8", b"../../x", b"1e-320", b"true", b"<", b",", b"\n", 3000 * b"[", 400 * b"9"]
NUMBERS = [struct.pack("<i", value) for value in (0, -1, 1, 2**31 - 1, -(2**31), 2**16)]
NUMBERS += [struct.pack(">I", value) for value in (1, 2**31, 2**32 - 1)]
NUMBERS += [struct.pack("<q", value) for value in (-1, 2**62, -(2**63), 10**9)]
NUMBERS += [struct.pack(kind, value) for kind in ("<f", "<d") for value in (float("nan"), float("inf"), -1e30, 1e-39)]
SPOT = st.floats(0, 1, exclude_max=True)
WORD = st.tuples(st.just("word"), SPOT, st.sampled_from(WORDS))
DAMAGE = st.one_of(
    st.tuples(st.just("byte"), SPOT, st.integers(0, 255)),
    WORD,
    st.tuples(st.just("number"), SPOT, st.sampled_from(NUMBERS)),
    st.tuples(st.just("cut"), SPOT, st.integers(1, 40)),
    st.tuples(st.just("end"), SPOT, st.none()),
    st.tuples(st.just("again"), SPOT, st.integers(1, 200)),
)
DAMAGES = st.one_of(
    st.lists(DAMAGE, min_size=1, max_size=5),
    st.lists(WORD, min_size=1, max_size=2),  # what else is damaged soon is no JSON any more
)


def damaged(content: bytes, damages: list[tuple]) -> bytes:
    """Bytes changed, numbers replaced by other words, parts left out or repeated."""
    for kind, spot, value in damages:
        at = int(spot * len(content))
        if kind == "byte":
            content = content[:at] + bytes([value]) + content[at + 1 :]
        elif kind == "word":
            number = re.compile(rb"[-+.\w]+").search(content, at)
            content = content if number is None else content[: number.start()] + value + content[number.end() :]
        elif kind == "number":
            content = content[:at] + value + content[at + len(value) :]
        elif kind == "cut":
            content = content[:at] + content[at + value :]
        elif kind == "end":
            content = content[:at]
        else:
            content = content[: at + value] + content[at:]
    return content
