"""Compares a configuration with what is in the database that it names, for `check-config`."""

import os
import stat
from collections.abc import Iterable, Iterator
from typing import Final

from galileod.config.model import Config
from galileod.ledger.contents import Contents, RunningNode
from galileod.ledger.lease import LEASE_SECONDS
from galileod.storage.errors import StorageError
from galileod.storage.escaping import unescaped
from galileod.storage.local.directoryid import FILE
from galileod.storage.local.store import DIRECTORY_HOME
from galileod.storage.state import STATE_DIRECTORY, node_path

from .copied import copied, is_here
from .moving import are_directories, begun_elsewhere, file_elsewhere, named

_MOST: Final = 64
"""Bytes that are read of a file with an identity; it has fewer."""


def why_not_the_name(config: Config, contents: Contents) -> str | None:
    """Why the node cannot have its name: another one has it, and runs. Blocks.

    The same node may run.
    """
    name, directory = config.ledger.node_name or "", config.storage.directory
    try:
        mine = _identity(node_path(directory, name))
        locked = mine is not None and is_here(directory, name)
    except OSError as error:
        return _unreadable(error)
    for node in contents.nodes:
        if node.name == name and node.identity != mine:
            return (
                f"another galileod of this name runs on {node.host} since {node.since}: set another"
                f" ledger.node for one of them; or if it was replaced by this one, stop it, or wait"
                f" {LEASE_SECONDS:g} s after it was killed"
            )
        if node.name == name and not locked:
            return (
                f"it runs on {node.host} since {node.since}, but not with this storage.directory,"
                " which is a copy of its own one: set another ledger.node, and remove"
                f" .galileod/nodes here; or if it was killed, wait {LEASE_SECONDS:g} s"
            )
    return None


def why_not_its_files(config: Config, contents: Contents) -> str | None:
    """Why a start with these settings of [storage] would be refused. Blocks."""
    try:
        home, now = contents.home, _home(config)
    except OSError as error:
        return _unreadable(error)
    others = [node for node in contents.nodes if node.name != config.ledger.node_name]
    if home in {None, now}:
        share = home == now and config.storage.backend == "local"
        return _why_copied(config.storage.directory, others if share else [])
    if others:
        names = ", ".join(node.name for node in others)
        return (
            f"nodes that run ({names}) store their files in {named(home)}, and this one"
            f" in {named(now)}: correct the settings of [storage], or use another database"
        )
    if contents.begun and not are_directories(home, now):
        return begun_elsewhere(home, now)
    try:
        sizes = _sizes(config, contents.files)
        missing = next((name for name, size in sizes if size != contents.files[name]), None)
    except StorageError as error:
        return f"whether they are there cannot be found out: {error}"
    return None if missing is None else file_elsewhere(home, now, missing)


def _why_copied(directory: str, others: Iterable[RunningNode]) -> str | None:
    """Why the directory is taken for a copy of that of the `others`; None if it is not."""
    try:
        absent = next((node for node in others if not is_here(directory, node.name)), None)
    except OSError as error:
        return _unreadable(error)
    if absent is None:
        return None
    return f"{copied(absent)}; or if that node was killed, wait {LEASE_SECONDS:g} s"


def _home(config: Config) -> str:
    """What `Store.home` would be. A directory that is new gets an identity by the start."""
    if config.storage.backend == "s3":
        return config.storage.s3.location
    path = os.path.join(os.path.abspath(config.storage.directory), STATE_DIRECTORY, FILE)
    return f"{DIRECTORY_HOME}{_identity(path) or ''}"


def _sizes(config: Config, names: Iterable[str]) -> Iterator[tuple[str, int | None]]:
    """The size of each of these files; None where there is no such file. Raises StorageError."""
    if config.storage.backend == "local":
        for name in names:
            yield name, _size(config.storage.directory, name)
        return
    from galileod.storage.s3.client import Client  # noqa: PLC0415  as in `connecting`

    settings = config.storage.s3
    client = Client.open(settings, requests=1)
    try:
        for name in names:
            head = client.head(f"{settings.prefix}{name}")
            yield name, None if head is None else head.size
    finally:
        client.close()


def _size(directory: str, name: str) -> int | None:
    for path in (name, unescaped(name)):
        try:
            found = os.lstat(os.path.join(directory, path or name))
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode):
            return found.st_size
    return None


def _identity(path: str) -> str | None:
    """The text in a file with an identity; None if there is none. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.read(fd, _MOST).decode(errors="replace").strip()
    finally:
        os.close(fd)


def _unreadable(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}; run this as the user of galileod"
