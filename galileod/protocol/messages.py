"""The signals of GalileoSend as values. `decoding` and `encoding` turn JSON into them and back."""

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from .errors import Json

MAX_SIZE: Final = 2**63 - 1
"""Maximum declared size in bytes: the largest signed 64-bit file offset."""

RESUME: Final = "resume"
"""The extension by which an upload continues after its connection was lost, as named in `can`."""

NEXT: Final = "next"
"""The extension by which a connection has many files, as named in `can`."""

ASK: Final = "ask"
"""The extension by which a client asks which files the server has already, as named in `can`."""

MAX_ASKED: Final = 256
"""Maximum number of entries in a question, as the protocol fixes it."""


@frozen
class Metadata:
    """The client's first signal: a file of `size` bytes named `name`.

    `token` is the client's credential; None if the key is missing or is not a string. `folder` is
    where the client's file is, below what was chosen, and `modified` its last modification in
    milliseconds since 1970; None if not stated. `can` are the extensions that the client supports,
    None if it states none. `upload` is the client's own key for this upload, in lower-case hex;
    only a client that can resume has one. With `abandon` the client asks to discard the upload of
    that key.
    """

    name: str
    size: int
    token: str | None = field(default=None, repr=False)
    folder: str | None = None
    modified: int | None = None
    can: frozenset[str] | None = None
    upload: str | None = field(default=None, repr=False)
    abandon: bool = False


@frozen
class HashClaim:
    """The hash of the file that the client states. `type` and `value` (hex) are lower case."""

    type: str
    value: str


@frozen
class Finished:
    """The client has sent everything."""

    hash: HashClaim | None = None


@frozen
class Abandon:
    """The client cancels the upload: the server is to discard file number `file` of the connection.

    Without `next`, there is only the number 0.
    """

    file: int = 0


@frozen
class AskEntry:
    """A file of which the client asks whether the server has it.

    `name`, `folder`, `size` and `modified` are as in `Metadata`. `modified` or `hash` is given; if
    both are, both must be those of the file.
    """

    name: str
    size: int
    folder: str | None = None
    modified: int | None = None
    hash: HashClaim | None = None


@frozen
class Ask:
    """The client asks which of 1 to MAX_ASKED `entries` the server has; `number` is its own."""

    entries: tuple[AskEntry, ...]
    number: int


@frozen
class Limits:
    """What further files of a connection may use.

    At most `next` of them may be open at once. One of at most `whole` bytes is sent whole, in one
    go; at most `room` bytes of such files may be under way, that is sent and not answered.
    """

    next: int
    whole: int
    room: int


@frozen
class Resumption:
    """How an upload begins or continues, in the first signal of a server that can resume.

    The server has the first `offset` bytes of the file. It keeps an interrupted upload for `keep`
    seconds, 0 if not stated. `check` is the hash of the bytes below `offset`, None if it is not
    known.
    """

    offset: int
    keep: int
    check: HashClaim | None = None


@frozen
class Agreement:
    """The extensions that server and client support, in the server's first signal.

    `resumption` is None unless the signal is a `ready`, and `can` includes RESUME; `limits` is None
    unless it includes NEXT, and the connection continues after the signal.
    """

    can: frozenset[str]
    resumption: Resumption | None = None
    limits: Limits | None = None


@frozen
class Ready:
    """The server accepts one chunk of at most `chunksize` bytes; None sets no maximum.

    `file` is the number of the file on its connection, as in the other signals. `resumption` is for
    the first `ready` about a further file that may be resumed; that of file 0 is in `agreement`.
    """

    chunksize: int | None = None
    agreement: Agreement | None = None
    file: int = 0
    resumption: Resumption | None = None


@frozen
class Close:
    """The file is stored, under `name` if the signal has one.

    `path` is where it is below the server's directory, with its folders; None if not stated.
    """

    name: str | None = None
    agreement: Agreement | None = None
    file: int = 0
    path: str | None = None


@frozen
class Error:
    """The server reports an error; a fatal error ends the upload.

    `kept` is the number of seconds for which the server keeps what it has; None if it keeps
    nothing. After a fatal error that `continues`, only this file has failed, and the connection
    has more.
    """

    reason: Json
    fatal: bool = False
    details: Mapping[str, object] = field(factory=dict)
    agreement: Agreement | None = None
    kept: int | None = None
    file: int = 0
    continues: bool = False


@frozen
class Held:
    """The server has the files of these `entries`, by their indexes in question `number`.

    `paths` has where they are, by the same indexes, of those of which the server tells it.
    """

    entries: frozenset[int]
    number: int
    paths: Mapping[int, str] = field(factory=dict)


@frozen
class Last:
    """The server takes no more files on this connection."""


@frozen
class Ignored:
    """A signal of an unknown kind, which the protocol says to ignore."""


ClientSignal = Metadata | Finished | Abandon | Ask | Ignored
ServerSignal = Ready | Close | Error | Held | Last | Ignored
