r"""Safe file names: any string that a client sends is converted to a safe name, or refused.

The rules, in order (docs/names.md):

1. Unicode form NFC, so that a name typed on two systems is the same name.
2. Only what follows the last `/` or `\` is used: clients send paths, some of them hostile.
3. A control, formatting or unassigned character, a lone surrogate, and each of `< > : " | ? *`
   becomes `_`. The two joiners that some scripts and emoji need (U+200C, U+200D) stay.
4. White space at both ends and dots at the end are removed. If no
   visible character is left, the name is refused.
5. A dot or dash at the start becomes `_`, so that no file is hidden or read as an option.
6. At most 240 bytes of UTF-8; the extension is kept if it is short.
7. A Windows device name gets a `_` in front.
"""

import re
import unicodedata
from typing import Final

from galileod.protocol.errors import Fault, FaultCode

MAX_BYTES: Final = 240
"""Maximum bytes of a name. Linux allows 255; the rest is for the number that a conflict adds."""

MAX_CHARACTERS: Final = 1024
"""Maximum characters that are processed: of a longer name only its beginning and end."""

MAX_EXTENSION_BYTES: Final = 32

_JOINERS: Final = "\u200c\u200d"
_RESERVED: Final = frozenset('<>:"|?*')
_BAD_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})
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
    plain = _trim("".join(map(_safe_character, plain)))
    _check_visible(plain)
    if plain[0] in ".-":
        plain = "_" + plain[1:]
    plain = _shorten(plain)
    # Cutting can remove the visible characters, and leave a device name.
    _check_visible(plain)
    return _shorten("_" + plain) if _DEVICE.match(plain) else plain


def _check_visible(name: str) -> None:
    if all(character in _JOINERS or character.isspace() for character in name):
        raise Fault(FaultCode.BAD_NAME, "The name of the file is empty once it is made safe.")


def numbered(name: str, number: int) -> str:
    """`name` with a number before its extension, for a name that exists: `name (1).ext`."""
    stem, extension = _split(name)
    return f"{stem} ({number}){extension}"


def _split(name: str) -> tuple[str, str]:
    """The name without its extension, and the extension with its dot, or an empty string."""
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem else (name, "")


def _safe_character(character: str) -> str:
    if character in _JOINERS:
        return character
    bad = character in _RESERVED or unicodedata.category(character) in _BAD_CATEGORIES
    return "_" if bad else character


def _shorten(name: str) -> str:
    if len(name.encode()) <= MAX_BYTES:
        return name
    stem, extension = _split(name)
    if len(extension.encode()) > MAX_EXTENSION_BYTES:
        stem, extension = name, ""
    room = MAX_BYTES - len(extension.encode())
    # An incomplete character is dropped; the cut may end in a space or a dot again.
    return _trim(stem.encode()[:room].decode(errors="ignore")) + extension


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
