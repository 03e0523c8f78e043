"""Converts a shutdown and errors of the storage to the faults that are sent to the client."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from galileod.ledger.base import LedgerError
from galileod.protocol.errors import Fault, FaultCode
from galileod.shutdown import Interrupt
from galileod.storage.base import BadNameError, ConflictError, NoSpaceError, StorageError


def shutting_down() -> Fault:
    """The fault for what the shutdown ends."""
    return Fault(FaultCode.SHUTTING_DOWN, "The server is shutting down. Try again later.")


@contextmanager
def interruptible(
    interrupt: Interrupt, fault: Callable[[], Fault] = shutting_down
) -> Iterator[None]:
    """Cancel the block as soon as `interrupt` has fired, and raise what `fault` returns."""
    with interrupt.guard() as scope:
        yield
    if scope.cancelled_caught:
        raise fault()


@contextmanager
def interruptible_by(
    *causes: tuple[Interrupt, Callable[[], Fault]],
) -> Iterator[trio.CancelScope]:
    """`interruptible` by several: one scope for all. It may also have a deadline."""
    with trio.CancelScope() as scope:
        for interrupt, _ in causes:
            interrupt.add(scope)
        try:
            yield scope
        finally:
            for interrupt, _ in causes:
                interrupt.remove(scope)
    if scope.cancelled_caught:
        for interrupt, fault in causes:
            if interrupt.fired:
                raise fault()


@contextmanager
def storage_faults() -> Iterator[None]:
    """Turn errors of the store and the ledger into faults; their text names the failed step."""
    try:
        yield
    except NoSpaceError as error:
        raise Fault(FaultCode.NO_SPACE, f"No space is left: {error}.") from error
    except BadNameError as error:
        raise Fault(FaultCode.BAD_NAME, f"The name cannot be stored: {error}.") from error
    except ConflictError as error:
        raise Fault(FaultCode.CONFLICT, f"The name is taken: {error}.") from error
    except (StorageError, LedgerError) as error:
        raise Fault(FaultCode.STORAGE_FAILED, f"The storage failed: {error}.") from error
