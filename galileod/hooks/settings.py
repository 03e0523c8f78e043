"""`[hooks]`: the command or URL for stored files. Its value may contain secrets."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from galileod.units import Duration, Violation

Hook = tuple[str, ...] | str
"""A command and its arguments, or a URL. An empty command disables the hook."""

HOOK_EXPECTED: Final = (
    'a command as a list such as ["/usr/local/bin/stored", "--verbose"],'
    ' or a URL such as "https://example.org/stored"'
)

MAX_PARALLEL: Final = 32
"""Maximum of `hooks.parallel`; each attempt takes up to four descriptors."""

HIDDEN: Final = "hooks.stored"
"""The key whose value may contain a password or a token: error messages do not contain it."""


@frozen
class Hooks:
    """`[hooks]`: the hook, the time limit of an attempt, and the maximum of simultaneous ones."""

    stored: Hook = ()
    timeout: Duration = Duration(30)
    parallel: int = 4
    secret_file: str | None = None


class HookError(Exception):
    """An attempt failed; the message says why, without any part of the hook that may be secret."""


def parse_hook(value: object) -> Hook:
    """Parse a hook. Raises ValueError; its message says what is expected."""
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
    """Whether this is an HTTP or HTTPS URL to which a request can be sent."""
    # Refused: characters that must be percent-encoded (RFC 3986), and "#", since a fragment would
    # not be sent.
    if not text.isascii() or not text.isprintable() or set(text) & set(' "<>\\^`{|}#'):
        return False
    try:
        parts = urlsplit(text)
        # The resolver encodes host names with IDNA, too, and rejects what cannot be encoded.
        host = (parts.hostname or "").encode("idna")
        return parts.scheme in ("http", "https") and bool(host) and parts.port != 0
    except ValueError:  # the port, the address or the host name is not valid
        return False


def violations(hooks: Hooks) -> Iterator[Violation]:
    """The values that have the right type but are not valid."""
    if hooks.timeout <= 0:
        yield "hooks.timeout", hooks.timeout, "a duration above 0"
    if not 1 <= hooks.parallel <= MAX_PARALLEL:
        yield "hooks.parallel", hooks.parallel, f"an integer from 1 to {MAX_PARALLEL}"
    if hooks.secret_file is None:
        return
    if not hooks.secret_file or "\0" in hooks.secret_file:
        yield "hooks.secret_file", hooks.secret_file, "the path of a file"
    if not isinstance(hooks.stored, str):
        yield "hooks.secret_file", hooks.secret_file, f"no file, since {HIDDEN} is not a URL"
