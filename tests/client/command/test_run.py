"""`galileo-send` sends files, and reports each of them."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.clients import open_websocket, some_bytes, unique_name
from helpers.daemon import DEADLINE, Daemon, Daemons, poll
from helpers.receivers import Peer, PerlReceiver, Scripted
from helpers.sending import GALILEO_SEND, Command, Process, files_in, objects, shell

MIB = 1024 * 1024


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
    status, out, err = command("--recursive", "--flat", server.url, tmp_path)
    assert status == 0
    assert len(out.splitlines()) == 2
    assert f"several files are sent under the same name ({name})" in err
    assert len([stored for stored in server.visible() if stored.startswith(name[:-4])]) == 2


def test_the_files_of_a_folder_are_sent_with_it(
    command: Command, perl: PerlReceiver, tmp_path: Path
) -> None:
    (tmp_path / "photos" / "june").mkdir(parents=True)
    path = tmp_path / "photos" / "june" / "a.jpg"
    path.write_bytes(b"a")
    status, _, err = command("-r", perl.url, tmp_path / "photos", path.with_name("none"))
    assert status == 1
    assert "none cannot be read" in err
    assert command("-r", "--flat", perl.url, tmp_path / "photos")[0] == 0
    assert command("--no-resume", perl.url, path)[0] == 0
    modified = path.stat().st_mtime_ns // 1_000_000
    told = [(file.metadata.get("folder"), file.metadata.get("modified")) for file in perl.files]
    assert told == [("photos/june", modified), (None, modified), (None, modified)]


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


def test_a_token_over_a_bare_line_is_warned_about(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = files_in(tmp_path, "a")
    monkeypatch.setenv("GALILEO_TOKEN", "s3cret")
    _, _, err = command("--retries", "0", "ws://galileod.invalid/", path)
    assert "the token is sent unencrypted" in err
    assert "s3cret" not in err


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"])
def test_a_token_that_stays_on_this_machine_is_not_warned_about(
    command: Command, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = files_in(tmp_path, "a")
    monkeypatch.setenv("GALILEO_TOKEN", "s3cret")
    status, _, err = command("--retries", "0", f"ws://{host}:1/", path)
    assert status == 1
    assert "unencrypted" not in err


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
