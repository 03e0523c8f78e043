"""Where a stored file goes below the directory: `storage.layout`."""

import hashlib
import re
from typing import Final

from galileod.protocol.errors import Fault

from .names import safe_name

LAYOUT_EXPECTED: Final = (
    'a path that ends in "{name}", such as "{name}", "{user}/{name}" or "{date}/{user}/{name}";'
    ' other steps may be plain names, or hold "{user}" and "{date}"'
)

MAX_STEPS: Final = 8
"""Folders on the way to a file, at the most."""

MAX_USER_BYTES: Final = 100
"""Bytes of a user's name in a folder's; a step of a path may have 255."""

MAX_STEP: Final = 100
"""Bytes of a step as it is written in the configuration, each of its fields at most once."""

DIGEST: Final = 16
"""Digits of a digest. Who may choose his own name would find another with the same eight."""

_FIELD: Final = re.compile(r"\{(\w*)\}")
_DIGEST: Final = re.compile(rf"-[0-9a-f]{{{DIGEST}}}\Z")


def check_layout(layout: str) -> None:
    """Raises ValueError for what is no layout; the text says what is expected."""
    *folders, last = layout.split("/")
    known = {"user", "date"}
    if last != "{name}" or len(folders) > MAX_STEPS:
        raise ValueError(LAYOUT_EXPECTED)
    for folder in folders:
        plain = _FIELD.sub(lambda match: "x" if match[1] in known else "{", folder)
        # What is written there is what will stand there: nothing that would be made safe.
        if len(folder.encode()) > MAX_STEP or any(
            folder.count(f"{{{name}}}") > 1 for name in known
        ):
            raise ValueError(LAYOUT_EXPECTED)
        if "{" in plain or "}" in plain or not _is_safe(plain):
            raise ValueError(LAYOUT_EXPECTED)


def place(layout: str, user: str, date: str) -> tuple[str, ...]:
    """The folders that a file of `user` goes to, stored on `date` (YYYY-MM-DD).

    Two users never share a folder for their likeness: a user whose name had to be made safe has
    sixteen digits of its sha256 behind it, and so has one whose name ends in such digits.
    """
    values = {"user": _folder_of(user), "date": date}
    return tuple(
        _FIELD.sub(lambda match: values[match[1]], folder) for folder in layout.split("/")[:-1]
    )


def _folder_of(user: str) -> str:
    try:
        safe = safe_name(user)
    except Fault:
        safe = "_"
    if safe == user and len(user.encode()) <= MAX_USER_BYTES and not _DIGEST.search(user):
        return user
    digest = hashlib.sha256(user.encode(errors="surrogatepass")).hexdigest()[:DIGEST]
    return f"{safe.encode()[:MAX_USER_BYTES].decode(errors='ignore')}-{digest}"


def _is_safe(name: str) -> bool:
    try:
        return safe_name(name) == name
    except Fault:
        return False
