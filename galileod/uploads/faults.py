"""Converts a shutdown and errors of the storage to the faults that are sent to the client."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from galileod.ledger.base import KeyTakenError, LedgerError, UncertainError
from galileod.ledger.lease import LeaseLostError, LeaseRunOutError
from galileod.ledger.unavailable import UnavailableError
from galileod.protocol.errors import Fault, FaultCode
from galileod.shutdown import Interrupt
from galileod.storage.base import RUNNING_HASH
from galileod.storage.errors import (
    BadNameError,
    ConflictError,
    NoSpaceError,
    StorageBusyError,
    StorageError,
    UnsupportedHashError,
)


class LostError(Exception):
    """What was found of an upload is not so any more: it is to be found anew.

    It is not kept, or its file cannot be continued, or another node has begun it.
    """


def shutting_down() -> Fault:
    """The fault for what the shutdown ends."""
    return Fault(FaultCode.SHUTTING_DOWN, "The server is shutting down. Try again later.")


def abandoned() -> Fault:
    """The fault for an upload that its client has cancelled."""
    return Fault(FaultCode.ABANDONED, "The client has cancelled the upload.")


def lease_lost() -> Fault:
    """The fault for what this node must not go on with, and others keep. The client may resume."""
    return Fault(
        FaultCode.BUSY, "Another node has taken over the uploads of this one. Try again later."
    )


def unfinished(seconds: float) -> Fault:
    """The fault for an upload whose `finished` has not come in time after its last byte."""
    return Fault(FaultCode.IDLE, f"The upload was not finished within {seconds:g} seconds.")


@contextmanager
def interruptible(
    *causes: tuple[Interrupt, Callable[[], Fault]],
) -> Iterator[trio.CancelScope]:
    """Cancel the block as soon as one of the interrupts has fired, and raise what it stands for.

    The scope may be given a deadline too; nothing is raised when that ends the block.
    """
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
        raise Fault(FaultCode.NO_SPACE, f"No space is left: {error.reason}.") from error
    except BadNameError as error:
        raise Fault(FaultCode.BAD_NAME, f"The name cannot be stored: {error.reason}.") from error
    except ConflictError as error:
        raise Fault(FaultCode.CONFLICT, f"The name is taken: {error.reason}.") from error
    except StorageBusyError as error:
        raise Fault(
            FaultCode.BUSY, f"The storage is busy: {error.reason}. Try again later."
        ) from error
    except UnsupportedHashError as error:
        raise Fault(
            FaultCode.UNSUPPORTED_HASH,
            f"The hash cannot be checked: {error.reason}."
            f" {RUNNING_HASH} is supported for every file.",
        ) from error
    except StorageError as error:
        raise Fault(FaultCode.STORAGE_FAILED, f"The storage failed: {error.reason}.") from error
    except LeaseLostError as error:
        raise lease_lost() from error
    except (KeyTakenError, LeaseRunOutError, UnavailableError, UncertainError) as error:
        raise Fault(
            FaultCode.BUSY, f"The upload must wait: {error.reason}. Try again later."
        ) from error
    except LedgerError as error:
        raise Fault(FaultCode.STORAGE_FAILED, f"The storage failed: {error.reason}.") from error


def logged_reason(fault: Fault) -> str:
    """The reason of a fault for the log, which also has what the client is not told."""
    cause = fault.__cause__
    if not isinstance(cause, StorageError | LedgerError) or not cause.place:
        return fault.reason
    return f"{fault.reason.removesuffix('.')}{cause.place}."
