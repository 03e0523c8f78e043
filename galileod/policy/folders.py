"""Safe folders: any string that a client sends as a folder becomes safe names, or is refused."""

import re
from typing import Final

from galileod.protocol.errors import Fault, FaultCode

from .names import safe_name

MAX_DEPTH: Final = 32
"""Maximum levels of a client's folder."""

MAX_FOLDER_BYTES: Final = 2048
"""Maximum bytes of a client's folder, once it is made safe: half of what a path may have on Linux
(PATH_MAX)."""

_SEPARATOR: Final = re.compile(r"[/\\]")


def safe_folder(folder: str | None) -> tuple[str, ...]:
    r"""The names of the directories, outermost first, for a file that a client has in `folder`.

    They are separated by `/` or `\`. Empty ones and `.` are left out. Each other one is made safe
    as a file name is, but is never refused: one without a visible character, as `..`, becomes `_`.
    Raises a `bad_name` Fault if there are more than MAX_DEPTH, or MAX_FOLDER_BYTES.
    """
    if not folder:
        return ()
    parts = [part for part in _SEPARATOR.split(folder) if part not in ("", ".")]
    if len(parts) > MAX_DEPTH:
        raise Fault(
            FaultCode.BAD_NAME,
            f"The folder has {len(parts)} levels; at most {MAX_DEPTH} are accepted.",
            limit=MAX_DEPTH,
        )
    safe = tuple(map(_safe_part, parts))
    length = len("/".join(safe).encode())
    if length > MAX_FOLDER_BYTES:
        raise Fault(
            FaultCode.BAD_NAME,
            f"The path of the folder has {length} bytes; at most {MAX_FOLDER_BYTES} are accepted.",
            limit=MAX_FOLDER_BYTES,
        )
    return safe


def place_of(folder: str | None, name: str) -> str:
    """The safe folder and the safe name of a file, joined by slashes, whatever the layout.

    Raises a `bad_name` Fault, as `safe_folder` and `safe_name` do.
    """
    return "/".join((*safe_folder(folder), safe_name(name)))


def _safe_part(part: str) -> str:
    try:
        return safe_name(part)
    except Fault:
        return "_"  # nothing visible is left of it
