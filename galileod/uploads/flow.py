"""The credits of one upload: what the client may send, and the memory reserved for it."""

from typing import Self

from galileod.net.budget import DataBudget
from galileod.net.messages import BinaryMessage
from galileod.policy.pacing import Pacer, least_credit
from galileod.policy.settings import Chunks
from galileod.protocol.receiver import AskFinished, Credit, UploadReceiver
from galileod.protocol.states import ReceiverState

from .memory import MemoryAccount


class Flow:
    """Grants credits and accounts for them.

    A credit counts in four places:

    - the window of `receiver`, which limits the size of a chunk;
    - `budget`, which refuses a frame that is too large when its header arrives;
    - `account`, which reserves memory for credits and for data not yet stored;
    - the pacer, which decides on the size and the number of credits.

    While an upload runs, only this class changes them, and between its calls they agree: the
    budget allows what the window allows, the account holds that and the data not yet stored, and
    the pacer has the same outstanding credits as the window. Leaving its `with` releases the
    memory. Data for outstanding credits may still arrive after that and is discarded.
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
        """Whether data is due and no credit is outstanding: the client waits for the next one."""
        return self._receiver.state is ReceiverState.RECEIVING and not self.outstanding

    def grant(self, now: float, current: Chunks, reserved: int = 0) -> list[Credit | AskFinished]:
        """Grant every credit that the pacer, the memory and the rest of the file allow now.

        All are granted in one call, so that other uploads see the memory that remains. `current`
        are the settings in force now. A maximum that was reduced applies at once, but never reduces
        a credit below the minimum of the settings with which the upload began: a client with a
        fixed chunk size would fail.
        `reserved` is what `wait_for_share` returned.
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

    async def wait_for_share(self) -> int:
        """Wait in the queue for memory; returns the bytes reserved for the next `grant`."""
        return await self._account.wait_for_share()

    def arrived(self, message: BinaryMessage) -> float | None:
        """Account for a complete chunk that is about to be stored.

        Returns the seconds from its credit to its first byte, None if there was no credit. Raises
        RemoteProtocolError if the client may not send the chunk; nothing is changed in that case.
        """
        self._receiver.receive_binary(message.length)
        self._unstored = message.length
        self._settle()
        return self._pacer.arrived(message.length, message.first_byte, message.last_byte)

    def stored(self, now: float) -> None:
        """Account for the end of storing the chunk that has `arrived`."""
        self._pacer.stored(self._unstored, now)
        self._unstored = 0
        self._settle()

    def _settle(self) -> None:
        """Set the budget and the account to the bytes that the window allows."""
        window = self._receiver.window
        promised = window.promised
        self._budget.promise(promised, window.largest)
        self._account.settle(promised + self._unstored)
