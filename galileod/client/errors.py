"""The errors of an upload: subclasses of SendError, each with a sentence for a person."""

from collections.abc import Mapping, Sequence
from typing import Final

Signal = Mapping[str, object]
"""A signal as the server sent it, with all its keys."""

BUSY_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 531)})
"""HTTP statuses after which a retry may succeed. Those from 520 on are of content delivery networks
whose connection to the server failed."""

BUSY_CODES: Final = frozenset({"busy", "shutting_down"})
"""Fault codes of galileod after which a retry may succeed."""

SLEPT_CODES: Final = frozenset({"idle", "too_slow"})
"""Fault codes after which a retry may succeed, if the server knows an extension of the protocol:
the machine may have slept, or had no network. In the dialogue without extensions C5.5 of
docs/protocol.md forbids the retry."""

RESUMABLE_CODES: Final = SLEPT_CODES | {"storage_failed"}
"""Fault codes after which an upload that can be resumed goes on."""

UNAUTHORIZED: Final = "unauthorized"
"""The fault code for a token that is missing, or that the server does not accept."""

CREDENTIAL_HINT: Final = "Put a valid token into $GALILEO_TOKEN or into the file of --token-file."

TAKEN_OVER: Final = "taken_over"
"""The fault code that tells that another client continues the upload."""

MAX_QUOTED: Final = 500
"""Maximum characters of a server's sentence that are quoted."""


class SendError(Exception):
    """A file was not stored, or the server did not confirm it. The message is a sentence.

    `signals` are the error signals that the server had sent, including those that are not fatal.
    `kept` are the seconds for which the server keeps what it has of the file, or None.
    """

    transient = False
    """Whether a retry may succeed: nothing was stored, and the file is not the cause."""

    kind = "error"
    """A machine-readable name of the error; `kind` in the JSON output of galileo-send."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.signals: Sequence[Signal] = ()
        self.kept: int | None = None


class OptionError(SendError, ValueError):
    """An argument is invalid. Nothing was sent."""

    kind = "option"


class AddressError(OptionError):
    """The URL of the server or of a proxy is invalid or not supported."""

    kind = "address"


class SourceError(SendError):
    """The content cannot be read, differs from the declared size, or was modified."""

    kind = "source"


class ConnectError(SendError):
    """The connection failed: name resolution, a closed port, a proxy, TLS, the handshake.

    `transient` is False if a retry would fail in the same way, as with an invalid certificate.
    `unreached`: nobody has accepted a connection, or the host name was not found.
    """

    kind = "connect"

    def __init__(self, sentence: str, *, transient: bool = True, unreached: bool = False) -> None:
        super().__init__(sentence)
        self.transient = transient
        self.unreached = unreached


class UpgradeError(ConnectError):
    """The server or a proxy answered with an unexpected HTTP status.

    `retry_after` are the seconds of its Retry-After header, or None.
    """

    kind = "upgrade"

    def __init__(self, sentence: str, status: int, retry_after: float | None = None) -> None:
        super().__init__(sentence, transient=status in BUSY_STATUSES)
        self.status = status
        self.retry_after = retry_after


class LostError(SendError):
    """The connection was lost, timed out, or was closed without a confirmation.

    `uncertain` is True once the whole file and `finished` were sent, unless the upload can be
    resumed: the file may be stored, and a retry may store it twice.
    """

    kind = "lost"

    def __init__(self, sentence: str, *, uncertain: bool = False) -> None:
        if uncertain:
            sentence += (
                " The whole file had been sent and may be stored."
                " Check the server before sending it again."
            )
        super().__init__(sentence)
        self.uncertain = uncertain
        self.transient = not uncertain


class OldServerError(SendError):
    """The server cannot resume, and one that answered before it could: both have one address."""

    transient = True

    def __init__(self) -> None:
        super().__init__("This time a server answered that cannot resume the upload.")


class RefusedError(SendError):
    """The server sent a fatal error: `signal` with all its keys, `code` its fault code or None.

    Nothing was stored. `transient` is True for the codes in BUSY_CODES; if the upload is
    `resumable`, for those in RESUMABLE_CODES too; if the server is `extended`, that is knows an
    extension, for those in SLEPT_CODES. `discarded`: the server could have kept what it got, but
    has discarded it.
    """

    kind = "refused"
    fatal = True

    def __init__(
        self,
        signal: Signal,
        *,
        resumable: bool = False,
        extended: bool = False,
        kept: int | None = None,
    ) -> None:
        code = signal.get("code")
        self.code = code if isinstance(code, str) else None
        what = "The server refused the file"
        if self.code == TAKEN_OVER:
            what = "Another client has taken this upload over and continues it"
        reason = signal.get("error")
        super().__init__(
            f"{what}: {reason[:MAX_QUOTED]}"
            if isinstance(reason, str)
            else f"{what} without a reason."
        )
        if self.code == UNAUTHORIZED:
            self.args = (f"{self} {CREDENTIAL_HINT}",)
        self.signal = signal
        self.kept = kept
        self.discarded = resumable and kept is None and self.code != TAKEN_OVER
        passing = RESUMABLE_CODES if resumable else SLEPT_CODES if extended else frozenset[str]()
        self.transient = self.code in BUSY_CODES | passing


class NotAskedError(SendError):
    """The server does not say which files it has. Nothing was sent."""

    kind = "notasked"

    def __init__(self) -> None:
        super().__init__(
            "The server does not say which files it has. It may not be able to, or say so to"
            " authenticated users only (storage.ask in galileod)."
        )


class NonsenseError(SendError):
    """The server violated the WebSocket or the GalileoSend protocol."""

    kind = "nonsense"


class DifferentError(NonsenseError):
    """What the server has kept is not the beginning of the file."""

    def __init__(self, label: str, offset: int) -> None:
        super().__init__(
            f"The first {offset} bytes that the server has kept are not those of {label}."
        )
