"""The errors of a store."""


class StorageError(Exception):
    """The storage failed; the text names the step and the reason."""


class NoSpaceError(StorageError):
    """There is no space left for the file."""


class ConflictError(StorageError):
    """A file of that name exists, and must not be replaced."""


class BadNameError(StorageError):
    """The storage does not accept the name of the file."""


class MissingError(StorageError):
    """There is no file of an interrupted upload that could be continued."""


class StorageBusyError(StorageError):
    """The storage can take nothing more at present; later it may."""


class UnsupportedHashError(StorageError):
    """The storage cannot compute the hash of this kind for this file."""
