"""The hash whose state can be kept, against the one of hashlib."""

import hashlib
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.storage.s3.sha1 import BLOCK, Sha1

PIECES = st.lists(st.binary(max_size=200) | st.binary(min_size=BLOCK, max_size=BLOCK), max_size=12)


def expected(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


@given(pieces=PIECES)
def test_the_hash_does_not_depend_on_how_the_data_is_split(pieces: list[bytes]) -> None:
    sha1, data = Sha1(), b""
    for piece in pieces:
        sha1.update(piece)
        data += piece
        assert sha1.hexdigest() == expected(data)
        assert sha1.length == len(data)


@given(pieces=PIECES, kept=st.sets(st.integers(0, 11)))
def test_the_hash_goes_on_from_a_state_taken_anywhere(pieces: list[bytes], kept: set[int]) -> None:
    sha1 = Sha1()
    for number, piece in enumerate(pieces):
        sha1.update(piece)
        if number in kept:
            sha1 = Sha1(sha1.state())
    assert sha1.hexdigest() == expected(b"".join(pieces))


def test_a_copy_goes_on_by_itself() -> None:
    sha1 = Sha1()
    sha1.update(b"first")
    copy = sha1.copy()
    sha1.update(b"second")
    copy.update(b"other")
    assert sha1.hexdigest() == expected(b"firstsecond")
    assert copy.hexdigest() == expected(b"firstother")


@pytest.mark.parametrize(
    "data",
    [
        b"12345",
        bytearray(b"12345"),
        memoryview(b"0123456")[1:6],
        memoryview(bytearray(b"0123456"))[1:6],
    ],
)
def test_data_may_be_of_any_kind(data: bytes | bytearray | memoryview) -> None:
    sha1 = Sha1()
    sha1.update(data)
    assert sha1.hexdigest() == expected(b"12345")


def test_data_with_gaps_is_refused() -> None:
    with pytest.raises(BufferError):
        Sha1().update(memoryview(b"012345")[::2])


def test_the_state_is_the_same_on_each_machine() -> None:
    sha1 = Sha1()
    sha1.update(b"a" * BLOCK + b"bc")
    assert sha1.state().hex() == "da4968eb2e377c1f884e8f5283524bebe74ebdbd00000000000000426263"


@pytest.mark.parametrize("length", [(1 << 29) - BLOCK, 5 << 30, (1 << 61) - 2 * BLOCK])
def test_the_number_of_bytes_is_carried_over(length: int) -> None:
    begun = Sha1()
    begun.update(b"x" * BLOCK)
    state = begun.state()
    sha1 = Sha1(state[:20] + length.to_bytes(8, "big"))
    sha1.update(b"y" * (BLOCK + 1))
    assert sha1.length == length + BLOCK + 1
    assert Sha1(sha1.state()).hexdigest() == sha1.hexdigest() == padded(state, length)


def padded(state: bytes, length: int) -> str:
    """The hash of `length` bytes that end in `state`, and then 65, from its definition."""
    tail = b"y" * (BLOCK + 1)
    padding = b"\x80" + bytes((BLOCK - 9 - len(tail)) % BLOCK)
    bits = ((length + len(tail)) * 8).to_bytes(8, "big")
    sha1 = Sha1(state[:20] + bytes(8))
    sha1.update(tail + padding + bits)
    return sha1.state()[:20].hex()


@pytest.mark.parametrize(
    "state", [b"", bytes(27), bytes(29), bytes(20) + (1 << 61).to_bytes(8, "big")]
)
def test_what_is_no_state_is_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="a state of a hash"):
        Sha1(state)


def test_other_threads_run_while_data_is_hashed() -> None:
    data, ran, may_run = bytes(8 << 20), threading.Event(), threading.Lock()

    def run() -> None:
        with may_run:
            ran.set()

    may_run.acquire()
    thread = threading.Thread(target=run)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # no thread has to give way to another before
    try:
        may_run.release()
        sha1, left = Sha1(), 1000
        while not ran.is_set() and left:
            sha1.update(data)
            left -= 1
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert left
