"""The contract between nodes of one ledger, where one must wait for another.

An upload that runs at one node is claimed at another. Files are replaced or removed by one node at
a time.

Of two claims to an upload, the one that was made later wins. The nodes have no clock in common, so
the ledger is told how old a claim is, and says how old it is by now.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Final, Literal

from attrs import frozen

from .base import Found

LISTEN_SECONDS: Final = 1.0
"""Maximum seconds until a node looks for what is asked of it, without a message."""


@frozen
class Asked:
    """An upload that this node runs, and that a connection at another node claims.

    `key` and `metadata` are those of its Resumable. The claim of `asker` was made `age` seconds
    ago.
    """

    upload: str
    key: str
    metadata: str
    asker: str
    age: float


Discarding = Literal["running", "discarded", "complete", "ended"]
"""What has become of an upload that another node was asked to discard.

It has not answered yet; it discards the upload; all of the upload has come, and it is being stored;
or the upload has ended before."""


@frozen
class RunningThere:
    """An upload that another `node` runs, of which `durable` bytes survive a power failure.

    It began at `began`, in seconds since the epoch; None if it cannot be resumed.
    """

    upload: str
    user: str
    name: str
    size: int
    durable: int
    began: float | None
    node: str


@frozen
class Answer:
    """What `Ledger.find` returns, and whether the `asker` may still wait for the upload.

    It may not if a newer claim has asked, or has the upload.
    """

    upload: Found
    waits: bool


class Elsewhere(ABC):
    """Asks other nodes for uploads and names, and is asked for uploads of this one.

    Methods raise LedgerError.
    """

    @abstractmethod
    async def ask(self, key: str, asker: str, age: Callable[[], float]) -> None:
        """Ask the node that runs the upload with this key to let it go, until `withdraw`.

        `asker` is unique. `age` is called from any thread, and returns the seconds since its claim
        was made. Does nothing if a newer claim has asked.
        """

    @abstractmethod
    async def look(self, key: str, asker: str) -> Answer:
        """What has become of the upload that was asked for. May be cancelled."""

    @abstractmethod
    async def withdraw(self, key: str, asker: str) -> None:
        """Do not ask any more, or refuse one who asks: a newer claim has the upload."""

    @abstractmethod
    async def asked(self) -> Sequence[Asked]:
        """The uploads of this node for which others ask. May be cancelled."""

    @abstractmethod
    async def running_from(self, upload: str, count: int) -> Sequence[RunningThere]:
        """At most `count` uploads of other nodes, in the order of their names, from `upload` on.

        May be cancelled.
        """

    @abstractmethod
    async def ask_to_discard(self, upload: str) -> RunningThere | None:
        """Ask the node that runs an upload to discard it, until `withdraw_discard`.

        None if no other node runs it.
        """

    @abstractmethod
    async def look_at_discard(self, upload: str) -> Discarding:
        """What has become of it. May be cancelled."""

    @abstractmethod
    async def withdraw_discard(self, upload: str) -> None:
        """Do not ask any more."""

    @abstractmethod
    async def to_discard(self) -> Sequence[str]:
        """The uploads of this node that others ask to discard, without an answer so far.

        May be cancelled.
        """

    @abstractmethod
    async def answer(self, upload: str, *, discards: bool) -> None:
        """Answer the node that has asked: this one discards the upload, or is storing it.

        What is written of the upload afterwards is not seen before the answer.
        """

    @abstractmethod
    async def drop(self, upload: str) -> None:
        """Drop a reservation of this node that could not be released when its upload failed.

        Does nothing if there is none, or if the upload is kept.
        """

    @abstractmethod
    async def listen(self) -> Collection[str]:
        """Wait until something may have been asked of this node, or another has let uploads go.

        Returns the keys of those uploads, and at the latest after LISTEN_SECONDS none: the message
        may have been lost. May be cancelled.
        """

    @abstractmethod
    async def promised(self, identities: Collection[str]) -> Collection[str]:
        """Those of the identities of files that uploads have promised, here or at other nodes.

        Such a file was published, but is not recorded yet.
        """

    @abstractmethod
    async def hold(self, names: Collection[str]) -> bool:
        """Hold these names, until `give_back`; False if another node holds one of them.

        Then none is held. What a node holds ends with its lease.
        """

    @abstractmethod
    async def give_back(self, names: Collection[str]) -> None:
        """Hold these names no longer. If the ledger fails, that is done later, and nothing raised.

        Another node gets them then.
        """
