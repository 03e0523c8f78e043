"""The running hash, fed by threads beside the writing, and from what is read back."""

import hashlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier, Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.storage.local.hashing import HASHERS, THREAD_THRESHOLD, RunningHash

LARGE = b"galileo " * (THREAD_THRESHOLD // 8)

PIECES = st.lists(st.sampled_from([b"", b"a", b"bc" * 500, LARGE]), max_size=4)


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


def feed(running: RunningHash, pieces: list[bytes], *, fail: bool = False) -> None:
    """Write the pieces where the hash stands, or fail to do so."""
    with suppress(OSError), running.beside(pieces, running.position):
        if fail:
            raise OSError


@given(st.lists(PIECES, max_size=6))
def test_it_is_the_hash_of_all_pieces_in_their_order(
    hashers: ThreadPoolExecutor, calls: list[list[bytes]]
) -> None:
    running = RunningHash(hashers)
    for pieces in calls:
        feed(running, pieces)
    assert running.hexdigest() == sha1(b"".join(map(b"".join, calls)))
    assert running.position == sum(len(piece) for pieces in calls for piece in pieces)


@given(st.lists(st.tuples(PIECES, st.booleans()), max_size=6))
def test_of_pieces_that_could_not_be_written_nothing_is_in_it(
    hashers: ThreadPoolExecutor, calls: list[tuple[list[bytes], bool]]
) -> None:
    running = RunningHash(hashers)
    for pieces, fail in calls:
        feed(running, pieces, fail=fail)
    written = b"".join(b"".join(pieces) for pieces, fail in calls if not fail)
    assert running.hexdigest() == sha1(written)
    assert running.position == len(written)


@given(
    st.lists(st.sampled_from([b"a", b"bc" * 500, LARGE]), max_size=6),
    st.integers(0, 6),
    st.data(),
)
def test_it_is_level_again_once_what_was_missing_is_read_back(
    hashers: ThreadPoolExecutor, writes: list[bytes], missing: int, data: st.DataObject
) -> None:
    content = b"".join(writes)
    ends = [0, *itertools.accumulate(map(len, writes))]
    running = RunningHash(hashers)
    for number, piece in enumerate(writes):
        with running.beside([piece], ends[number] if number >= missing else -1):
            if data.draw(st.booleans()):  # another thread reads back while this writes
                stop = data.draw(st.integers(0, ends[number]))
                running.extend([content[running.position : stop]], running.position)
    running.extend([content[running.position :]], running.position)
    assert running.hexdigest() == sha1(content)
    assert running.position == len(content)


def test_what_was_read_back_twice_counts_once(hashers: ThreadPoolExecutor) -> None:
    running = RunningHash(hashers)
    for _ in range(2):
        running.extend([b"abc"], 0)
    assert running.hexdigest() == sha1(b"abc")


def test_the_writer_hashes_by_itself_where_no_thread_is_free(hashers: ThreadPoolExecutor) -> None:
    running = RunningHash(hashers)
    with busy(hashers):
        for _ in range(3):
            feed(running, [LARGE])
        assert not running.pending
        assert running.hexdigest() == sha1(3 * LARGE)


def test_what_is_small_goes_to_no_other_thread() -> None:
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    running = RunningHash(closed)
    feed(running, [b"little"])
    assert running.hexdigest() == sha1(b"little")


def test_a_write_that_fails_leaves_no_hash_in_the_way_of_others(
    hashers: ThreadPoolExecutor,
) -> None:
    feed(RunningHash(hashers), [LARGE], fail=True)
    other = RunningHash(hashers)
    feed(other, [LARGE])
    assert other.hexdigest() == sha1(LARGE)
