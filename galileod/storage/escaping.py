r"""Names that are not UTF-8, which others made: a store lists them with `\xff` for such a byte."""

import os
import re
from typing import Final

_ESCAPE: Final = re.compile(rb"\\x([89a-f][0-9a-f])")


def escaped(name: str) -> str:
    """The name of a file, as `os.scandir` returns it, for the lists of a store."""
    return os.fsencode(name).decode(errors="backslashreplace")


def unescaped(path: str) -> str | None:
    """The path that is listed as `path` because it is not UTF-8; None if there is none.

    A file may also have the backslash in its name.
    """
    found = os.fsdecode(
        _ESCAPE.sub(lambda byte: bytes.fromhex(byte[1].decode()), os.fsencode(path))
    )
    return found if found != path and escaped(found) == path else None
