"""Remembers the uploads that were begun, in small files, so that another process can go on."""

import fcntl
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from hashlib import sha256
from typing import Final

import trio
from attrs import evolve

from galileod.printable import printable
from galileod.protocol.messages import Metadata

from .address import Address
from .options import OnWarning, Options
from .sources import FileStamp, PathSource, Source
from .state_directory import State

MIN_SIZE: Final = 1024 * 1024
"""Minimum bytes of a file whose upload is remembered: servers do not keep smaller ones."""

MAX_ENTRY: Final = 64 * 1024
"""Maximum bytes of an entry; a path has up to 4 KiB, written with up to 6 characters a byte."""

_KEY: Final = re.compile(r"[0-9a-f]{32}")


class Remembered:
    """The upload of the file at one path, to one server, under one name: a file in `state`.

    The file is locked while this process sends, so that another process that sends the same file
    makes an upload of its own, instead of taking over this one.
    """

    def __init__(
        self,
        state: State,
        address: Address,
        source: PathSource,
        on_warning: OnWarning | None = None,
    ) -> None:
        self._state = state
        self._on_warning = on_warning
        # Where there is no folder, and no time is stated, as in the entries of earlier versions.
        more = {"folder": source.folder, "modified": source.stated}
        self._place: dict[str, str | int] = {
            "url": _url(address),
            "path": source.path,
            "name": source.name,
            **{key: value for key, value in more.items() if value is not None},
        }
        self._source_path = source.path
        self._path = ""
        self._locked: int | None = None  # the descriptor of the entry
        self._key: str | None = None  # that is in the entry
        self._elsewhere = False  # another process sends this file

    async def recall(self, source: Source) -> tuple[str | None, Metadata | None]:
        """See `Memory`."""
        if source.size < MIN_SIZE:
            return None, None
        entry = await trio.to_thread.run_sync(self._read)
        if self._elsewhere:
            self._warn(
                f"another upload of {printable(source.label)} to this server is running;"
                " this one sends all of it."
            )
        key, stamp = _parse(entry, self._place)
        if key is None or source.stamp is None:
            return None, None
        if stamp == source.stamp:
            self._key = key
            return key, None
        modified = stamp.modified if source.stated is None else source.stated
        return None, evolve(source.metadata(key), size=stamp.size, modified=modified)

    async def remember(self, source: Source, key: str) -> bool:
        """See `Memory`."""
        if self._elsewhere or not self._path or source.stamp is None:
            return False
        if key != self._key:
            text = json.dumps(
                {
                    **self._place,
                    "size": source.stamp.size,
                    "mtime_ns": source.stamp.mtime_ns,
                    "key": key,
                    "begun": int(time.time()),
                }
            )
            if not await trio.to_thread.run_sync(self._write, text):
                return False
            self._key = key
        return True

    async def forget(self) -> None:
        """See `Memory`."""
        if self._locked is not None:
            self._key = None
            await trio.to_thread.run_sync(self._remove)

    def close(self) -> None:
        """Release the lock."""
        if self._locked is not None:
            os.close(self._locked)
            self._locked = None

    def _read(self) -> bytes:
        """The entry, which is locked from now on; empty if there is none."""
        self._place["path"] = os.path.realpath(self._source_path)
        digest = sha256(json.dumps(self._place).encode()).hexdigest()
        self._path = os.path.join(self._state.path, f"{digest[:32]}.json")
        try:
            self._state.check()
            self._locked = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            if _lock(self._locked):
                os.utime(self._locked)  # its age begins anew
                return os.pread(self._locked, MAX_ENTRY, 0) if self._is_named() else b""
        except FileNotFoundError:
            return b""
        except OSError as error:
            self._state.fail(error)
            return b""
        self._elsewhere = True
        self.close()
        return b""

    def _warn(self, sentence: str) -> None:
        if self._on_warning:
            self._on_warning({"error": sentence})

    def _is_named(self) -> bool:
        """Whether the locked file still is the entry: its last user may have removed it."""
        if self._locked is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._locked), os.lstat(self._path))
        except FileNotFoundError:
            return False

    def _write(self, text: str) -> bool:
        """Write the entry, locked before it has its name. Returns whether that worked."""
        try:
            self._state.make()
            descriptor, path = tempfile.mkstemp(dir=self._state.path)  # mode 0600
            try:
                _lock(descriptor)
                os.write(descriptor, text.encode())
                os.rename(path, self._path)
            except BaseException:
                os.close(descriptor)
                os.unlink(path)
                raise
        except OSError as error:
            self._state.fail(error)
            return False
        self.close()
        self._locked = descriptor
        return True

    def _remove(self) -> None:
        try:
            if self._is_named():
                os.unlink(self._path)
        except OSError as error:
            self._state.fail(error)
        self.close()


@contextmanager
def remembered(
    state: State, address: Address, source: Source, options: Options
) -> Iterator[Remembered | None]:
    """What is remembered of the upload of `source`; None unless it is a path, and may resume."""
    if not (options.resume and isinstance(source, PathSource)):
        yield None
        return
    with closing(Remembered(state, address, source, options.on_warning)) as memory:
        yield memory


def _lock(descriptor: int) -> bool:
    """Lock an open file; False if another process has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # the file system has no locks; two processes then take the upload from each other
    return True


def _parse(entry: bytes, place: Mapping[str, object]) -> tuple[str | None, FileStamp]:
    """The key and the stamp in an entry; no key if it is not one for this place."""
    try:
        value = json.loads(entry)
        key, size, mtime_ns = value["key"], value["size"], value["mtime_ns"]
        known = all(value[name] == expected for name, expected in place.items())
    except (ValueError, LookupError, TypeError, RecursionError):
        return None, FileStamp(0, 0)  # it is corrupt, and the next one replaces it
    if not (known and type(size) is type(mtime_ns) is int and size >= 0):
        return None, FileStamp(0, 0)
    if not (isinstance(key, str) and _KEY.fullmatch(key)):
        return None, FileStamp(0, 0)
    return key, FileStamp(size, mtime_ns)


def _url(address: Address) -> str:
    """The URL without its query, which may have a credential."""
    scheme = "wss" if address.secure else "ws"
    server = f"unix:{address.unix}:" if address.unix else f"{address.host}:{address.port}"
    return f"{scheme}://{server}{address.target.partition('?')[0]}"
