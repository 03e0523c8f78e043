"""Starting: where it listens, what it refuses to start with, and what each setting changes."""

import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers.clients import (
    SERVER_CHUNK,
    JavaScriptClient,
    ask,
    check_serves,
    expect_ready,
    open_websocket,
    read_head,
    request,
    say,
    unique_name,
)
from helpers.daemon import (
    DEADLINE,
    GALILEOD,
    Daemon,
    Daemons,
    Settings,
    poll,
    run_galileod,
    write_config,
)
from helpers.processes import can_unshare
from helpers.sending import GALILEO_SEND

from galileod.net.addresses import ZONE_EXPECTED

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"


def unix_dial(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(DEADLINE)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def test_it_listens_on_ipv4_ipv6_and_unix_sockets_at_once(
    daemon: Daemons, run_folder: Path
) -> None:
    path = run_folder / "galileod.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(str(path))  # closed without a listener: what a killed daemon leaves behind
    host = daemon({"server": {"listen": ["127.0.0.1:0", "[::1]:0", f"unix:{path}"]}})
    v4, v6, unix = host.listen
    assert unix == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    for url, sock, peer, user in (
        (f"ws://{v4}/upload", None, "127.0.0.1:", "127.0.0.1"),
        (f"ws://{v6}/upload", None, "[::1]:", "::1"),
        ("ws://galileod/upload", unix_dial(path), "unix", "unix"),
    ):
        client = JavaScriptClient(url, b"content", sock=sock)
        assert client.run().ending == "stored"
        line = host.wait_for("upload.stored", name=client.name)
        assert line["peer"].startswith(peer)
        assert line["user"] == user
        assert (host.directory / client.name).read_bytes() == b"content"
    assert host.stop() == 0
    assert not path.exists()


def check_refused(status: int, stderr: str, stdout: str, *words: str) -> None:
    """One line on stderr, with all of the words, and nothing else."""
    assert status == 1, stderr
    assert stdout == ""
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert "Traceback" not in stderr
    line = json.loads(lines[0])
    assert {"timestamp", "level", "event", "reason"} <= line.keys()
    for word in words:
        assert word in line["reason"]


@pytest.mark.parametrize("kind", ["tcp", "unix", "busy unix", "file"])
def test_an_address_in_use_is_told_in_one_line(tmp_path: Path, run_folder: Path, kind: str) -> None:
    path = run_folder / "taken.sock"
    family = socket.AF_INET if kind == "tcp" else socket.AF_UNIX
    with (
        socket.socket(family, socket.SOCK_STREAM) as taken,
        socket.socket(family, socket.SOCK_STREAM) as waiting,
    ):
        if kind == "tcp":
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        else:
            address = f"unix:{path}"
            if kind == "unix":
                taken.bind(str(path))
                taken.listen()
            elif kind == "busy unix":
                taken.bind(str(path))
                taken.listen(0)
                waiting.connect(str(path))  # and now nobody else has room
            else:
                path.write_text("a file that must stay")
        config = write_config(tmp_path / "galileod.toml", {"log": {"format": "json"}})
        ended = run_galileod(
            "--config", config, "--listen", address, "--directory", tmp_path / "files"
        )
    check_refused(ended.returncode, ended.stderr, ended.stdout, address)
    assert kind == "tcp" or path.exists()


def test_a_file_in_the_way_of_the_spool_is_told_in_one_line(tmp_path: Path) -> None:
    in_the_way = tmp_path / "files" / ".galileod" / "spool"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file that must stay")
    ended = run_galileod("--listen", "127.0.0.1:0", "--directory", tmp_path / "files")
    check_refused(ended.returncode, ended.stderr, ended.stdout, str(tmp_path / "files"))
    assert in_the_way.read_text() == "a file that must stay"


def test_a_state_directory_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    elsewhere, files = tmp_path / "elsewhere", tmp_path / "files"
    elsewhere.mkdir()
    files.mkdir()
    (files / ".galileod").symlink_to(elsewhere)
    ended = run_galileod("--listen", "127.0.0.1:0", "--directory", files)
    check_refused(ended.returncode, ended.stderr, ended.stdout, str(files))
    assert not list(elsewhere.iterdir())


def test_a_second_daemon_on_the_same_directory_refuses(daemon: Daemons) -> None:
    host = daemon()
    ended = run_galileod("--listen", "127.0.0.1:0", "--directory", host.directory)
    check_refused(ended.returncode, ended.stderr, ended.stdout, str(host.directory))
    check_serves(host)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server]\nlisten = 1", ["server.listen", "1", "list"]),
        ('[chunks]\nmin = "64 bananas"', ["chunks.min", "64 bananas", "64KiB"]),
        ('[chunks]\nmin = "2MiB"\nmax = "1MiB"', ["chunks.max", "2MiB"]),
        ('[storage]\non_conflict = "ask"', ["storage.on_conflict", "ask", '"rename"']),
        ("[server]\nmax_conections = 3", ["server.max_conections", "server.max_connections"]),
        ("[server", ["TOML"]),
    ],
)
def test_a_wrong_configuration_is_told_in_one_line(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    ended = run_galileod("check-config", "--config", path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    for word in [str(path), *words]:
        assert word in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--nonsense"], "--nonsense"),
        (["nonsense"], "nonsense"),
        (["--listen", "nowhere"], "--listen"),
        (["serve", "--config", "missing.toml"], "missing.toml"),
    ],
)
def test_a_wrong_flag_is_told_in_one_line(tmp_path: Path, arguments: list[str], word: str) -> None:
    ended = run_galileod(*arguments, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert word in ended.stderr
    assert not list(tmp_path.iterdir())


def test_the_version_is_told() -> None:
    ended = run_galileod("--version")
    assert (ended.returncode, ended.stderr) == (0, "")
    name, version = ended.stdout.split()
    assert name == "galileod"
    assert version[0].isdigit()


def test_check_config_prints_what_reads_back_to_the_same(tmp_path: Path) -> None:
    settings: Settings = {
        "server": {"listen": ["[::1]:0", "unix:/run/galileod.sock"], "drain_timeout": "2h"},
        "timeouts": {"idle": 0.25},
        "chunks": {"min": 70_000, "max": "5MB"},
        "storage": {"directory": str(tmp_path)},
    }
    # The environment names the file of the first run, the flag that of the second.
    first_file = write_config(tmp_path / "first.toml", settings)
    first = run_galileod("check-config", environ={"GALILEOD_CONFIG": str(first_file)})
    assert (first.returncode, first.stderr) == (0, "")
    printed = tomllib.loads(first.stdout)
    assert printed["server"]["listen"] == settings["server"]["listen"]
    assert printed["timeouts"]["idle"] == 0.25
    assert printed["storage"]["on_conflict"] == "rename"
    again = tmp_path / "again.toml"
    again.write_text(first.stdout)
    second = run_galileod(
        "check-config", "--config", again, environ={"GALILEOD_CONFIG": "/nowhere"}
    )
    assert (second.returncode, second.stdout) == (0, first.stdout)


def test_flags_win_over_the_file(daemon: Daemons, tmp_path: Path) -> None:
    flags = ["--listen", "[::1]:0", "--listen", "127.0.0.1:0", "--directory", "by-flag"]
    host = daemon(flags=flags)
    assert [name.rpartition(":")[0] for name in host.listen] == ["[::1]", "127.0.0.1"]
    started = host.wait_for("server.started")
    assert started["config"] == str(host.config)
    assert started["version"] in run_galileod("--version").stdout
    assert not host.directory.exists()
    host.directory = host.folder / "by-flag"
    assert host.directory.is_relative_to(tmp_path)
    check_serves(host)


KIB = 1024


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ({}, SERVER_CHUNK),
        ({"max": "100KiB"}, 100 * KIB),
        ({"min": "2MiB"}, 2048 * KIB),
    ],
)
def test_the_chunk_that_is_asked_for_keeps_within_its_bounds(
    daemon: Daemons, chunks: dict[str, object], expected: int
) -> None:
    host = daemon({"chunks": chunks})
    with open_websocket(host.url) as websocket:
        say(websocket, name=unique_name(), size=20_000_000)
        assert expect_ready(websocket) == expected


