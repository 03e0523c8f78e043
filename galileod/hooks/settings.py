"""`[hooks]`: the commands or URLs that are called for files. Their values may have secrets."""

from collections.abc import Iterator
from typing import Final, Literal
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

MAX_ADMIT_PARALLEL: Final = 64
"""Maximum of `hooks.admit_parallel`; each question takes up to five descriptors."""

MAX_ADMIT_TIMEOUT: Final = 60.0
"""Maximum seconds of `hooks.admit_timeout`, during which a client waits."""

HIDDEN: Final = ("hooks.stored", "hooks.removed", "hooks.admit")
"""The keys whose values may contain a password or a token: error messages do not contain them."""

AdmitFailure = Literal["refuse", "accept"]
"""What happens to an upload that the hook did not decide on."""


@frozen
class Hooks:
    """`[hooks]`: the hooks, and how they are called.

    `timeout` and `parallel` are the time limit of an attempt to deliver a receipt, and the maximum
    of simultaneous ones; `admit_timeout` and `admit_parallel` are those of a question. The latter
    is also the time limit of the wait until it may be asked.
    """

    stored: Hook = ()
    removed: Hook = ()
    timeout: Duration = Duration(30)
    parallel: int = 4
    admit: Hook = ()
    admit_timeout: Duration = Duration(5)
    admit_parallel: int = 16
    admit_failure: AdmitFailure = "refuse"
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
    if not 0 < hooks.admit_timeout <= MAX_ADMIT_TIMEOUT:
        expected = f"a duration above 0, up to {MAX_ADMIT_TIMEOUT:g} seconds"
        yield "hooks.admit_timeout", hooks.admit_timeout, expected
    if not 1 <= hooks.parallel <= MAX_PARALLEL:
        yield "hooks.parallel", hooks.parallel, f"an integer from 1 to {MAX_PARALLEL}"
    if not 1 <= hooks.admit_parallel <= MAX_ADMIT_PARALLEL:
        expected = f"an integer from 1 to {MAX_ADMIT_PARALLEL}"
        yield "hooks.admit_parallel", hooks.admit_parallel, expected
    if hooks.secret_file is None:
        return
    if not hooks.secret_file or "\0" in hooks.secret_file:
        yield "hooks.secret_file", hooks.secret_file, "the path of a file"
    if not any(isinstance(hook, str) for hook in (hooks.stored, hooks.removed, hooks.admit)):
        yield (
            "hooks.secret_file",
            hooks.secret_file,
            f"no file, since none of {', '.join(HIDDEN)} is a URL",
        )
