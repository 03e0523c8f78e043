"""The file with the credentials of the object storage. Imports nothing of botocore."""

import configparser
import os
from typing import Final

from attrs import field, frozen

from galileod.secretfile import SecretFileError, read_secret_file

PROFILE: Final = "default"
"""The section of the file that is read."""


@frozen
class Keys:
    """An access key, its secret, and the token of a session that has one."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def read_keys(path: str) -> Keys:
    """The keys in a file with the format of `~/.aws/credentials`. Blocks.

    Raises SecretFileError, whose message has no part of the file.
    """
    data = read_secret_file(path)
    parser = configparser.RawConfigParser(default_section="")
    try:
        parser.read_string(data.decode())
    except (UnicodeDecodeError, configparser.Error):
        raise SecretFileError(
            f"{path}: expected a section [{PROFILE}] as in ~/.aws/credentials"
        ) from None
    if not parser.has_section(PROFILE):
        raise SecretFileError(f"{path}: has no section [{PROFILE}]")
    values = parser[PROFILE]
    for key in ("aws_access_key_id", "aws_secret_access_key"):
        if not values.get(key):
            raise SecretFileError(f"{path}: has no {key} in its section [{PROFILE}]")
    return Keys(
        values["aws_access_key_id"],
        values["aws_secret_access_key"],
        values.get("aws_session_token") or None,
    )


class KeyFile:
    """A file of keys that are read again as soon as it has changed.

    A file that cannot be read meanwhile, as while somebody edits it, does not change the keys;
    `problem` then says why. Thread-safe.
    """

    def __init__(self, path: str) -> None:
        """Read the file. Raises SecretFileError."""
        self.problem: str | None = None
        self._path = path
        self._state = _Read(_version(path), read_keys(path))

    def keys(self) -> Keys:
        """The keys as they are now. Blocks."""
        if (version := _version(self._path)) != self._state.version:
            self._read(version)
        return self._state.keys

    def renew(self) -> bool:
        """Read the file, as after keys were refused; returns whether it has other keys."""
        before = self._state.keys
        self._read(_version(self._path))
        return self._state.keys != before

    def _read(self, version: "_Version") -> None:
        try:
            keys, self.problem = read_keys(self._path), None
        except SecretFileError as error:
            # Those that were read last may still be valid; if they are not, the store says so.
            keys, self.problem = self._state.keys, str(error)
        self._state = _Read(version, keys)


_Version = tuple[int, int, int] | None
"""What is different for another file, or after a change of it; None if there is none."""


@frozen
class _Read:
    version: _Version
    keys: Keys


def _version(path: str) -> _Version:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
