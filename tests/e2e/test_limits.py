"""Quota, disk, rate, memory and descriptors, with the daemon as a process."""

import json
import select
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.clients import (
    HashClaim,
    JavaScriptClient,
    arrived,
    ask,
    check_serves,
    expect_fault,
    expect_ready,
    open_websocket,
    request,
    say,
    some_bytes,
)
from helpers.daemon import GALILEOD, Daemon, Daemons, poll, run_galileod
from helpers.frames import BINARY, frame_header, signal_frame
from helpers.mounts import tmpfs

KIB = 1024


def usage(daemon: Daemon) -> dict[str, dict[str, int]]:
    """What `galileod usage` says, by user."""
    answer = run_galileod("usage", "--json", "--config", daemon.config, cwd=daemon.folder)
    assert answer.returncode == 0, answer.stderr
    return {user.pop("user"): user for user in json.loads(answer.stdout)["users"]}


def held(files: int, size: int, uploads: int = 0, reserved: int = 0) -> dict[str, int]:
    kept = {"kept_uploads": 0, "kept": 0}
    return {"files": files, "bytes": size, "uploads": uploads, "reserved": reserved, **kept}


def send(daemon: Daemon, data: bytes) -> str | None:
    """Upload; gives the code of the fault, or None where it is stored."""
    outcome = JavaScriptClient(daemon.url, data, claim=HashClaim.of(data, "sha1")).run()
    return None if outcome.ending == "stored" else outcome.code


@pytest.mark.parametrize(
    ("key", "limit", "used"),
    [
        ("total_bytes", 2500, 2000),
        ("user_bytes", 2500, 2000),
        ("total_files", 2, 2),
        ("user_files", 2, 2),
    ],
)
def test_a_quota_refuses_exactly_what_would_pass_it(
    daemon: Daemons, key: str, limit: int, used: int
) -> None:
    host = daemon({"quota": {key: limit}})
    assert [send(host, some_bytes(1000)) for _ in range(2)] == [None, None]
    with open_websocket(host.url) as websocket:
        say(websocket, name="more", size=1000)
        fault = expect_fault(websocket, "quota_exceeded")
        assert (fault["limit"], fault["used"]) == (limit, used)
    assert usage(host) == {"127.0.0.1": held(2, 2000)}


def test_a_user_may_have_only_so_many_uploads_at_once(daemon: Daemons) -> None:
    host = daemon({"quota": {"user_uploads": 1}})
    with open_websocket(host.url) as first:
        say(first, name="a", size=1000)
        expect_ready(first)
        with open_websocket(host.url) as second:
            say(second, name="b", size=1000)
            expect_fault(second, "quota_exceeded")
        assert usage(host) == {"127.0.0.1": held(0, 0, 1, 1000)}
    host.wait_for("upload.failed", code="disconnected")
    assert send(host, b"b") is None


def test_of_many_uploads_at_once_exactly_those_are_stored_that_fit(daemon: Daemons) -> None:
    host = daemon({"quota": {"total_bytes": 100_000}})
    outcomes: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(send(host, some_bytes(10_000))))
        for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(None) == 10
    assert outcomes.count("quota_exceeded") == 30
    assert len(host.visible()) == 10


def test_the_ledger_recovers_after_a_kill_and_follows_the_disk(daemon: Daemons) -> None:
    host = daemon({"quota": {"total_bytes": 10_000}})
    assert send(host, some_bytes(3000)) is None
    assert send(host, some_bytes(3000)) is None
    with open_websocket(host.url) as websocket:
        say(websocket, name="cut off", size=4000)
        expect_ready(websocket)
        assert usage(host) == {"127.0.0.1": held(2, 6000, 1, 4000)}
        host.kill()
    next(iter(host.visible().values())).unlink()
    (host.directory / "by hand").write_bytes(bytes(500))
    host.start()
    assert usage(host) == {"": held(1, 500), "127.0.0.1": held(1, 3000)}
    assert send(host, some_bytes(6500)) is None
    assert send(host, b"x") == "quota_exceeded"


def test_usage_is_a_table_for_people(daemon: Daemons) -> None:
    host = daemon()
    assert send(host, some_bytes(1234)) is None
    answer = run_galileod("usage", "--config", host.config, cwd=host.folder)
    head, row = answer.stdout.splitlines()
    columns = ["user", "files", "bytes", "uploads", "reserved", "kept_uploads", "kept"]
    assert head.split() == columns
    assert row.split() == ["127.0.0.1", "1", "1234", "0", "0", "0", "0"]


