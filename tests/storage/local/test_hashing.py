"""The running hash, fed by threads beside the writing."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier, Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.storage.local.hashing import HASHERS, THREAD_THRESHOLD, RunningHash

LARGE = b"galileo " * (THREAD_THRESHOLD // 8)


@pytest.fixture(scope="module")
def hashers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(HASHERS) as threads:
        yield threads


@contextmanager
def busy(hashers: ThreadPoolExecutor) -> Iterator[None]:
    """While it lasts, no thread is free."""
    over = Event()
    try:
        begun = Barrier(HASHERS + 1)
        for _ in range(HASHERS):
            hashers.submit(lambda: begun.wait(10) >= 0 and over.wait())
        begun.wait(10)
        yield
    finally:
        over.set()


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@given(st.lists(st.lists(st.sampled_from([b"", b"a", b"bc" * 500, LARGE]), max_size=4), max_size=6))
def test_it_is_the_hash_of_all_pieces_in_their_order(
    hashers: ThreadPoolExecutor, calls: list[list[bytes]]
) -> None:
    running = RunningHash(hashers)
    for pieces in calls:
        with running.beside(pieces):
            pass
    assert running.hexdigest() == sha1(b"".join(map(b"".join, calls)))


def test_the_writer_hashes_by_itself_where_no_thread_is_free(hashers: ThreadPoolExecutor) -> None:
    running = RunningHash(hashers)
    with busy(hashers):
        for _ in range(3):
            with running.beside([LARGE]):
                pass
        assert not running.behind
        assert running.hexdigest() == sha1(3 * LARGE)


def test_what_is_small_goes_to_no_other_thread() -> None:
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    running = RunningHash(closed)
    with running.beside([b"little"]):
        pass
    assert running.hexdigest() == sha1(b"little")


def test_a_write_that_fails_leaves_no_hash_in_the_way_of_others(
    hashers: ThreadPoolExecutor,
) -> None:
    with suppress(OSError), RunningHash(hashers).beside([LARGE]):
        raise OSError
    other = RunningHash(hashers)
    with other.beside([LARGE]):
        pass
    assert other.hexdigest() == sha1(LARGE)
