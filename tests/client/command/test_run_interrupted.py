"""`galileo-send` interrupted by a signal, or with an output that fails."""

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from client.next_server import Act, NextServer
from helpers.clients import unique_name
from helpers.daemon import DEADLINE, Daemon, poll
from helpers.sending import GALILEO_SEND, Process, files_in, objects, shell, slow_sending

MIB = 1024 * 1024


class Pipe:
    """A pipe that is filled with blanks, and read on demand."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        self.set_blocking(False)
        with suppress(BlockingIOError):
            while True:
                os.write(self.writing, b"\n" * select.PIPE_BUF)
        self.set_blocking(True)

    def set_blocking(self, blocking: bool) -> None:
        os.set_blocking(self.writing, blocking)

    def close_writing(self) -> None:
        os.close(self.writing)
        self.writing = -1

    def read(self) -> bytes:
        """All lines up to the end, without the blanks."""
        text = b"".join(iter(lambda: os.read(self._reading, 1 << 20), b""))
        return text.lstrip(b"\n")

    def close(self) -> None:
        os.close(self._reading)
        if self.writing >= 0:
            os.close(self.writing)


def test_a_second_interruption_after_the_summary_is_no_traceback(
    process: Process, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, signal\natexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
    )
    done = process("--version", environ={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_an_interruption_sums_up_what_was_stored(
    server: Daemon, tmp_path: Path, number: int, status: int
) -> None:
    first, slow, last = unique_name(), unique_name(), unique_name()
    for name, size in ((first, 3), (slow, 5 * MIB), (last, 3)):
        (tmp_path / name).write_bytes(bytes(size))
    paths = [tmp_path / name for name in (first, slow, last)]
    with slow_sending("--parallel", "1", server.url, *paths) as sending:
        server.wait_for("upload.started", name=slow)
        sending.send_signal(number)
        out, err = sending.communicate(timeout=DEADLINE)
    assert sending.returncode == status
    assert out.startswith(b"stored ")
    assert b"Interrupted: 1 of 3 files stored (3 B in " in err
    assert b", 2 not sent." in err
    assert b"Traceback" not in err
    # It is kept if a byte of it has come.
    ended = poll(
        "its end",
        lambda: server.find("upload.kept", name=slow) or server.find("upload.failed", name=slow),
    )
    assert ended is not None
    assert ended["code"] == "disconnected"


def test_an_interruption_before_all_is_loaded_is_no_traceback(
    process: Process, tmp_path: Path
) -> None:
    (tmp_path / "trio.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = process("ws://127.0.0.1:1/", "a", environ={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGINT, "INT"), (signal.SIGTERM, "TERM")], ids=["INT", "TERM"]
)
def test_a_signal_that_the_caller_ignores_stays_ignored(
    server: Daemon, tmp_path: Path, number: int, name: str
) -> None:
    path = tmp_path / unique_name()
    path.write_bytes(bytes(MIB))
    run: list[str | Path] = ["sh", "-c", f"trap '' {name}; exec \"$@\"", "sh", GALILEO_SEND]
    run += ["--limit-rate", "1MB", server.url, path]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sending:
        server.wait_for("upload.started", name=path.name)
        sending.send_signal(number)
        out, err = sending.communicate(timeout=DEADLINE)
    assert (sending.returncode, err) == (0, b"")
    assert out.startswith(b"stored ")


def test_an_interruption_is_told_in_json_too(server: Daemon, tmp_path: Path) -> None:
    name = unique_name()
    (tmp_path / name).write_bytes(bytes(5 * MIB))
    with slow_sending("--json", server.url, tmp_path / name) as sending:
        server.wait_for("upload.started", name=name)
        sending.send_signal(signal.SIGINT)
        out, err = sending.communicate(timeout=DEADLINE)
    assert (sending.returncode, err) == (130, b"")
    summary = objects(out)[-1]
    assert (summary["interrupted"], summary["not_sent"]) == (True, 1)


@pytest.mark.parametrize("as_json", [False, True])
def test_files_without_an_answer_are_not_said_to_be_not_sent(tmp_path: Path, as_json: bool) -> None:
    paths = files_in(tmp_path, *(unique_name() for _ in range(10)))
    with NextServer(Act(silent=True)) as server:
        run = [str(GALILEO_SEND), "--parallel", "1", *["--json"] * as_json]
        run += [server.url, *map(str, paths)]
        with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sending:
            poll("all files", lambda: len(server.stored) == len(paths))
            sending.send_signal(signal.SIGINT)
            out, err = sending.communicate(timeout=DEADLINE)
    assert sending.returncode == 130
    if as_json:
        summary = objects(out)[-1]
        assert (summary["stored"], summary["unconfirmed"], summary["not_sent"]) == (1, 9, 0)
    else:
        assert b"Interrupted: 1 of 10 files stored (" in err
        assert b"), 9 without an answer, which may be stored." in err


def test_a_reader_that_goes_away_does_not_stop_the_sending(server: Daemon, tmp_path: Path) -> None:
    paths = files_in(tmp_path, *(unique_name() for _ in range(20)))
    run = [str(GALILEO_SEND), server.url, *map(str, paths)]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sending:
        assert sending.stdout is not None
        sending.stdout.close()
        assert sending.stderr is not None
        err = sending.stderr.read()
        assert sending.wait(DEADLINE) == 0, err
    assert b"Error" not in err
    assert all((server.directory / path.name).exists() for path in paths)


@pytest.mark.parametrize("json_too", [[], ["--json"]], ids=["lines", "json"])
@pytest.mark.parametrize("line", ['"$@" >/dev/full', '"$@" >&-', '"$@" 2>&-', '"$@" <&- >&- 2>&-'])
def test_an_output_that_takes_nothing_does_not_stop_the_sending(
    server: Daemon, tmp_path: Path, line: str, json_too: list[str]
) -> None:
    paths = files_in(tmp_path, *(unique_name() for _ in range(3)))
    done = shell(line, *json_too, server.url, *paths)
    assert done.returncode == line.count("full")
    assert all((server.directory / path.name).exists() for path in paths)
    assert done.stderr.count(b"3 of 3 files stored") == (
        "2>&-" not in line and (not json_too or "full" in line)
    )
    told = b"galileo-send: standard output cannot be written: No space left on device.\n"
    assert done.stderr.count(told) == line.count("full")
    assert b"mistake" not in done.stderr
    assert shell(line, *json_too, server.url, tmp_path / "none").returncode == 1


@pytest.fixture
def full() -> Iterator[Pipe]:
    """A pipe that nobody reads, with no room."""
    with closing(Pipe()) as pipe:
        yield pipe


@pytest.mark.parametrize("json_too", [[], ["--json"]], ids=["lines", "json"])
@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "non-blocking"])
def test_a_slow_reader_delays_no_upload_and_gets_every_line(
    server: Daemon, tmp_path: Path, full: Pipe, json_too: list[str], blocking: bool
) -> None:
    paths = files_in(tmp_path, *(unique_name() for _ in range(20)))
    full.set_blocking(blocking)
    run = [str(GALILEO_SEND), *json_too, server.url, *map(str, paths)]
    with subprocess.Popen(run, stdout=full.writing, stderr=subprocess.PIPE) as sending:
        poll("the uploads", lambda: all((server.directory / path.name).exists() for path in paths))
        full.close_writing()
        text = full.read()
        assert sending.wait(DEADLINE) == 0
    for path in paths:
        assert path.name.encode() in text
    if json_too:
        events = [line["event"] for line in objects(text)]
        assert [events.count(event) for event in ("started", "stored", "summary")] == [20, 20, 1]


@pytest.mark.parametrize(
    ("number", "statuses"), [(signal.SIGINT, [130]), (signal.SIGTERM, [143, -15])]
)
def test_two_signals_end_it_though_nobody_reads_its_output(
    server: Daemon, tmp_path: Path, full: Pipe, number: int, statuses: list[int]
) -> None:
    name = unique_name()
    (tmp_path / name).write_bytes(bytes(5 * MIB))
    run = [str(GALILEO_SEND), "--json", "--limit-rate", "100kB", server.url, str(tmp_path / name)]
    with subprocess.Popen(run, stdout=full.writing, stderr=full.writing) as sending:
        server.wait_for("upload.started", name=name)
        sending.send_signal(number)
        # Without a byte there is nothing to keep.
        ends = ("upload.kept", "upload.failed")
        poll("the end", lambda: any(server.find(end, name=name) for end in ends))
        while sending.poll() is None:  # the first signal may still be handled
            sending.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                sending.wait(0.1)
    assert sending.returncode in statuses