def test_usage_of_a_directory_without_a_ledger_says_so_in_one_line(tmp_path: Path) -> None:
    answer = run_galileod("usage", cwd=tmp_path)
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "galileod has not been started with this directory" in answer.stderr


def test_disk_that_must_stay_free_is_not_eaten_into(daemon: Daemons) -> None:
    host = daemon({"storage": {"min_free": "1000TiB"}})
    with open_websocket(host.url) as websocket:
        say(websocket, name="a", size=1)
        expect_fault(websocket, "no_space")
    assert not host.visible()
    assert not host.spooled()


def test_a_client_below_the_least_rate_is_too_slow(daemon: Daemons) -> None:
    settings = {"limits": {"min_rate": "1MiB"}, "timeouts": {"idle": "500ms", "close": "1s"}}
    host = daemon(settings)
    seen = b""
    with host.dial() as sock:
        sock.sendall(request() + signal_frame(name="a", size=10_000_000))
        while b"ready" not in seen:
            seen += sock.recv(4096)
        sock.sendall(frame_header(0x80 | BINARY, 1 << 18))

        def trickle() -> bool:
            nonlocal seen
            sock.sendall(b"x")
            while select.select([sock], [], [], 0)[0] and b"fatal" not in seen:
                seen += sock.recv(4096)
            return b"fatal" in seen

        poll("a fault", trickle, host.text)
    assert b"too_slow" in seen


def test_what_is_granted_stays_within_the_memory_for_all(daemon: Daemons) -> None:
    host = daemon({"chunks": {"memory": "1MiB", "min": "64KiB"}})
    with (
        open_websocket(host.url) as first,
        open_websocket(host.url) as second,
        open_websocket(host.url) as third,
    ):
        granted = 0
        for websocket in (first, second, third):
            say(websocket, name="a", size=1 << 30)
            granted += sum(signal["chunksize"] for signal in arrived(websocket))
        assert granted <= 1024 * KIB


def test_a_trusted_proxy_speaks_for_its_clients(daemon: Daemons) -> None:
    host = daemon(
        {"server": {"trusted_proxies": ["127.0.0.0/8"], "max_connections_per_address": 1}}
    )
    forwarded: dict[str, str | None] = {"X-Forwarded-For": "203.0.113.9, 192.0.2.7"}
    with open_websocket(host.url, additional_headers=forwarded) as websocket:
        say(websocket, name="a", size=1)
        expect_ready(websocket)
        assert host.wait_for("upload.started")["user"] == "192.0.2.7"
        with host.dial() as other:
            other.sendall(request(headers=forwarded))
            assert other.recv(12) == b"HTTP/1.1 503"
        with host.dial() as other:
            other.sendall(request(headers={"X-Forwarded-For": "192.0.2.8"}))
            assert other.recv(12) == b"HTTP/1.1 101"


def test_a_peer_that_is_no_trusted_proxy_speaks_for_itself(daemon: Daemons) -> None:
    host = daemon()
    headers = {"X-Forwarded-For": "192.0.2.7"}
    with open_websocket(host.url, additional_headers=headers) as websocket:
        say(websocket, name="a", size=1)
        expect_ready(websocket)
        assert host.wait_for("upload.started")["user"] == "127.0.0.1"


def test_a_limit_on_open_files_lowers_the_cap_and_is_outlived(tmp_path: Path) -> None:
    limited: list[str | Path] = ["sh", "-c", 'ulimit -n 200; exec "$0" "$@"', GALILEOD]
    settings = {"server": {"max_connections_per_address": 5000}}
    with Daemon(tmp_path, settings, program=limited) as host:
        host.start()
        fitting = host.wait_for("server.file_limit")["max_connections"]
        assert 1 <= fitting < 100
        connections = [host.dial() for _ in range(400)]
        for connection in connections:
            connection.close()
        poll("closed descriptors", host.at_rest, host.text)
        check_serves(host)


