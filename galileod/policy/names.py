r"""Safe file names: any string that a client sends is converted to a safe name, or refused.

The rules, in order (docs/names.md):

1. Unicode form NFC, so that a name typed on two systems is the same name.
2. Only what follows the last `/` or `\` is used: clients send paths, some of them hostile.
3. A control or formatting character, a lone surrogate, a code point that never gets a visible
   character, and each of `< > : " | ? *` becomes `_`. The two joiners that some scripts and emoji
   need (U+200C, U+200D) stay, and so do the tags in the flag of a region. Other unassigned code
   points stay: a newer Unicode than that of this Python may have letters or emoji there.
4. White space at both ends and dots at the end are removed. If no
   visible character is left, the name is refused.
5. A dot or dash at the start becomes `_`, so that no file is hidden or read as an option.
6. At most 240 bytes of UTF-8; the extension is kept if it is short. `.tar.gz` is one extension.
7. A Windows device name gets a `_` in front.
"""

import re
import unicodedata
from typing import Final

from galileod.printable import FLAG, JOINERS
from galileod.protocol.errors import Fault, FaultCode

MAX_BYTES: Final = 240
"""Maximum bytes of a name. Linux allows 255; the rest is for the number that a conflict adds."""

MAX_CHARACTERS: Final = 1024
"""Maximum characters that are processed: of a longer name only its beginning and end."""

MAX_EXTENSION_BYTES: Final = 32

_RESERVED: Final = frozenset('<>:"|?*')
_BAD_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

_NEVER_VISIBLE: Final = re.compile(
    # Noncharacters.
    "[\ufdd0-\ufdef"
    + "".join(f"{chr(end - 1)}{chr(end)}" for end in range(0xFFFF, 0x110000, 0x10000))
    # Reserved for characters that are not displayed (Default_Ignorable_Code_Point).
    + "\u2065\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
"""Unassigned code points that no letter or emoji will have."""

_COMPRESSED: Final = frozenset({"gz", "bz2", "xz", "zst", "br", "lz", "lz4", "lzma", "lzo", "z"})
_BEFORE_COMPRESSED: Final = frozenset(
    {"tar", "cpio", "csv", "img", "iso", "json", "log", "sql", "svg", "txt", "xml"}
)
"""Extensions that belong together: `.tar.gz` says what the file is, `.gz` alone does not."""
_DEVICE: Final = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(\.|$)", re.IGNORECASE
)

_USUAL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_ ().,+@-]{0,198}[A-Za-z0-9_)])?")
"""Most names, which no rule but the last one changes."""


def safe_name(name: str) -> str:
    """The file name for a file that a client calls `name`.

    Raises a `bad_name` Fault if no visible character is left.
    """
    if _USUAL.fullmatch(name) and not _DEVICE.match(name):
        return name
    return _made_safe(name)


def _made_safe(name: str) -> str:
    # Cut first, to bound the cost of what follows.
    plain = re.split(r"[/\\]", name)[-1]
    plain = unicodedata.normalize("NFC", _cut_middle(plain, MAX_CHARACTERS))
    # NFC never composes a separator.
    plain = _trim(_replaced(plain))
    _check_visible(plain)
    if plain[0] in ".-":
        plain = "_" + plain[1:]
    plain = _shorten(plain)
    # Cutting can remove the visible characters, and leave a device name.
    _check_visible(plain)
    return _shorten("_" + plain) if _DEVICE.match(plain) else plain


def _check_visible(name: str) -> None:
    if all(character in JOINERS or character.isspace() for character in name):
        raise Fault(FaultCode.BAD_NAME, "The name of the file is empty once it is made safe.")


def numbered(name: str, number: int) -> str:
    """`name` with a number before its extension, for a name that exists: `name (1).ext`."""
    stem, extension = _split(name)
    return f"{stem} ({number}){extension}"


def _split(name: str) -> tuple[str, str]:
    """The name without its extension, and the extension with its dot, or an empty string."""
    stem, _, extension = name.rpartition(".")
    if not stem:
        return name, ""
    if extension.lower() in _COMPRESSED:
        inner, _, kind = stem.rpartition(".")
        if inner and kind.lower() in _BEFORE_COMPRESSED:
            return inner, f".{kind}.{extension}"
    return stem, f".{extension}"


def _replaced(name: str) -> str:
    """`name` with `_` for each character that is not safe."""
    parts = FLAG.split(name)  # every second one is a flag
    for at in range(0, len(parts), 2):
        parts[at] = "".join(map(_safe_character, parts[at]))
    return "".join(parts)


def _safe_character(character: str) -> str:
    if character in JOINERS:
        return character
    category = unicodedata.category(character)
    bad = category in _BAD_CATEGORIES or character in _RESERVED
    if category == "Cn":
        bad = _NEVER_VISIBLE.match(character) is not None
    return "_" if bad else character


def _shorten(name: str) -> str:
    if len(name.encode()) <= MAX_BYTES:
        return name
    stem, extension = _split(name)
    if len(extension.encode()) > MAX_EXTENSION_BYTES:
        stem, extension = name, ""
    room = MAX_BYTES - len(extension.encode())
    # The cut may end in a space or a dot again.
    return _trim(cut(stem, room)) + extension


def cut(name: str, length: int) -> str:
    """At most `length` bytes from the beginning of `name`: whole characters, and whole flags."""
    kept = name.encode()[:length].decode(errors="ignore")
    for flag in FLAG.finditer(name):
        if flag.start() < len(kept) < flag.end():
            return kept[: flag.start()]
    return kept


def _trim(name: str) -> str:
    """`name` without white space at both ends and dots at the end, in linear time."""
    end = len(name)
    while end and (name[end - 1].isspace() or name[end - 1] == "."):
        end -= 1
    return name[:end].lstrip()


def _cut_middle(name: str, length: int) -> str:
    """At most `length` characters: the beginning, and an end with room for an extension."""
    if len(name) <= length:
        return name
    return name[: length - 2 * MAX_EXTENSION_BYTES] + name[-2 * MAX_EXTENSION_BYTES :]
