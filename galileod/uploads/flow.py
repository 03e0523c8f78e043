"""The credits of one upload, in one place: what the client may send, and what that holds."""

from typing import Self

from galileod.net.budget import DataBudget
from galileod.net.frames import BinaryMessage
from galileod.policy.pacing import Pacer, least_credit
from galileod.policy.settings import Chunks
from galileod.protocol.receiver import AskFinished, Credit, UploadReceiver
from galileod.protocol.states import ReceiverState

from .memory import MemoryAccount


class Flow:
    """Grants credits and accounts for them.

    A credit counts in four places:

    - the window of `receiver`, by which the protocol judges a chunk;
    - `budget`, by which a frame is refused on its header;
    - `account`, the memory that credits and data not yet stored hold;
    - the pacer, which decides on size and number of credits.

    While an upload runs, only this class changes them, and between its calls they agree: the
    budget promises what the window promises, the account holds that and what is not yet stored,
    and the pacer knows the same credits as the window. Leaving its `with` releases the memory.
    What was granted may still come then: it is dropped as it comes.
    """

    def __init__(
        self, receiver: UploadReceiver, budget: DataBudget, account: MemoryAccount, chunks: Chunks
    ) -> None:
        self._receiver = receiver
        self._budget = budget
        self._account = account
        self._chunks = chunks
        self._pacer = Pacer(chunks.min, chunks.max, chunks.max_in_flight, account.head_start)
        self._unstored = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._account.settle(0)

    @property
    def outstanding(self) -> int:
        """Number of credits that have not been answered."""
        return self._receiver.window.outstanding

    @property
    def starved(self) -> bool:
        """Whether data is due and no credit is outstanding: nothing comes before the next one."""
        return self._receiver.state is ReceiverState.RECEIVING and not self.outstanding

    def grant(self, now: float, current: Chunks, reserved: int = 0) -> list[Credit | AskFinished]:
        """Take every credit for which pace, memory and file have room now.

        All are taken at once, so that other uploads see what is left. `current` are the settings
        now in force: lower limits apply at once, but `chunks.min` of the upload's beginning does,
        since a client with a fixed chunk size would fail. `reserved` is what `turn` returned.
        """
        granted = list[Credit | AskFinished]()
        began, window = self._chunks, self._receiver.window
        in_flight = min(began.max_in_flight, current.max_in_flight)
        largest = max(current.max, least_credit(began.min, began.max, began.memory))
        room = reserved or self._account.room
        while True:
            wanted = min(self._pacer.credit(window.promised, room), largest)
            step = self._receiver.grant(wanted, in_flight)
            if step is None:
                return granted
            if isinstance(step, Credit):
                self._pacer.granted(step.length, now)
                self._settle()
                room = self._account.room
            granted.append(step)

    async def turn(self) -> int:
        """Wait in the queue for memory; returns the bytes that are held for the next `grant`."""
        return await self._account.turn()

    def arrived(self, message: BinaryMessage) -> float | None:
        """A whole chunk has come, and is about to be stored.

        Returns the seconds from its credit to its first byte, None if there was no credit. Raises
        RemoteProtocolError if the client may not send it; nothing has changed then.
        """
        self._receiver.receive_binary(message.length)
        self._unstored = message.length
        self._settle()
        return self._pacer.arrived(message.length, message.first_byte, message.last_byte)

    def stored(self, now: float) -> None:
        """The chunk that has `arrived` is stored."""
        self._pacer.stored(self._unstored, now)
        self._unstored = 0
        self._settle()

    def _settle(self) -> None:
        """Bring the budget and the account to what the window promises."""
        window = self._receiver.window
        promised = window.promised
        self._budget.promise(promised, window.largest)
        self._account.settle(promised + self._unstored)