def test_without_a_hook_no_descriptors_are_kept_for_one(tmp_path: Path) -> None:
    limited: list[str | Path] = ["sh", "-c", 'ulimit -n 138; exec "$0" "$@"', GALILEOD]
    settings = {"server": {"max_connections": 5}}  # two for each, and 128
    with Daemon(tmp_path / "without", settings, program=limited) as host:
        host.start()
        assert host.stop() == 0
        assert not host.find("server.file_limit")
    hook = {"hooks": {"stored": ["/bin/true"]}}
    with Daemon(tmp_path / "with", {**settings, **hook}, program=limited) as host:
        host.start()
        assert host.wait_for("server.file_limit")["max_connections"] == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 16 MiB in a directory; only root can make one."""
    with tmpfs(tmp_path / "small", "size=16m") as folder:
        yield folder


def healthy(host: Daemon) -> str | None:
    """None if it is; else the reason."""
    reply = ask(host, b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
    assert (reply.status == 200) is (reply.body == b"ok\n")
    return None if reply.status == 200 else reply.body.decode()


def test_health_fails_while_less_is_free_than_must_stay_free(
    small_disk: Path, daemon: Daemons
) -> None:
    host = daemon({"storage": {"directory": str(small_disk / "files"), "min_free": "12MiB"}})
    assert healthy(host) is None
    check_serves(host)
    assert not host.find("server.exhausted")
    filler = small_disk / "filler"
    filler.write_bytes(bytes(8 << 20))
    reason = healthy(host)
    assert reason
    assert f"storage.min_free keeps {12 << 20} bytes free" in reason
    with open_websocket(host.url) as websocket:
        say(websocket, name="a", size=1)
        fault = expect_fault(websocket, "no_space")
        assert "storage.min_free" in str(fault["error"])
        assert fault["size"] == 1
    filler.unlink()
    assert healthy(host) is None
    check_serves(host)
    host.stop()


def test_a_disk_smaller_than_what_must_stay_free_is_told_at_the_start(
    small_disk: Path, daemon: Daemons
) -> None:
    host = daemon({"storage": {"directory": str(small_disk / "files"), "min_free": "1GiB"}})
    told = host.wait_for("server.exhausted", key="storage.min_free")
    assert told["level"] == "warning"
    assert str(1 << 30) in told["reason"]
    assert healthy(host)
    host.stop()


def test_health_fails_while_a_quota_for_all_is_used_up(daemon: Daemons) -> None:
    host = daemon({"quota": {"total_bytes": 1000}})
    assert healthy(host) is None
    assert send(host, some_bytes(1000)) is None
    assert "quota.total_bytes is 1000" in str(healthy(host))
    host.stop()
    host.start()
    host.wait_for("server.exhausted", key="quota.total_bytes")
    next(iter(host.visible().values())).unlink()
    host.stop()
    host.start()
    assert healthy(host) is None


def test_a_disk_that_fills_by_hand_fails_the_upload_and_nothing_else(
    small_disk: Path, daemon: Daemons
) -> None:
    host = daemon({"storage": {"directory": str(small_disk / "files")}})
    with open_websocket(host.url) as websocket:
        say(websocket, name="unlucky", size=8 << 20)
        granted = expect_ready(websocket)
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(32 << 20))
        websocket.send(bytes(granted))
        expect_fault(websocket, "no_space")
    assert not host.visible()
    poll("an empty spool", lambda: not host.spooled(), host.text)
    filler.unlink()
    check_serves(host)
    host.stop()


def reason_not_to_start(directory: Path, **environ: str) -> str:
    flags = ("--listen", "127.0.0.1:0", "--directory", directory)
    ended = run_galileod(*flags, environ=environ)
    assert (ended.returncode, ended.stdout) == (1, "")
    return str(json.loads(ended.stderr)["reason"])


def test_a_disk_that_is_full_at_the_start_is_told_with_the_directory(small_disk: Path) -> None:
    directory = small_disk / "files"
    directory.mkdir()
    with pytest.raises(OSError, match="No space"):
        (small_disk / "filler").write_bytes(bytes(32 << 20))
    assert str(directory) in reason_not_to_start(directory)


def test_a_service_that_may_not_write_there_is_told_which_line_lets_it(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    directory = small_disk / "files"
    by_hand = f"cannot use {directory}: Read-only file system"
    assert reason_not_to_start(directory) == by_hand
    as_service = reason_not_to_start(directory, NOTIFY_SOCKET="/nowhere")
    assert as_service.startswith(by_hand)
    assert "ReadWritePaths=" in as_service
