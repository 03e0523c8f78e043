"""Standard input, sent by `galileo-send`."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from helpers.clients import some_bytes, unique_name
from helpers.daemon import DEADLINE, Daemon
from helpers.receivers import Peer, PerlReceiver, Scripted
from helpers.sending import GALILEO_SEND, Command, Process, shell, slow_sending

MIB = 1024 * 1024


def test_standard_input_is_put_aside_and_sent(process: Process, server: Daemon) -> None:
    name, data = unique_name(), some_bytes(3 * MIB)
    done = process("--name", name, server.url, "-", stdin=data)
    assert done.returncode == 0, done.stderr
    assert (server.directory / name).read_bytes() == data


def test_standard_input_without_a_name_is_called_stdin(
    process: Process, perl: PerlReceiver
) -> None:
    assert process(perl.url, "-", stdin=b"").returncode == 0
    metadata = perl.files[0].metadata
    assert (metadata["name"], metadata["size"]) == ("stdin", 0)


def test_standard_input_of_a_known_size_is_sent_as_it_comes(
    process: Process, server: Daemon, tmp_path: Path
) -> None:
    name, data = unique_name(), some_bytes(3 * MIB)
    done = process(
        "--name", name, "--size", str(len(data)), server.url, "-", stdin=data,
        environ={"TMPDIR": str(tmp_path / "none")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (server.directory / name).read_bytes() == data


@pytest.mark.parametrize(
    ("size", "said"),
    [(4, b"has more than the 4 bytes"), (6, b"has 5 bytes, not the 6 declared")],
)
def test_standard_input_of_another_size_is_an_error(
    process: Process, server: Daemon, size: int, said: bytes
) -> None:
    done = process("--size", str(size), server.url, "-", stdin=b"12345")
    assert done.returncode == 1
    assert said in done.stderr


def test_standard_input_that_is_a_file_is_sent_from_where_it_stands(
    server: Daemon, tmp_path: Path
) -> None:
    name = unique_name()
    (tmp_path / "a").write_bytes(b"0123456789")
    with (tmp_path / "a").open("rb", buffering=0) as file:
        file.seek(3)
        done = subprocess.run(
            [GALILEO_SEND, "--name", name, server.url, "-"],
            stdin=file, capture_output=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (server.directory / name).read_bytes() == b"3456789"


def test_standard_input_that_is_nothing_is_an_empty_file(
    process: Process, perl: PerlReceiver
) -> None:
    assert process(perl.url, "-").returncode == 0  # /dev/null
    assert perl.files[0].data == b""


def test_standard_input_that_was_put_aside_is_tried_again(process: Process) -> None:
    got: list[bytes] = []

    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear()
        peer.say(ready=True)
        peer.read_frame()
        if peer.number == 1:
            peer.reset()
            return
        peer.say(error="got it", fatal=True)
        got.append(b"again")
        peer.wait_for_end()

    with Scripted(script) as host:
        done = process("--retry-delay", "0", host.url, "-", stdin=b"data")
    assert done.returncode == 1
    assert got == [b"again"]


def test_no_room_for_standard_input_is_told(server: Daemon) -> None:
    limited: list[str | Path] = [
        "sh",
        "-c",
        'ulimit -f 1; exec "$@"',
        "sh",
        GALILEO_SEND,
        server.url,
        "-",
    ]
    done = subprocess.run(limited, input=some_bytes(100_000), capture_output=True, check=False)
    assert done.returncode == 1
    assert b"Standard input cannot be copied to a temporary file" in done.stderr
    assert b"use --size" in done.stderr


def test_an_interruption_while_standard_input_says_nothing_is_heard(server: Daemon) -> None:
    with slow_sending(server.url, "-") as sending:
        assert sending.stdin is not None
        # More than a pipe holds: when it is written, some of it was read.
        sending.stdin.write(bytes(200_000))
        sending.stdin.flush()
        sending.send_signal(signal.SIGINT)
        assert sending.wait(DEADLINE) == 130


@pytest.mark.parametrize("size", [[], ["--size", "0"]], ids=["put aside", "as it comes"])
def test_standard_input_that_is_closed_is_an_error_and_no_empty_file(
    server: Daemon, size: list[str]
) -> None:
    name = unique_name()
    done = shell('"$@" <&-', "--name", name, *size, server.url, "-")
    assert done.returncode == 1
    assert done.stderr == (b"galileo-send: -: Standard input is closed.\n")
    assert not (server.directory / name).exists()


def test_a_tmpdir_that_cannot_be_used_is_told(process: Process, tmp_path: Path) -> None:
    none = tmp_path / "none"
    done = process("ws://127.0.0.1:1/", "-", stdin=b"x", environ={"TMPDIR": str(none)})
    assert done.returncode == 1
    assert (
        f"cannot be copied to a temporary file in {none}: No such file or directory.".encode()
        in done.stderr
    )


def test_as_long_as_none_was_read_standard_input_is_tried_again(process: Process) -> None:
    got: list[bytes] = []

    def script(peer: Peer) -> None:
        if peer.number < 3:
            peer.reset()
            return
        peer.accept()
        peer.hear()
        peer.say(ready=True)
        got.append(peer.read_frame()[1])
        peer.reset()

    with Scripted(script) as host:
        done = process("--size", "4", "--retry-delay", "0", host.url, "-", stdin=b"data")
        assert host.connections == 3
    assert done.returncode == 1
    assert got == [b"data"]
    assert b"There is no retry: the input cannot be read again." in done.stderr


def test_no_folder_for_standard_input_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    # Ends before pytest ends its capture, which needs a temporary file.
    with open(reading, "rb"), open(writing, "wb"), monkeypatch.context() as patched:
        # Some /tmp can be written wherever tests run.
        patched.delenv("TMPDIR", raising=False)
        patched.setattr("tempfile.tempdir", None)
        patched.setattr("tempfile._candidate_tempdir_list", list)
        patched.setattr("galileod.client.command.stdin.stdin_job.__defaults__", (reading,))
        status, _, err = command("--retries", "0", "ws://127.0.0.1:1/", "-")
    assert status == 1
    assert (
        "Standard input cannot be copied to a temporary file: No usable temporary directory" in err
    )
