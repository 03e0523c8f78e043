"""The errors of a store."""


class StorageError(Exception):
    """The storage failed; the text names the step and the reason.

    `place` is the end of the text that clients are not told, such as where the storage is.
    """

    def __init__(self, reason: str = "", place: str = "") -> None:
        super().__init__(reason, place)
        self.reason = reason
        self.place = place

    def __str__(self) -> str:
        return self.reason + self.place


class UnavailableError(StorageError):
    """The storage cannot be used at present, for a reason that may pass by itself."""


class NoSpaceError(StorageError):
    """There is no space left for the file."""


class ConflictError(StorageError):
    """A file of that name exists, and must not be replaced."""


class BadNameError(StorageError):
    """The storage does not accept the name of the file."""


class MissingError(StorageError):
    """There is no file of an interrupted upload that could be continued."""


class StorageBusyError(UnavailableError):
    """The storage can take nothing more at present; later it may."""


class UnsupportedHashError(StorageError):
    """The storage cannot compute the hash of this kind for this file."""