@pytest.mark.parametrize(
    ("level", "present", "absent"),
    [
        ("debug", {"connection.abandoned", "upload.stored"}, set[str]()),
        ("warning", {"upload.failed"}, {"server.started", "upload.stored"}),
        ("error", set[str](), {"server.started", "upload.stored", "upload.failed"}),
    ],
)
def test_the_level_decides_what_is_logged(
    daemon: Daemons, run_folder: Path, level: str, present: set[str], absent: set[str]
) -> None:
    path = run_folder / "galileod.sock"
    settings: Settings = {"log": {"level": level}, "server": {"listen": [f"unix:{path}"]}}
    host = daemon(settings, start=False).spawn()
    poll("the socket", lambda: answers(path))
    unix_dial(path).close()  # abandoned
    for name, ending in (("good", "stored"), ("..", "failed")):
        client = JavaScriptClient("ws://galileod/upload", b"", name, sock=unix_dial(path))
        assert client.run().ending == ending
    assert host.stop() == 0
    events = {line["event"] for line in host.log()}
    assert present <= events
    assert not absent & events


def answers(path: Path) -> bool:
    try:
        with unix_dial(path) as connection:
            connection.sendall(HEALTH)
            return read_head(connection).status == 200
    except (FileNotFoundError, ConnectionRefusedError):
        return False


def test_the_console_format_is_for_people(tmp_path: Path) -> None:
    host = Daemon(tmp_path, {"log": {"format": "console"}}).spawn()
    try:
        poll("a line", lambda: "server.started" in host.text(), host.text)
    finally:
        host.kill()
    with pytest.raises(AssertionError, match="not JSON"):
        host.log()


