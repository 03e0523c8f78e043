"""The spool after a restart: what can be continued stays, the rest is removed."""

import os
import stat
from collections.abc import Callable, Collection, Mapping
from typing import Final

import structlog
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.storage.finished import Recovered
from galileod.storage.oserrors import translated

from .identity import identity_of
from .reopening import usable
from .spool import Spool
from .spools import OtherSpools

SPACE: Final = 1024 * 1024
"""Bytes that the ledger needs to start: its log, and the memory that its processes share."""

_USELESS: Final = "-useless"
"""What the name of a file ends with that cannot be used, and is to be dropped."""

_Cut = Callable[[Spool, str, int], Recovered]

_log: FilteringBoundLogger = structlog.get_logger()


def recover(
    spool: Spool,
    trusted: Mapping[str, int | None],
    step: Callable[[], None],
    spared: Collection[str] = (),
    *,
    shared: bool = False,
) -> dict[str, Recovered]:
    """See `Store.recover`. Directories, which galileod does not create in the spool, stay.

    A file is cut to what is certain of it. One that was published keeps its name in the spool until
    it is dropped, or until the start after the one that has found it: before the ledger knows that
    the file is stored, a crash must not lose its identity. If the spool is `shared`, other nodes
    may claim files meanwhile, and what cannot be used stays until it is dropped.
    """
    cut = _cut_alone if shared else _cut
    recovered: dict[str, Recovered] = {}
    removed = 0
    with translated("cannot clear the spool"):
        for name in os.listdir(spool.fd):
            step()
            if name in spared:
                continue
            try:
                state = os.stat(name, dir_fd=spool.fd, follow_symlinks=False)
                if stat.S_ISDIR(state.st_mode):
                    _log.warning("storage.leftover", path=name, reason="a directory in the spool")
                    continue
                found = None
                if name in trusted:
                    found = _keep(spool, name, state, trusted[name], cut)
                if found is not None:
                    recovered[name] = found
                    continue
                if shared:
                    recovered[_set_aside(spool, name)] = Recovered(0)
                else:
                    os.unlink(name, dir_fd=spool.fd)
                removed += 1
            except FileNotFoundError:
                continue  # another node has claimed it since
    if removed:
        _log.info("spool.cleared", files=removed)
    return recovered


@frozen
class Left:
    """What a node is to recover: the arguments of `Store.recover`."""

    trusted: Mapping[str, int | None]
    spared: Collection[str]
    claimed: Collection[str]


def recover_node(
    others: OtherSpools, left: Left, step: Callable[[], None], *, running: bool
) -> dict[str, Recovered]:
    """See `Store.recover`: what is in the spool of this node, and then what is in others."""
    recovered: dict[str, Recovered] = {}
    if not running:
        recovered |= recover(others.own, left.trusted, step, left.spared, shared=True)
    for upload, certain in left.trusted.items():
        if upload in recovered or not (running or upload in left.claimed):
            continue
        step()
        with translated("cannot take over the spool of another node"):
            recovered |= _take_over(others, upload, certain, claimed=upload in left.claimed)
    return recovered


def _take_over(
    others: OtherSpools, upload: str, certain: int | None, *, claimed: bool
) -> dict[str, Recovered]:
    """What is left of an upload. If it is `claimed`, its file is moved here, wherever it is.

    It is in the spool of a node that has ended, or where that one would have taken it from. If that
    one was only stopped, it cannot publish the file when it goes on.
    """
    spool = others.own
    try:
        os.stat(upload, dir_fd=spool.fd, follow_symlinks=False)
    except FileNotFoundError:
        if not claimed:
            return {}  # another node may have claimed it since
        others.unmark(upload)
        if not others.take(upload, durable=True):
            # An earlier attempt may have failed after it had set it aside.
            aside = f"{upload}{_USELESS}"
            there = os.access(aside, os.F_OK, dir_fd=spool.fd, follow_symlinks=False)
            return {aside: Recovered(0)} if there else {}
    try:
        state = _state(spool, upload)
        found = _keep(spool, upload, state, certain, _cut_alone)
        if found is None:
            return {_set_aside(spool, upload): Recovered(0)}
    except FileNotFoundError:
        return {}  # another node has claimed it since
    return {upload: found}


def _set_aside(spool: Spool, name: str) -> str:
    """Give a file that cannot be used another name, so that nobody publishes it; returns that."""
    if name.endswith(_USELESS):
        return name
    aside = f"{name}{_USELESS}"
    os.rename(name, aside, src_dir_fd=spool.fd, dst_dir_fd=spool.fd)
    return aside


def make_space(spool: Spool) -> bool:
    """See `Store.make_space`. A file that was published stays, since removing it frees nothing."""
    with translated("cannot make space"):
        status = os.fstatvfs(spool.fd)
        if status.f_bavail * status.f_frsize >= SPACE:
            return False
        files = [
            (state.st_mtime_ns, name)
            for name in os.listdir(spool.fd)
            if usable(state := os.stat(name, dir_fd=spool.fd, follow_symlinks=False), spool)
            and state.st_nlink == 1
            and state.st_blocks
        ]
        if not files:
            return False
        _, oldest = min(files)
        os.unlink(oldest, dir_fd=spool.fd)
    _log.warning("spool.gave_way", path=oldest, reason="the disk is full; the ledger needs space")
    return True


def _state(spool: Spool, name: str) -> os.stat_result:
    """The state of a file that another machine may have written."""
    state = os.stat(name, dir_fd=spool.fd, follow_symlinks=False)
    if spool.renames or not usable(state, spool):
        return state
    fd = spool.open(name)
    try:
        return spool.stat(fd)
    finally:
        os.close(fd)


def _keep(
    spool: Spool, name: str, state: os.stat_result, trusted: int | None, cut: _Cut
) -> Recovered | None:
    """What is left of a file, which is cut to that; None if nothing of it can be used."""
    found = _examine(spool, state, trusted)
    if found is not None and found.identity is None and found.offset < state.st_size:
        return cut(spool, name, found.offset)
    return found


def _examine(spool: Spool, state: os.stat_result, trusted: int | None) -> Recovered | None:
    """What is left of a file; None if nothing of it can be used."""
    if not usable(state, spool):
        return None
    offset = state.st_size if trusted is None else min(trusted, state.st_size)
    if state.st_nlink > 1:
        return _published(spool, state, offset)
    return Recovered(offset) if offset else None


def _published(spool: Spool, state: os.stat_result, offset: int) -> Recovered:
    return Recovered(offset, identity_of(state, inode_kept=spool.inode_kept))


def _cut(spool: Spool, name: str, offset: int) -> Recovered:
    """Remove the bytes behind `offset`: after a power failure they may be zeros.

    At once, since a later start of the daemon on the running machine would trust them.
    """
    fd = spool.open(name)
    try:
        state = spool.stat(fd)
        if state.st_nlink > 1:
            return _published(spool, state, offset)
        os.ftruncate(fd, offset)
    finally:
        os.close(fd)
    return Recovered(offset)


def _cut_alone(spool: Spool, name: str, offset: int) -> Recovered:
    """`_cut`, while no other node can claim the file, and write to it at the same time."""
    alone, fds = f"{name}-cut", {"src_dir_fd": spool.fd, "dst_dir_fd": spool.fd}
    os.rename(name, alone, **fds)
    try:
        return _cut(spool, alone, offset)
    finally:
        os.rename(alone, name, **fds)
