"""The command `galileo-send`, as people and scripts use it."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from helpers.clients import open_websocket, some_bytes, unique_name
from helpers.daemon import DEADLINE, Daemon, Daemons, poll
from helpers.receivers import Peer, PerlReceiver, Scripted
from helpers.sending import GALILEO_SEND, Command, Process

from galileod import __version__
from galileod.client.command.main import cli

MIB = 1024 * 1024


def files_in(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / name for name in names]
    for path in paths:
        path.write_bytes(f"content of {path.name}".encode("utf-8", "surrogateescape"))
    return paths


def objects(output: str | bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_stored_file_is_a_line_on_standard_output(
    command: Command, server: Daemon, tmp_path: Path
) -> None:
    (path,) = files_in(tmp_path, unique_name())
    status, out, err = command(server.url, path)
    assert (status, err) == (0, "")
    assert out.startswith(f"stored {path} (")
    assert out.count("\n") == 1
    assert (server.directory / path.name).read_bytes() == path.read_bytes()


def test_one_failure_leaves_the_others_alone(
    command: Command, server: Daemon, tmp_path: Path
) -> None:
    first, second = files_in(tmp_path, unique_name(), unique_name())
    status, out, err = command(server.url, first, tmp_path / "none", tmp_path, second)
    assert status == 1
    assert {line.split()[1] for line in out.splitlines()} == {str(first), str(second)}
    missing, folder, summary = sorted(err.splitlines(), key=lambda line: "stored" in line)
    assert {missing, folder} == {
        f"galileo-send: {tmp_path}/none cannot be read: No such file or directory.",
        f"galileo-send: {tmp_path} is a directory. Use --recursive to send its files.",
    }
    assert summary.startswith("2 of 4 files stored (")
    assert summary.endswith(", 2 failed.")


def test_what_cannot_be_read_as_a_file_is_told(
    command: Command, server: Daemon, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    status, _, err = command(server.url, tmp_path / "fifo")
    assert status == 1
    assert "is not a regular file" in err


def test_quiet_says_only_what_failed(command: Command, server: Daemon, tmp_path: Path) -> None:
    first, second = files_in(tmp_path, unique_name(), unique_name())
    assert command("-q", server.url, first, second) == (0, "", "")
    status, out, err = command("-q", server.url, first, tmp_path / "none")
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1


def test_verbose_says_more(command: Command, server: Daemon, tmp_path: Path) -> None:
    (path,) = files_in(tmp_path, unique_name())
    status, _, err = command("-v", server.url, path)
    assert status == 0
    assert f"sending 1 file to {server.address[0]}:{server.address[1]}." in err
    assert hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest() in err


def test_json_is_one_object_a_line(command: Command, server: Daemon, tmp_path: Path) -> None:
    path = tmp_path / unique_name()
    path.write_bytes(data := some_bytes(3 * MIB))
    status, out, err = command("--json", "--hash", "sha256", server.url, path, tmp_path / "none")
    assert (status, err) == (1, "")
    *told, summary = objects(out)
    events = [line["event"] for line in told if line.get("file") == str(path)]
    assert events[0] == "started"
    assert events[-1] == "stored"
    assert set(events[1:-1]) == {"progress"}
    stored = next(line for line in told if line["event"] == "stored")
    assert stored["name"] == stored["stored_name"] == path.name
    assert stored["size"] == len(data)
    assert stored["hashes"] == {"sha256": hashlib.sha256(data).hexdigest()}
    assert stored["verified"] is True
    assert stored["attempts"] == 1
    failed = next(line for line in told if line["event"] == "failed")
    assert failed["kind"] == "source"
    assert summary["event"] == "summary"
    assert (summary["stored"], summary["failed"], summary["not_sent"]) == (1, 1, 0)
    assert summary["bytes"] == len(data)
    assert summary["interrupted"] is False


def test_json_has_all_that_the_server_said(
    command: Command, daemon: Daemons, tmp_path: Path
) -> None:
    host = daemon({"limits": {"max_file_size": 3}})
    (path,) = files_in(tmp_path, "a")
    status, out, _ = command("--json", host.url, path)
    assert status == 1
    failed = next(line for line in objects(out) if line["event"] == "failed")
    assert (failed["kind"], failed["code"], failed["fatal"]) == ("refused", "too_large", True)
    assert failed["signal"]["limit"] == 3


def test_two_hundred_files_are_stored(command: Command, server: Daemon, tmp_path: Path) -> None:
    stem = unique_name("")
    paths = files_in(tmp_path, *(f"{stem}-{number}" for number in range(200)))
    status, out, err = command("--parallel", "8", server.url, *paths)
    assert status == 0
    assert len(out.splitlines()) == 200
    assert err.startswith("200 of 200 files stored (")
    for path in paths:
        assert (server.directory / path.name).read_bytes() == path.read_bytes()


def test_no_more_than_so_many_are_sent_at_once(command: Command, tmp_path: Path) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def script(peer: Peer) -> None:
        nonlocal running, most
        peer.accept()
        with lock:
            running += 1
            most = max(most, running)
        peer.take_file()
        with lock:
            running -= 1
        peer.say(close=True)
        peer.goodbye()

    paths = files_in(tmp_path, *map(str, range(20)))
    with Scripted(script) as host:
        assert command("--parallel", "2", host.url, *paths)[0] == 0
    assert most == 2


@pytest.mark.parametrize(
    "name", ["🚀 Rakete 👩‍🚀.bin", "Grüße.txt", "[bold]x[red]", "-dash", "tab\there", "a b  c"]
)
def test_names_of_any_kind_are_sent_as_they_are(
    command: Command, perl: PerlReceiver, tmp_path: Path, name: str
) -> None:
    (path,) = files_in(tmp_path, name)
    status, out, _ = command(perl.url, path)
    assert status == 0
    assert perl.files[0].metadata["name"] == name
    assert name.replace("\t", r"\t") in out


def test_a_name_that_is_no_text_is_sent_and_printed_all_the_same(
    process: Process, perl: PerlReceiver, tmp_path: Path
) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.bin"
    with open(path, "wb"):
        pass
    done = process(perl.url, os.fsdecode(path))
    assert done.returncode == 0, done.stderr
    assert rb"\udcff.bin" in done.stdout
    assert perl.files[0].metadata["name"] == "\udcff.bin"


def test_galileod_is_reached_over_its_unix_socket(
    command: Command, daemon: Daemons, tmp_path: Path
) -> None:
    host = daemon({"server": {"listen": [f"unix:{tmp_path}/g.sock"]}})
    (path,) = files_in(tmp_path, "a")
    status, _, err = command(f"ws+unix:{tmp_path}/g.sock:/upload", path)
    assert status == 0, err
    assert (host.directory / "a").read_bytes() == path.read_bytes()


def test_a_daemon_without_room_for_a_connection_is_told(
    command: Command, daemon: Daemons, tmp_path: Path
) -> None:
    host = daemon({"server": {"max_connections": 1}})
    (path,) = files_in(tmp_path, "a")
    with open_websocket(host.url):
        status, _, err = command("--retries", "0", host.url, path)
    assert status == 1
    assert "HTTP 503" in err
    assert "Try again later." in err


def test_a_daemon_that_is_told_a_wrong_path_says_so(
    command: Command, server: Daemon, tmp_path: Path
) -> None:
    (path,) = files_in(tmp_path, "a")
    status, _, err = command(server.url + "/elsewhere", path)
    assert status == 1
    assert "HTTP 404" in err
    assert "Check the path in the URL." in err


def test_a_folder_is_sent_with_recursive(command: Command, server: Daemon, tmp_path: Path) -> None:
    name = unique_name()
    files_in(tmp_path / "b", name)
    files_in(tmp_path / "a", name)
    status, out, err = command("--recursive", server.url, tmp_path)
    assert status == 0
    assert len(out.splitlines()) == 2
    assert f"several files have the same name ({name})" in err
    assert len([stored for stored in server.visible() if stored.startswith(name[:-4])]) == 2


def test_an_empty_folder_is_nothing_to_send(
    command: Command, server: Daemon, tmp_path: Path
) -> None:
    status, out, err = command("-r", server.url, tmp_path)
    assert (status, out) == (0, "")
    assert "there are no files to send" in err


def test_a_name_may_be_given(command: Command, server: Daemon, tmp_path: Path) -> None:
    (path,) = files_in(tmp_path, "a")
    name = unique_name()
    status, out, _ = command("--name", name, server.url, path)
    assert status == 0
    assert f"stored {path} as {name} (" in out
    assert name in server.visible()


def test_the_chunksize_is_for_servers_that_give_none(
    command: Command, perl: PerlReceiver, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(some_bytes(100_000))
    assert command("--chunksize", "10kB", perl.url, tmp_path / "a")[0] == 0
    assert set(perl.files[0].chunks) == {10_000}


def test_no_hash_is_sent_where_none_is_wanted(
    command: Command, perl: PerlReceiver, tmp_path: Path
) -> None:
    (path,) = files_in(tmp_path, "a")
    assert command("--hash", "none", perl.url, path)[0] == 0
    assert perl.files[0].claim is None


def test_a_rate_can_be_set(command: Command, perl: PerlReceiver, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(data := some_bytes(20_000))
    assert command("--limit-rate", "1MB", perl.url, tmp_path / "a")[0] == 0
    assert perl.files[0].data == data


def test_a_token_comes_from_a_file_or_the_environment(
    command: Command, perl: PerlReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = files_in(tmp_path, "a")
    (tmp_path / "token").write_text("from-file\n")
    assert command("-v", "--token-file", tmp_path / "token", perl.url, path)[0] == 0
    monkeypatch.setenv("GALILEO_TOKEN", "from-environment \n")
    assert command("-v", perl.url, path)[0] == 0
    assert command("-v", "--token-file", tmp_path / "token", perl.url, path)[0] == 0
    assert [file.token for file in perl.files] == [
        "Bearer from-file", "Bearer from-environment", "Bearer from-file",
    ]  # fmt: skip


def test_a_token_over_a_bare_line_is_warned_about(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = files_in(tmp_path, "a")
    monkeypatch.setenv("GALILEO_TOKEN", "s3cret")
    _, _, err = command("--retries", "0", "ws://galileod.invalid/", path)
    assert "the token is sent unencrypted" in err
    assert "s3cret" not in err


MISUSES: Mapping[str, tuple[list[str], str]] = {
    "no url": ([], "Missing argument 'URL'"),
    "no file": (["ws://h/"], "Missing argument 'FILE...'"),
    "no such scheme": (["ftp://h/", "a"], 'Expected something like "wss://host/upload"'),
    "a secret in the url": (["ws://u:p@h/", "a"], "$GALILEO_TOKEN"),
    "no such flag": (["--sze", "5", "ws://h/", "a"], "No such option"),
    "two inputs": (["ws://h/", "-", "-"], "only once"),
    "size for a file": (["--size", "5", "ws://h/", "a"], "for standard input only"),
    "size for more": (["--size", "5", "ws://h/", "-", "a"], "for standard input only"),
    "no size": (["--size", "x", "ws://h/", "-"], "expected a size such as"),
    "name for two": (["--name", "x", "ws://h/", "a", "b"], "--name is for a single file"),
    "name for a folder": (["-r", "--name", "x", "ws://h/", "a"], "--name is for a single file"),
    "an empty name": (["--name", "", "ws://h/", "a"], "must not be empty"),
    "no such hash": (["--hash", "md17", "ws://h/", "a"], "Unknown hash 'md17'"),
    "an empty hash": (["--hash", "", "ws://h/", "a"], "Unknown hash ''"),
    "a hash of any length": (["--hash", "shake_128", "ws://h/", "a"], "Unknown hash"),
    "no chunk": (["--chunksize", "0", "ws://h/", "a"], "chunksize must be from 1"),
    "no rate": (["--limit-rate", "0", "ws://h/", "a"], "above 0"),
    "no time": (["--timeout", "0", "ws://h/", "a"], "timeout must be a number of seconds above 0"),
    "a wrong time": (["--timeout", "soon", "ws://h/", "a"], "expected a duration such as"),
    "none at once": (["--parallel", "0", "ws://h/", "a"], "an integer from 1 to 256."),
    "no number": (["-p", "x", "ws://h/", "a"], "expected an integer from 1 to 256."),
    "too many retries": (["--retries", "1001", "ws://h/", "a"], "from 0 to 1000"),
    "an empty path": (["ws://h/", ""], "FILE must not be empty."),
    "no port": (["ws://h:0/", "a"], "The port must be from 1 to 65535."),
    "a hash of no server's": (["--hash", "md5", "ws://h/", "a"], "Unknown hash 'md5'"),
    "quiet and verbose": (["-q", "-v", "ws://h/", "a"], "exclude each other"),
    "no token file": (["--token-file", "none", "ws://h/", "a"], "none cannot be read"),
    "no authority": (["--ca", "none", "wss://h/", "a"], "CA file none cannot be used"),
    "no certificate": (["--ca", "/dev/null", "wss://h/", "a"], "it contains no certificate"),
}


@pytest.mark.parametrize("case", MISUSES)
def test_wrong_usage_is_one_line_and_status_2(command: Command, case: str) -> None:
    arguments, said = MISUSES[case]
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("galileo-send: ")
    assert said in err
    assert err.count("\n") == 1


def test_an_empty_token_file_and_a_wrong_proxy_are_wrong_usage(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_bytes(b"\n")
    assert command("--token-file", tmp_path / "token", "ws://h/", "a")[0] == 2
    (tmp_path / "token").write_bytes(b"\xff")
    assert command("--token-file", tmp_path / "token", "ws://h/", "a")[0] == 2
    (tmp_path / "token").write_bytes(b"two\nlines")
    status, _, err = command("--token-file", tmp_path / "token", "ws://h/", "a")
    assert status == 2
    assert "two" not in err
    monkeypatch.setenv("ALL_PROXY", "socks5://p")
    assert command("ws://h/", "a")[0] == 2


def test_help_has_examples_and_the_version_is_ours(command: Command) -> None:
    status, out, _ = command("--help")
    assert status == 0
    assert "Examples:" in out
    assert command("--version") == (0, f"galileo-send {__version__}\n", "")


@pytest.mark.parametrize("page", ["galileo-send.md", "galileo-send.1"])
def test_every_flag_is_described(page: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / page).read_text().replace("\\-", "-")
    for parameter in cli.params:
        if isinstance(parameter, click.Option) and parameter.name not in ("version", "help"):
            assert [flag for flag in parameter.opts if flag not in text] == []


def test_a_mistake_of_ours_is_a_sentence_too(
    command: Command, server: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = files_in(tmp_path, "a")

    def broken(*_: object, recursive: bool) -> None:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr("galileod.client.command.run.collect", broken)
    status, _, err = command(server.url, path)
    assert status == 1
    assert "internal error, please report it: ZeroDivisionError: inside (test_cli.py:" in err


def test_a_file_that_may_not_be_read_fails_alone(daemon: Daemons, tmp_path: Path) -> None:
    host = daemon()
    good, secret = files_in(tmp_path, "good", "secret")
    os.chmod(secret, 0)
    run: list[str | Path] = [GALILEO_SEND, "--json", host.url, secret, good]
    if os.geteuid() == 0:  # who may read everything
        run = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *run]
    done = subprocess.run(run, capture_output=True, timeout=DEADLINE, check=False)
    assert done.returncode == 1, done.stderr
    told = {(line["event"], line.get("name")) for line in objects(done.stdout)}
    assert {("failed", "secret"), ("stored", "good"), ("summary", None)} <= told
    assert ("started", "secret") not in told


def test_what_is_not_sent_has_not_started(command: Command, server: Daemon, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    _, out, _ = command("--json", server.url, tmp_path, tmp_path / "none", tmp_path / "fifo")
    assert [line["event"] for line in objects(out)] == ["failed"] * 3 + ["summary"]


def test_a_path_is_told_once_where_a_file_is_not_of_its_size(
    command: Command, server: Daemon
) -> None:
    _, _, err = command(server.url, "/proc/self/status")
    assert err.startswith("galileo-send: /proc/self/status has more than the 0 bytes")


def test_one_chunk_and_no_hash_are_told_as_such(
    command: Command, server: Daemon, tmp_path: Path
) -> None:
    (path,) = files_in(tmp_path, unique_name())
    _, _, err = command("-v", "--hash", "none", server.url, path)
    assert err.splitlines()[-1].startswith("  1 chunk, ")
    assert err.splitlines()[-1].endswith(" s")


def test_a_token_file_for_everybody_is_warned_about(
    command: Command, server: Daemon, tmp_path: Path
) -> None:
    (path,) = files_in(tmp_path, unique_name())
    token = tmp_path / "token"
    token.write_text("s3cret")
    for mode, warned in ((0o644, True), (0o640, False)):
        token.chmod(mode)
        _, _, err = command("--token-file", token, server.url, path)
        assert ("readable by all users" in err) is warned


def test_a_second_interruption_after_the_summary_is_no_traceback(
    process: Process, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, os, signal\natexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
    )
    done = process("--version", environ={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete_it(process: Process, shell: str) -> None:
    done = process(environ={"_GALILEO_SEND_COMPLETE": f"{shell}_source"})
    if shell == "bash" and b"Couldn't detect Bash version" in done.stderr:
        pytest.skip("no bash here")
    assert done.returncode == 0
    assert b"galileo-send" in done.stdout


def test_flags_are_completed(process: Process) -> None:
    done = process(
        environ={
            "_GALILEO_SEND_COMPLETE": "bash_complete",
            "COMP_WORDS": "galileo-send --rec",
            "COMP_CWORD": "1",
        }
    )
    assert done.stdout == b"plain,--recursive\n"


def test_standard_input_is_put_aside_and_sent(process: Process, server: Daemon) -> None:
    name, data = unique_name(), some_bytes(3 * MIB)
    done = process("--name", name, server.url, "-", stdin=data)
    assert done.returncode == 0, done.stderr
    assert (server.directory / name).read_bytes() == data


def test_standard_input_without_a_name_is_called_stdin(
    process: Process, perl: PerlReceiver
) -> None:
    assert process(perl.url, "-", stdin=b"").returncode == 0
    assert perl.files[0].metadata == {"name": "stdin", "size": 0}


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


def slow_sending(server: Daemon, *arguments: str | Path) -> "subprocess.Popen[bytes]":
    """The command in a process, in the middle of a file that takes for ever."""
    return subprocess.Popen(
        [GALILEO_SEND, "--limit-rate", "20kB", *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


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
    with slow_sending(server, "--parallel", "1", server.url, *paths) as sending:
        server.wait_for("upload.started", name=slow)
        sending.send_signal(number)
        out, err = sending.communicate(timeout=DEADLINE)
    assert sending.returncode == status
    assert out.startswith(b"stored ")
    assert b"Interrupted: 1 of 3 files stored (3 B in " in err
    assert b", 2 not sent." in err
    assert b"Traceback" not in err
    assert server.wait_for("upload.failed", name=slow)["code"] == "disconnected"


def test_an_interruption_before_all_is_loaded_is_no_traceback(
    process: Process, tmp_path: Path
) -> None:
    (tmp_path / "trio.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    done = process("ws://127.0.0.1:1/", "a", environ={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


def test_an_interruption_is_told_in_json_too(server: Daemon, tmp_path: Path) -> None:
    name = unique_name()
    (tmp_path / name).write_bytes(bytes(5 * MIB))
    with slow_sending(server, "--json", server.url, tmp_path / name) as sending:
        server.wait_for("upload.started", name=name)
        sending.send_signal(signal.SIGINT)
        out, err = sending.communicate(timeout=DEADLINE)
    assert (sending.returncode, err) == (130, b"")
    summary = objects(out)[-1]
    assert (summary["interrupted"], summary["not_sent"]) == (True, 1)


def test_an_interruption_while_standard_input_says_nothing_is_heard(server: Daemon) -> None:
    with slow_sending(server, server.url, "-") as sending:
        assert sending.stdin is not None
        # More than a pipe holds: when it is written, some of it was read.
        sending.stdin.write(bytes(200_000))
        sending.stdin.flush()
        sending.send_signal(signal.SIGINT)
        assert sending.wait(DEADLINE) == 130


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


def shell(line: str, *arguments: str | Path) -> "subprocess.CompletedProcess[bytes]":
    """The command, which is `"$@"` in the line."""
    run = ["sh", "-c", line, "sh", GALILEO_SEND, *arguments]
    return subprocess.run(run, capture_output=True, timeout=DEADLINE, check=False)


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


@pytest.mark.parametrize("line", ['"$@" 2>/dev/full', '"$@" 2>&-'])
def test_wrong_usage_is_status_2_though_nobody_can_be_told(line: str) -> None:
    assert shell(line).returncode == 2


def test_help_that_cannot_be_written_is_told() -> None:
    done = shell('"$@" --help >/dev/full')
    assert done.returncode == 1
    assert done.stderr == b"galileo-send: system error: No space left on device.\n"


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


def test_a_restart_in_the_middle_of_an_upload_is_survived(daemon: Daemons, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    host = daemon({"server": {"listen": [f"127.0.0.1:{port}"], "drain_timeout": 0}})
    (tmp_path / "a").write_bytes(data := some_bytes(4 * MIB))
    run: list[str | Path] = [GALILEO_SEND, "--limit-rate", "8MB", host.url, tmp_path / "a"]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sending:
        host.wait_for("upload.started", name="a")
        host.stop()
        host.start()
        _, err = sending.communicate(timeout=DEADLINE)
    assert sending.returncode == 0, err
    assert b"The server refused the file" in err
    assert b"Attempt 2 begins" in err
    assert (host.directory / "a").read_bytes() == data


def test_no_folder_for_standard_input_is_told(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some /tmp can be written wherever tests run.
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", list)
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "wb"):
        monkeypatch.setattr("galileod.client.command.stdin.stdin_job.__defaults__", (reading,))
        status, _, err = command("--retries", "0", "ws://127.0.0.1:1/", "-")
    assert status == 1
    assert (
        "Standard input cannot be copied to a temporary file: No usable temporary directory" in err
    )


def test_a_working_folder_that_is_gone_is_told(server: Daemon, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    line = f'cd "{tmp_path}/gone" && rmdir ../gone && "$@"'
    done = shell(line, server.url, "a")
    assert done.returncode == 1
    assert done.stderr == b"galileo-send: a cannot be read: No such file or directory.\n"


def test_a_large_file_is_sent_in_little_memory(daemon: Daemons, tmp_path: Path) -> None:
    host = daemon({"storage": {"durability": "none"}})
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 256 * MIB)
    program = (
        "from galileod.client.command.main import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, host.url, path], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 80 * 1024
    assert poll("an empty spool", lambda: not host.spooled())