def test_health_says_why_the_storage_does_not_work(daemon: Daemons) -> None:
    host = daemon()
    assert ask(host, HEALTH).status == 200
    spool = host.directory / ".galileod" / "spool"
    os.rmdir(spool)
    spool.write_bytes(b"")  # so that it cannot be made anew
    reply = ask(host, HEALTH)
    assert reply.status == 503
    assert b"storage" in reply.body
    client = JavaScriptClient(host.url, b"content")
    outcome = client.run()
    assert (outcome.ending, outcome.code) == ("failed", "storage_failed")
    failed = host.wait_for("upload.failed", name=client.name)
    assert (failed["code"], failed["level"]) == ("storage_failed", "error")
    host.kill()
    host.stderr.unlink()  # that line was expected


def test_a_killed_daemon_leaves_nothing_that_needs_a_hand(
    daemon: Daemons, run_folder: Path
) -> None:
    path = run_folder / "galileod.sock"
    host = daemon({"server": {"listen": ["127.0.0.1:0", f"unix:{path}"]}})
    with open_websocket(host.url) as websocket:
        say(websocket, name="half.bin", size=5_000_000)
        websocket.send(bytes(expect_ready(websocket)))
        poll("a spool file", host.spooled)
        host.kill()
    assert path.exists()
    host.start()
    assert host.wait_for("spool.cleared")["files"] == 1
    assert not host.spooled()
    check_serves(host)
    with unix_dial(path) as connection:
        connection.sendall(request())
        assert read_head(connection).status == 101


def test_a_start_that_fails_leaves_no_socket_behind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        path, port = tmp_path / "sock", taken.getsockname()[1]
        listen = ["--listen", f"unix:{path}", "--listen", f"127.0.0.1:{port}"]
        answer = run_galileod(*listen, "--directory", tmp_path / "files", cwd=tmp_path)
    assert answer.returncode == 1
    assert not path.exists()


def test_an_empty_directory_flag_is_wrong(tmp_path: Path) -> None:
    answer = run_galileod("--directory", "", cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.startswith("galileod: --directory: ''")


WITHOUT_V6 = """
import fcntl, os, socket, struct, sys
with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as setting:
    setting.write("1")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any:
    fcntl.ioctl(any, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Starts a program in a network namespace, where 127.0.0.1 exists, and ::1 does not."""


@pytest.mark.skipif(not can_unshare("--net", "--mount"), reason="a network namespace needs root")
def test_localhost_needs_no_ipv6(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n::1 localhost\n")
    inside = f'mount --bind {shlex.quote(str(hosts))} /etc/hosts && exec "$0" "$@"'
    program = (
        *("unshare", "--net", "--mount", "sh", "-c", inside),
        *(sys.executable, "-c", WITHOUT_V6, GALILEOD),
    )
    with Daemon(tmp_path, {"server": {"listen": ["localhost:8750"]}}, program=program) as host:
        host.start()
        assert host.listen == ["127.0.0.1:8750"]
        assert host.wait_for("server.address_missing")["address"] == "::1"
        (tmp_path / "a").write_text("content")
        enter = ("nsenter", "--net", "--mount", "--target", str(host.pid), GALILEO_SEND)
        sending = (*enter, "--retries", "0", "ws://localhost:8750/upload", tmp_path / "a")
        subprocess.run(sending, check=True, timeout=DEADLINE)
        assert (host.directory / "a").read_text() == "content"
        assert host.stop() == 0


@pytest.mark.skipif(not can_unshare("--net"), reason="a network namespace needs root")
@pytest.mark.skipif(not shutil.which("ip"), reason="ip (iproute2) is not installed")
def test_a_link_local_address_is_opened_in_its_zone_and_can_be_dialled(tmp_path: Path) -> None:
    inside = 'ip link set lo up && ip -6 address add fe80::1/64 dev lo nodad && exec "$0" "$@"'
    program = ("unshare", "--net", "sh", "-c", inside, GALILEOD)
    settings: Settings = {"server": {"listen": ["[fe80::1%lo]:0"]}, "auth": {"mode": "none"}}
    with Daemon(tmp_path, settings, program=program) as host:
        host.start()
        (listen,) = host.listen
        assert re.fullmatch(r"\[fe80::1%lo\]:\d+", listen)
        for name, address in (("a", listen), ("b", listen.replace("%", "%25"))):
            (tmp_path / name).write_text("content")
            enter = ("nsenter", "--net", "--target", str(host.pid), GALILEO_SEND)
            sending = (*enter, "--retries", "0", f"ws://{address}/upload", tmp_path / name)
            subprocess.run(sending, check=True, timeout=DEADLINE)
            assert (host.directory / name).read_text() == "content"
        assert host.wait_for("connection.opened")["peer"].startswith("[fe80::1]:")
        assert host.stop() == 0


def test_a_link_local_address_without_its_zone_is_a_wrong_configuration(tmp_path: Path) -> None:
    answer = run_galileod("--listen", "[fe80::1]:0", cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr == f"galileod: --listen: '[fe80::1]:0': expected {ZONE_EXPECTED}\n"
