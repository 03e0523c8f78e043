"""What can keep a file from being stored, as one family: each error is a sentence for a person."""

from collections.abc import Mapping, Sequence
from typing import Final

Signal = Mapping[str, object]
"""A signal as the server sent it, with all its keys."""

BUSY_STATUSES: Final = frozenset({429, 502, 503, 504})
"""HTTP answers by which a server, or a proxy before it, asks to be tried again later."""

BUSY_CODES: Final = frozenset({"busy", "shutting_down"})
"""Words of galileod's by which it asks for the same."""

QUOTED: Final = 500
"""Characters of a server's sentence that are shown at the most."""


class SendError(Exception):
    """A file was not stored, or nobody can say that it was. The text is a whole sentence.

    `signals` are the errors that the server had sent by then, also those that are not fatal.
    """

    transient = False
    """Whether another attempt may succeed: nothing was stored, and the file was not the reason."""

    kind = "error"
    """One word for programs."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.signals: Sequence[Signal] = ()


class OptionError(SendError, ValueError):
    """An argument cannot be what it is. Nothing was sent."""

    kind = "option"


class AddressError(OptionError):
    """The URL of the server, or of a proxy, is none that we understand."""

    kind = "address"


class SourceError(SendError):
    """What was to be sent cannot be read, or is not of the size that was declared."""

    kind = "source"


class ConnectError(SendError):
    """There is no connection: a name that does not resolve, a closed port, a proxy, TLS.

    `transient` is False where another attempt would fail the same way, as with a certificate.
    """

    kind = "connect"

    def __init__(self, sentence: str, *, transient: bool = True) -> None:
        super().__init__(sentence)
        self.transient = transient


class UpgradeError(ConnectError):
    """Somebody answered over HTTP, and not with a WebSocket.

    `status` is the HTTP status, `retry_after` the seconds that the answer asked us to wait.
    """

    kind = "upgrade"

    def __init__(self, sentence: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(sentence, transient=status in BUSY_STATUSES)
        self.status = status
        self.retry_after = retry_after


class LostError(SendError):
    """The connection broke, fell silent, or ended without a word.

    `uncertain` is True once the whole file and `finished` were sent: it may be stored all the same,
    so that another attempt might store it twice.
    """

    kind = "lost"

    def __init__(self, sentence: str, *, uncertain: bool = False) -> None:
        if uncertain:
            sentence += (
                " The whole file had been sent, and may be stored."
                " Look there before you send it again."
            )
        super().__init__(sentence)
        self.uncertain = uncertain
        self.transient = not uncertain


class RefusedError(SendError):
    """The server said a fatal error: `signal` with all its keys; `code` is its word, or None.

    `transient` if the word asks to be tried again later: busy, shutting_down. Nothing was stored.
    """

    kind = "refused"
    fatal = True

    def __init__(self, signal: Signal) -> None:
        reason = signal.get("error")
        super().__init__(
            f"The server refused it: {reason[:QUOTED]}"
            if isinstance(reason, str)
            else "The server refused it, and did not say why."
        )
        self.signal = signal
        code = signal.get("code")
        self.code = code if isinstance(code, str) else None
        self.transient = self.code in BUSY_CODES


class NonsenseError(SendError):
    """The server said what neither WebSocket nor GalileoSend allow."""

    kind = "nonsense"
