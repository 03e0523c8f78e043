"""Errors of the operating system, as errors of the storage."""

import errno
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final

from .errors import NoSpaceError, StorageError

_NO_SPACE: Final = {errno.ENOSPC, errno.EDQUOT}


def translated(step: str) -> AbstractContextManager[None]:
    """Turn an OSError of the block into a StorageError that names the step."""
    return _Translated(step)


class _Translated:
    # Not a generator, which would take four times as long: small files need many of these.
    __slots__ = ("_step",)

    def __init__(self, step: str) -> None:
        self._step = step

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise as_storage_error(error, self._step) from error


def as_storage_error(error: OSError, step: str) -> StorageError:
    """The StorageError for an error in this step."""
    kind = NoSpaceError if error.errno in _NO_SPACE else StorageError
    return kind(f"{step}: {error.strerror or error}")
