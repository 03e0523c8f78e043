"""Group commit: the steps that wait while a transaction runs share the next one, and its fsync.

Many small files that are stored at once then need few thread calls and few writes of the log. A
step that raises is rolled back alone. A step that takes many items, such as reservations, runs once
for those of all callers that wait. Nothing here depends on the database: C is the type of its
connections.
"""

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any, Final, Generic, Protocol, TypeVar, cast

import trio
from attrs import define, field

from .base import LedgerError, UncertainError
from .unavailable import UnavailableError

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)
A = TypeVar("A")
T = TypeVar("T")

MOST_STEPS: Final = 64
"""Maximum steps of one transaction. The first of them waits until the last has run."""


class Transact(Protocol[C_co]):
    """Begins a transaction; `durable` with an fsync at its end."""

    def __call__(self, *, durable: bool) -> AbstractContextManager[C_co]:
        """The transaction, for a block."""


Apart = Callable[[C], AbstractContextManager[None]]
"""Makes its block a part of a transaction: if it raises, it is undone alone, as far as that goes.
Errors of the database are raised as LedgerError."""

GoesOn = Callable[[C], bool]
"""Whether the transaction goes on after a part that has raised: the database may have ended it."""

ForMany = Callable[[C, Sequence[A]], Sequence[T]]
"""A step that returns one result for each item."""

InThread = Callable[[Callable[[], T]], Awaitable[T]]
"""Runs a function in a thread, one at a time. Until it has begun, the caller can be cancelled."""


@define(eq=False)
class _Waiting(Generic[C, T]):
    """A step of one caller; with `items`, one that may run for those of others, too.

    `leads`: its caller runs the next transaction. `awake` is set when the caller has to lead, or
    when the step has ended.
    """

    step: Callable[..., Any]
    items: Sequence[Any] | None
    durable: bool
    leads: bool = False
    awake: trio.Event = field(init=False, factory=trio.Event)
    value: T | None = field(init=False, default=None)
    error: BaseException | None = field(init=False, default=None)

    def result(self) -> T:
        """What the step has returned, once it has ended; raises what it has raised."""
        if self.error is not None:
            raise self.error
        return cast("T", self.value)


class Grouping(Generic[C]):
    """Runs steps in transactions, in the order in which they come, or with an earlier equal one.

    The caller of the first step that waits leads: its thread call runs all steps that wait by then.
    The others wait for it. So if any step waits, the first one leads.
    """

    def __init__(
        self,
        transact: Transact[C],
        apart: Apart[C],
        goes_on: GoesOn[C],
        in_thread: InThread[Sequence[_Waiting[C, Any]]],
    ) -> None:
        self._transact = transact
        self._apart = apart
        self._goes_on = goes_on
        self._in_thread = in_thread
        self._waiting: deque[_Waiting[C, Any]] = deque()
        self._changing = threading.Lock()  # `_waiting` is changed by the thread, too

    async def run(self, step: Callable[[C], T], *, durable: bool) -> T:
        """Run a step in a transaction, with others; returns and raises what it does.

        Can be cancelled until the step has begun. Raises LedgerError if the transaction fails.
        """
        return await self._run(_Waiting[C, T](step, None, durable))

    async def run_for(
        self, step: ForMany[C, A, T], items: Sequence[A], *, durable: bool
    ) -> Sequence[T]:
        """`run` a step for some items; returns one result for each.

        It is called once for the items of all callers that wait with an equal step, in the order of
        the first of them. If it raises, it is called again for those of each caller.
        """
        return await self._run(_Waiting[C, Sequence[T]](step, items, durable))

    async def _run(self, waiting: _Waiting[C, T]) -> T:
        with self._changing:
            waiting.leads = not self._waiting
            self._waiting.append(waiting)
        if not waiting.leads:
            await self._follow(waiting)
        if waiting.leads:
            await self._lead(waiting)
        return waiting.result()

    async def _follow(self, waiting: _Waiting[C, T]) -> None:
        """Wait until the step has ended, or leads."""
        try:
            await waiting.awake.wait()
        except trio.Cancelled:
            if self._withdraw(waiting):
                raise
            with trio.CancelScope(shield=True):  # it has begun
                await waiting.awake.wait()

    async def _lead(self, waiting: _Waiting[C, T]) -> None:
        try:
            ended = await self._in_thread(self._run_waiting)
        except BaseException:  # cancelled, or failed before the transaction; nothing has begun
            self._withdraw(waiting)
            raise
        for other in ended:
            other.awake.set()
        self._appoint()

    def _withdraw(self, waiting: _Waiting[C, T]) -> bool:
        """Take back a step; False if it has begun."""
        with self._changing:
            if waiting not in self._waiting:
                return False
            self._waiting.remove(waiting)
        self._appoint()
        return True

    def _appoint(self) -> None:
        """Let the first step that waits lead."""
        with self._changing:
            first = self._waiting[0] if self._waiting else None
        if first is not None and not first.leads:
            first.leads = True
            first.awake.set()

    def _run_waiting(self) -> Sequence[_Waiting[C, Any]]:
        """Run the steps that wait, in one transaction; returns them. In a thread."""
        with self._changing:
            count = min(MOST_STEPS, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(count)]
        try:
            with self._transact(durable=any(one.durable for one in batch)) as connection:
                if len(batch) == 1:  # the transaction itself is rolled back if it raises
                    _call(connection, batch)
                else:
                    for together in _joined(batch):
                        self._run_apart(connection, together)
        except BaseException as error:  # noqa: BLE001  handed to the callers
            _fail(batch, error)
        return batch

    def _run_apart(self, connection: C, together: Sequence[_Waiting[C, Any]]) -> None:
        """Run a step as a part of its own. Raises if the whole transaction has ended."""
        try:
            with self._apart(connection):
                _call(connection, together)
        except BaseException as error:
            if not self._goes_on(connection):
                if len(together) == 1:
                    together[0].error = error
                raise
            if len(together) == 1 or isinstance(error, UnavailableError):
                _fail(together, error)
                return
            for waiting in together:
                self._run_apart(connection, [waiting])


def _joined(batch: Sequence[_Waiting[C, Any]]) -> Iterable[Sequence[_Waiting[C, Any]]]:
    """The steps that run together."""
    joined = dict[object, list[_Waiting[C, Any]]]()
    for waiting in batch:
        joined.setdefault(waiting if waiting.items is None else waiting.step, []).append(waiting)
    return joined.values()


def _call(connection: C, together: Sequence[_Waiting[C, Any]]) -> None:
    """Run a step of one caller, or for the items of several."""
    first = together[0]
    if first.items is None:
        first.value = first.step(connection)
        return
    items = [item for waiting in together for item in waiting.items or ()]
    results = iter(first.step(connection, items))
    for waiting in together:
        waiting.value = list(islice(results, len(waiting.items or ())))


def _fail(batch: Sequence[_Waiting[Any, Any]], error: BaseException) -> None:
    """None of these steps has taken effect: each ends with an error, if not its own."""
    for waiting in batch:
        if len(batch) == 1:
            waiting.error = error
        elif waiting.error is None:
            waiting.error = _as_other(error)
            waiting.error.__cause__ = error


def _as_other(error: BaseException) -> LedgerError:
    """What an error of the transaction is for a step that has not caused it."""
    if not isinstance(error, LedgerError):
        return LedgerError(str(error))
    kept = isinstance(error, UncertainError | UnavailableError)
    return (type(error) if kept else LedgerError)(error.reason, error.place)
