"""`[hooks]`: who is told of stored files. What a hook is made of may be secret: it is not shown."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from galileod.units import Duration, Violation

Hook = tuple[str, ...] | str
"""A command and its arguments, or a URL. One that is empty is none."""

HOOK_EXPECTED: Final = (
    'a command as a list such as ["/usr/local/bin/stored", "--verbose"],'
    ' or a URL such as "https://example.org/stored"'
)

MAX_PARALLEL: Final = 32
"""Attempts at once; each takes up to four descriptors."""

HIDDEN: Final = "hooks.stored"
"""The key whose value may hold a password or a token: no message ever shows it."""


@frozen
class Hooks:
    """`[hooks]`: who is told, how long one attempt may take, how many run at once."""

    stored: Hook = ()
    timeout: Duration = Duration(30)
    parallel: int = 4
    secret_file: str | None = None


class HookError(Exception):
    """An attempt failed; the text says why, without anything of the hook that may be secret."""


def parse_hook(value: object) -> Hook:
    """Raises ValueError for what is no hook; the text says what is expected."""
    if isinstance(value, str) and is_url(value):
        return value
    if isinstance(value, list) and all(
        isinstance(part, str) and "\0" not in part for part in value
    ):
        command = tuple(value)
        if not command or command[0]:
            return command
    raise ValueError(HOOK_EXPECTED)


def is_url(text: str) -> bool:
    """Whether it is a URL that can be posted to."""
    # A fragment is not sent; what is not ASCII, or is blank, is written with percent signs.
    if not text.isascii() or not text.isprintable() or set(text) & set(' "<>\\^`{|}#'):
        return False
    try:
        parts = urlsplit(text)
        # What the resolver will do with the name, which may refuse it.
        host = (parts.hostname or "").encode("idna")
        return parts.scheme in ("http", "https") and bool(host) and parts.port != 0
    except ValueError:  # a port, an address or a name that is none
        return False


def violations(hooks: Hooks) -> Iterator[Violation]:
    """Rules that go beyond a key's type."""
    if hooks.timeout <= 0:
        yield "hooks.timeout", hooks.timeout, "a duration above 0"
    if not 1 <= hooks.parallel <= MAX_PARALLEL:
        yield "hooks.parallel", hooks.parallel, f"from 1 to {MAX_PARALLEL}"
    if hooks.secret_file is None:
        return
    if not hooks.secret_file or "\0" in hooks.secret_file:
        yield "hooks.secret_file", hooks.secret_file, "the path of a file"
    if not isinstance(hooks.stored, str):
        yield "hooks.secret_file", hooks.secret_file, f"none, unless {HIDDEN} is a URL"
