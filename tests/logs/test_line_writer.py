"""Lines in real pipes, sockets and files: each is there as a whole, or lost and counted."""

import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from galileod.logs.line_writer import LineWriter

pytestmark = pytest.mark.timeout(30)

LONG = b"l" * 20_000 + b"\n"
"""A line that a pipe may take in parts."""

BLOCK = b"f" * select.PIPE_BUF


class Pipe:
    """A pipe with a writer of lines."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self._reading = open(reading, "rb", buffering=0)  # noqa: SIM115  closed by `close`
        self._writing = open(writing, "wb", buffering=0)  # noqa: SIM115
        self.lines = LineWriter(writing)

    def fill(self) -> int:
        """Write until there is no room; returns the number of bytes."""
        size = 0
        self.set_blocking(False)
        with suppress(BlockingIOError):
            while True:
                size += os.write(self._writing.fileno(), BLOCK)
        self.set_blocking(True)
        return size

    def set_blocking(self, blocking: bool) -> None:
        os.set_blocking(self._writing.fileno(), blocking)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += os.read(self._reading.fileno(), size - len(data))
        return data

    def close_reader(self) -> None:
        self._reading.close()

    def close(self) -> bytes:
        """Close the pipe; returns what nobody has read."""
        self._writing.close()
        left = b"" if self._reading.closed else self._reading.read()
        self._reading.close()
        return left


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_lines_are_written_together_as_far_as_a_pipe_takes_them_at_once() -> None:
    lines = [b"%03d" % number * 100 + b"\n" for number in range(20)]
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        assert LineWriter(there.fileno()).write([*lines, LONG, *lines]) == 0
        there.close()
        writes = list(iter(lambda: here.recv(1 << 20), b""))
    expected = [b"".join(lines[:13]), b"".join(lines[13:])]
    assert writes == [*expected, LONG, *expected]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_slow_reader_gets_every_line_in_order(pipe: Pipe, blocking: bool) -> None:
    lines = [b"%d\n" % number * 100 for number in range(1000)] + [LONG, LONG]
    lost: list[int] = []
    filled = pipe.fill()
    pipe.set_blocking(blocking)
    thread = threading.Thread(target=lambda: lost.append(pipe.lines.write(lines)))
    thread.start()
    pipe.read(filled)
    assert pipe.read(sum(map(len, lines))) == b"".join(lines)
    thread.join()
    assert lost == [0]


@pytest.mark.parametrize("line", [b"short\n", LONG])
def test_a_reader_that_is_gone_costs_the_lines_and_is_not_waited_for(
    pipe: Pipe, line: bytes
) -> None:
    pipe.fill()
    pipe.close_reader()
    assert pipe.lines.write([line] * 3) == 3


def test_a_closed_descriptor_costs_the_lines(tmp_path: Path) -> None:
    with open(tmp_path / "log", "wb") as file:
        lines = LineWriter(file.fileno())
    assert lines.write([b"a\n", LONG]) == 2
    lines.write_at_once(LONG)


def test_a_line_that_would_have_to_wait_is_lost(pipe: Pipe) -> None:
    filled = pipe.fill()
    pipe.lines.write_at_once(b"no room\n")
    pipe.read(filled - 1)
    pipe.lines.write_at_once(LONG)
    pipe.lines.write_at_once(b"room\n")
    assert pipe.read(6) == b"froom\n"
    pipe.lines.write_at_once(LONG)
    assert pipe.close() == LONG


FILLING = """
import os, resource, sys
from galileod.logs.line_writer import LineWriter
lines = LineWriter(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND))
group = [b"%d" % number * 9 + b"\\n" for number in range(10)]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
print(lines.write(group), lines.write(group))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
print(lines.write(group))
"""
"""Writes to a file that takes no more than some bytes, as on a full disk, and then any number."""


@pytest.mark.parametrize("room", [0, 1, 9, 10, 35, 99, 100])
def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path, room: int) -> None:
    path = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-c", FILLING, path, str(room)],
        capture_output=True, check=True, text=True, timeout=25,
    )  # fmt: skip
    group = [str(number) * 9 for number in range(10)]
    begun = -(-room // 10)
    assert path.read_text().split("\n") == [*group[:begun], *group, ""]
    assert done.stdout == f"{10 - begun} 10\n0\n"
