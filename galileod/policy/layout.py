"""The directory of a stored file, below `storage.directory`: `storage.layout`."""

import hashlib
import re
from functools import lru_cache
from typing import Final

from galileod.protocol.errors import Fault

from .names import cut, safe_name

FOLDER: Final = "{folder}"
"""Stands in a layout for the directories that the client states: none, or several."""

LAYOUT_EXPECTED: Final = (
    'a path that ends in "{name}", such as "{folder}/{name}", "{user}/{folder}/{name}" or "{name}";'
    ' directories are plain names, and may contain "{user}" and "{date}"; one of them may be'
    ' "{folder}"'
)

MAX_STEPS: Final = 8
"""Maximum number of directories in a layout."""

MAX_USER_BYTES: Final = 100
"""Maximum bytes of a user's name in the name of a directory, which may have 255."""

MAX_STEP: Final = 100
"""Maximum bytes of a directory in a layout; each field may occur once in it."""

DIGEST: Final = 16
"""Hex digits of a digest. Eight would be too few: users who choose their names could find a
collision."""

_FIELD: Final = re.compile(r"\{(\w*)\}")
_DIGEST: Final = re.compile(rf"-[0-9a-f]{{{DIGEST}}}\Z")


def check_layout(layout: str) -> None:
    """Raises ValueError if `layout` is not valid; its text says what is expected."""
    *folders, last = layout.split("/")
    known = {"user", "date"}
    if last != "{name}" or len(folders) > MAX_STEPS or folders.count(FOLDER) > 1:
        raise ValueError(LAYOUT_EXPECTED)
    for folder in folders:
        if folder == FOLDER:
            continue
        # A valid field becomes a letter, an unknown one a brace, which is refused below.
        plain = _FIELD.sub(lambda match: "x" if match[1] in known else "{", folder)
        # A name that `safe_name` would change is refused, so that directories have the names in the
        # layout.
        if len(folder.encode()) > MAX_STEP or any(
            folder.count(f"{{{name}}}") > 1 for name in known
        ):
            raise ValueError(LAYOUT_EXPECTED)
        if "{" in plain or "}" in plain or not _is_safe(plain):
            raise ValueError(LAYOUT_EXPECTED)


def place(layout: str, user: str, date: str, folder: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The directories for a file of `user` that is stored on `date` (YYYY-MM-DD).

    `folder` are those that the client states, made safe (`policy.folders`). A user name that is not
    a safe directory name gets a dash and the first sixteen hex digits of its sha256 appended. So
    does a name that already ends in a dash and sixteen hex digits: different users never share a
    directory.
    """
    steps, at = _steps(layout, user, date)
    return steps if at is None else (*steps[:at], *folder, *steps[at:])


@lru_cache(maxsize=1024)
def _steps(layout: str, user: str, date: str) -> tuple[tuple[str, ...], int | None]:
    """The directories but `{folder}`, and how many are before it; None if it is not there."""
    values = {"user": _folder_of(user), "date": date}
    steps = layout.split("/")[:-1]
    filled = tuple(
        _FIELD.sub(lambda match: values[match[1]], step) for step in steps if step != FOLDER
    )
    return filled, steps.index(FOLDER) if FOLDER in steps else None


def _folder_of(user: str) -> str:
    try:
        safe = safe_name(user)
    except Fault:
        safe = "_"
    if safe == user and len(user.encode()) <= MAX_USER_BYTES and not _DIGEST.search(user):
        return user
    digest = hashlib.sha256(user.encode(errors="surrogatepass")).hexdigest()[:DIGEST]
    return f"{cut(safe, MAX_USER_BYTES)}-{digest}"


def _is_safe(name: str) -> bool:
    try:
        return safe_name(name) == name
    except Fault:
        return False
