"""The package's own error family: each message is one line naming file, field and remedy."""

import re

_LONG = re.compile(r"\S{500,}")
_SHOWN = 200


class InputError(ValueError):
    """Input from the user that leaves nothing to work on; the command line exits with status 2.

    A damaged file's content is often part of the message, and may be one word of a million letters: it is cut short.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(_LONG.sub(lambda word: f"{word[0][:_SHOWN]}…", str(message)))


class StorageError(OSError):
    """Writing failed (disk full, read-only folder); names the folder and the space missing."""


class NumericError(ArithmeticError):
    """Training cannot go on because its numbers are no longer finite; names what happened and when."""


def said(error: BaseException, length: int = 120) -> str:
    """What a library said, on one line and short: it may repeat a damaged file's content, however long that is."""
    return " ".join(str(error).split())[:length] or type(error).__name__
