"""The error of a ledger that is away, and will be back."""

from .base import LedgerError


class UnavailableError(LedgerError):
    """The database does not answer, or is starting or stopping: to be tried again later."""
