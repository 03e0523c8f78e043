"""Each key of the configuration: how a reload shows its new value, or that it needs a restart."""

import signal
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import pytest
from attrs import field, frozen
from helpers.bursts import Burst
from helpers.clients import (
    JavaScriptClient,
    ask,
    check_serves,
    expect_fault,
    expect_ready,
    hear,
    open_websocket,
    read_head,
    request,
    say,
    some_bytes,
    unique_name,
)
from helpers.daemon import Daemon, Daemons, Settings, log_time, poll, run_galileod
from helpers.frames import signal_frame
from helpers.reloading import code, count, hang_up, reload, rewrite
from helpers.resuming import ResumingClient
from websockets.exceptions import ConnectionClosed

from galileod.config.model import KEYS
from galileod.daemon.reload import NEEDS_RESTART

CHUNK = 64 * 1024


def status(target: str = "/upload", **headers: str) -> Callable[[Daemon], int]:
    return lambda host: ask(host, request(target, {**headers})).status


def page(host: Daemon) -> int:
    return ask(host, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").status


def metrics(host: Daemon) -> int:
    return ask(host, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").status


def second_connection(host: Daemon) -> int:
    with open_websocket(host.url):
        return ask(host, request()).status


def peer_by_proxy(host: Daemon) -> bool:
    origin = f"http://{unique_name()}"  # tells the line from those of other requests
    ask(host, request("/upload", {"X-Forwarded-For": "192.0.2.7", "Origin": origin}))
    peer: str = host.wait_for("connection.refused", origin=origin)["peer"]
    return peer == "192.0.2.7"


def slow_handshake(host: Daemon) -> int:
    with host.dial() as connection:
        connection.sendall(b"GET")
        return read_head(connection).status


def silent_upload(host: Daemon) -> str:
    with open_websocket(host.url) as websocket:
        say(websocket, name="a", size=10)
        return str(expect_fault(websocket, "idle")["code"])


def no_metadata(host: Daemon) -> str:
    with open_websocket(host.url) as websocket:
        return str(expect_fault(websocket, "idle")["code"])


def who_does_not_close(host: Daemon) -> int | None:
    with open_websocket(host.url) as websocket:
        say(websocket, name="..", size=1)
        with suppress(ConnectionClosed):
            while True:
                hear(websocket)
        return websocket.close_code


def pinged(host: Daemon) -> bool:
    """Whether a client gets a Ping that waits for the memory that another one holds."""
    with open_websocket(host.url) as websocket, host.dial() as waiting:
        say(websocket, name="a", size=200_000)
        expect_ready(websocket)
        waiting.sendall(request())
        assert read_head(waiting).status == 101
        waiting.sendall(signal_frame(name="b", size=1))
        return waiting.recv(2) == b"\x89\x00"


def trickling(host: Daemon) -> str:
    with open_websocket(host.url) as websocket:
        say(websocket, name="a", size=CHUNK)
        expect_ready(websocket)
        while True:
            websocket.ping()
            with suppress(TimeoutError):
                return str(hear(websocket, 0.02)["code"])


def first_credit(host: Daemon) -> int:
    with open_websocket(host.url) as websocket:
        say(websocket, name="a", size=100 << 20)
        return expect_ready(websocket)


def in_flight(host: Daemon) -> bool:
    client = JavaScriptClient(host.url, some_bytes(4 << 20))
    client.run()
    most: int = host.wait_for("upload.stored", name=client.name)["in_flight_max"]
    return most > 1


def same_name_twice(host: Daemon) -> str | None:
    code(host, name="same")
    return code(host, name="same")


def syncs(host: Daemon) -> int:
    before = count(host, "fsync")
    code(host)
    return count(host, "fsync") - before


def abandoned(host: Daemon) -> bool:
    host.dial().close()
    origin = f"http://{unique_name()}"
    ask(host, request("/upload", {"Origin": origin}))
    host.wait_for("connection.refused", origin=origin)  # lines are written in order
    return host.find("connection.abandoned") is not None


def drained(host: Daemon) -> int:
    with open_websocket(host.url) as websocket:
        say(websocket, name="a", size=10)
        expect_ready(websocket)
        host.send_signal(signal.SIGTERM)
        expect_fault(websocket, "shutting_down")
    return host.wait()


def limits(key: str) -> Callable[[Daemon], int]:
    """The value of `key` for further files of a connection."""

    def look(host: Daemon) -> int:
        with open_websocket(host.url) as websocket:
            say(websocket, name="a", size=1, can=["next"])
            return int(hear(websocket)[key])

    return look


def kept_for(host: Daemon) -> int:
    with ResumingClient(host.url, some_bytes(CHUNK)).attempt() as attempt:
        return int(attempt.first["keep"])


def interrupted(host: Daemon) -> str:
    """The event that says so."""
    client = ResumingClient(host.url, some_bytes(CHUNK))
    with client.attempt() as attempt:
        attempt.send(1000)
        attempt.cut()
    events = ("upload.failed", "upload.kept")
    return (
        poll("the end", lambda: next((e for e in events if host.find(e, name=client.name)), None))
        or ""
    )


def kept_of_two(host: Daemon) -> int:
    for _ in range(2):
        interrupted(host)
    return poll("two at most", lambda: len(host.spooled()) <= 2 and len(host.spooled()))


def in_folder(host: Daemon) -> bool:
    began = log_time()
    code(host, name="a file")
    path: str = host.wait_for("upload.stored", since=began)["path"]
    return path.startswith(f"{host.directory}/127.0.0.1/")


def is_old(host: Daemon) -> bool:
    """Whether a file that is old is stored so."""
    began = log_time()
    with closing(Burst(host, log_time(), more={"modified": 1_234_567_890_123})) as burst:
        assert burst.begin()
    path = Path(host.wait_for("upload.stored", since=began)["path"])
    return path.stat().st_mtime_ns == 1_234_567_890_123_000_000


def may_ask(host: Daemon) -> bool:
    """Whether a client without a credential is offered to ask what is stored."""
    with closing(Burst(host, log_time(), can=("next", "ask"))) as burst:
        assert burst.start is not None
        return "ask" in burst.start["can"]


def hook_delivers(host: Daemon) -> bool:
    code(host)
    return bool(host.wait_for("hook.delivered"))


def hook_fails(host: Daemon) -> str:
    code(host)
    return str(host.wait_for("hook.retry")["reason"])


def hooks_at_once(host: Daemon) -> int:
    """Files to be told of are there for two; each hook notes its start, and stays."""
    code(host)
    code(host)
    return poll(
        "two hooks", lambda: len(list(host.directory.glob("began-*"))) == 2 and 2, host.text
    )


def removal_is_told(host: Daemon) -> bool:
    """A file is removed; whether that was delivered."""
    name = unique_name()
    assert JavaScriptClient(host.url, b"data", name).run().ending == "stored"
    assert not run_galileod("files", "remove", name, "--config", host.config).returncode
    return bool(host.wait_for("hook.delivered", name=name))


def questions_at_once(host: Daemon) -> int:
    """Two uploads begin; each question notes its start, and stays."""
    with open_websocket(host.url) as one, open_websocket(host.url) as other:
        say(one, name="one", size=1)
        say(other, name="other", size=1)
        return poll(
            "two questions", lambda: len(list(host.directory.glob("began-*"))) == 2 and 2, host.text
        )


@frozen
class Effect:
    """With `value` the probe gives `after`; before, unless that would take long, `before`."""

    value: object
    probe: Callable[[Daemon], object]
    before: object
    after: object
    start: Settings = field(factory=dict)


LONG: Final = object()
"""Before the reload the probe would wait for very long."""

IN_VAIN: Final = "https://elsewhere.example"

FSYNC_TOLD: Final = """
import os
fsync = os.fsync
def telling(fd):
    fsync(fd)
    os.write(2, b'{"event": "fsync", "level": "info", "timestamp": ""}\\n')
os.fsync = telling
"""

EFFECTS: Mapping[str, Effect] = {
    "server.paths": Effect(["/other"], status("/other"), 404, 101),
    "server.page": Effect(False, page, 200, 426),
    "server.max_connections": Effect(1, second_connection, 101, 503),
    "server.max_connections_per_address": Effect(1, second_connection, 101, 503),
    "server.allowed_origins": Effect([IN_VAIN], status(Origin=IN_VAIN), 403, 101),
    "server.trusted_proxies": Effect(["127.0.0.1"], peer_by_proxy, False, True),
    "server.drain_timeout": Effect(0, drained, LONG, 0, {"server": {"drain_timeout": "1h"}}),
    "timeouts.handshake": Effect(
        "100ms", slow_handshake, LONG, 408, {"timeouts": {"handshake": "1h"}}
    ),
    "timeouts.metadata": Effect(
        "100ms", no_metadata, LONG, "idle", {"timeouts": {"metadata": "1h"}}
    ),
    "timeouts.idle": Effect("100ms", silent_upload, LONG, "idle", {"timeouts": {"idle": "1h"}}),
    "timeouts.close": Effect(
        "100ms", who_does_not_close, LONG, 1008, {"timeouts": {"close": "1h"}}
    ),
    "timeouts.ping": Effect(
        "100ms",
        pinged,
        LONG,
        True,
        {"timeouts": {"ping": "1h", "idle": "1h"}, "chunks": {"memory": 100_000}},
    ),
    "limits.max_file_size": Effect(9, code, None, "too_large"),
    "limits.min_rate": Effect(
        "1GiB",
        trickling,
        LONG,
        "too_slow",
        {"limits": {"min_rate": 0}, "timeouts": {"idle": "300ms"}},
    ),
    "quota.total_bytes": Effect(9, code, None, "quota_exceeded"),
    "quota.total_files": Effect(0, code, None, "quota_exceeded"),
    "quota.user_bytes": Effect(9, code, None, "quota_exceeded"),
    "quota.user_files": Effect(0, code, None, "quota_exceeded"),
    "quota.user_uploads": Effect(0, code, None, "quota_exceeded"),
    "chunks.min": Effect("1MiB", first_credit, 640 << 10, 1 << 20),
    "chunks.max": Effect(300_000, first_credit, 640 << 10, 300_000),
    "chunks.max_in_flight": Effect(1, in_flight, True, False),
    "chunks.memory": Effect(100_000, first_credit, 640 << 10, 100_000),
    "chunks.whole": Effect("1KiB", limits("whole"), 256 << 10, 1024),
    "chunks.next": Effect(5, limits("next"), 256, 5),
    "chunks.room": Effect("1MiB", limits("room"), 4 << 20, 1 << 20),
    "resume.keep": Effect("1h", kept_for, 86400, 3600),
    "resume.min_size": Effect("1KiB", interrupted, "upload.failed", "upload.kept"),
    "resume.user_uploads": Effect(1, kept_of_two, 2, 1, {"resume": {"min_size": 1}}),
    "storage.layout": Effect("{user}/{name}", in_folder, False, True),
    "storage.ask": Effect("everybody", may_ask, False, True),
    "storage.keep_modified": Effect(False, is_old, True, False),
    "hooks.stored": Effect(["true"], hook_delivers, LONG, True),
    "hooks.timeout": Effect(
        "100ms",
        hook_fails,
        LONG,
        "the command did not end within 0.1 seconds",
        {"hooks": {"stored": ["sleep", "3600"], "timeout": "1h"}},
    ),
    "hooks.parallel": Effect(
        2,
        hooks_at_once,
        LONG,
        2,
        {"hooks": {"stored": ["sh", "-c", "> began-$$; sleep 3600"], "parallel": 1}},
    ),
    "hooks.removed": Effect(["true"], removal_is_told, LONG, True),
    "hooks.admit": Effect(["false"], code, None, "busy"),
    "hooks.admit_timeout": Effect(
        "100ms", code, LONG, "busy", {"hooks": {"admit": ["sleep", "3600"], "admit_timeout": "1m"}}
    ),
    "hooks.admit_parallel": Effect(
        2,
        questions_at_once,
        LONG,
        2,
        {
            "hooks": {
                "admit": ["sh", "-c", "> began-$$; exec sleep 3600"],
                "admit_timeout": "1m",
                "admit_parallel": 1,
            }
        },
    ),
    "hooks.admit_failure": Effect("accept", code, "busy", None, {"hooks": {"admit": ["false"]}}),
    "metrics.allow": Effect(["192.0.2.0/24"], metrics, 200, 403),
    "storage.on_conflict": Effect("reject", same_name_twice, None, "conflict"),
    "storage.min_free": Effect("1000000TiB", code, None, "no_space"),
    "storage.durability": Effect("none", syncs, 2, 0),
    "hash.required": Effect(True, code, None, "hash_required"),
    "log.level": Effect("debug", abandoned, False, True),
}


ELSEWHERE: Final = (
    "hooks.secret_file",
    "tls.certificate",
    "tls.key",
    "auth.mode",
    "auth.tokens_file",
    "auth.ticket.algorithm",
    "auth.ticket.key_file",
    "auth.ticket.audience",
    "storage.retention",
    "storage.s3.part_size",
)
"""Keys whose values are files, or go with them: test_hooks.py, test_tls.py, test_auth.py; one that
has its effect later: tests/files/test_retention.py; and one that needs object storage:
tests/storage/s3/test_daemon.py."""


def test_each_key_either_reloads_or_needs_a_restart() -> None:
    assert sorted([*EFFECTS, *ELSEWHERE, *NEEDS_RESTART]) == sorted(KEYS)


@pytest.mark.parametrize("key", EFFECTS)
def test_a_new_value_is_in_force_at_once(tmp_path: Path, key: str) -> None:
    effect, (section, _, name) = EFFECTS[key], key.partition(".")
    with Daemon(tmp_path, effect.start, before=FSYNC_TOLD).start() as host:
        if effect.before is not LONG:
            assert effect.probe(host) == effect.before
        told = reload(host, {section: {name: effect.value}})
        assert told["config"] == str(host.config)
        assert told["changed"] == [key]
        assert effect.probe(host) == effect.after
        assert not host.find("config.restart_needed")


RESTARTS: Final[Mapping[str, tuple[object, object]]] = {
    "server.listen": (["127.0.0.1:1", "unix:/x"], ["127.0.0.1:0"]),
    "storage.directory": ("elsewhere", ...),
    "storage.backend": ("s3", "local"),
    "storage.s3.bucket": ("uploads", None),
    "storage.s3.prefix": ("files/", ""),
    "storage.s3.endpoint": ("http://127.0.0.1:1", None),
    "storage.s3.region": ("eu-west-1", None),
    "storage.s3.style": ("path", "auto"),
    "storage.s3.credentials_file": ("keys", None),
    "ledger.url": ("postgresql://127.0.0.1/x", None),
    "ledger.password_file": ("password", None),
    "ledger.node": ("one", None),
    "log.format": ("console", "json"),
}
"""A new value of each key that needs a restart, and the one that stays in force; ...: the path of
the daemon's directory."""


WITH_OTHERS: Final = ("storage.backend", "ledger.password_file", "ledger.node")
"""Keys that are not valid without another one, which needs a restart as well."""


@pytest.mark.parametrize("key", RESTARTS)
def test_a_key_that_needs_a_restart_says_so_each_time_and_what_is_in_force(
    daemon: Daemons, key: str
) -> None:
    host, (value, in_force) = daemon(), RESTARTS[key]
    section, _, name = key.partition(".")
    table, _, last = name.rpartition(".")
    settings: dict[str, object] = {table: {last: value}} if table else {last: value}
    if key == "storage.backend":
        settings["s3"] = {"bucket": "uploads"}  # it is checked as a whole
    if key in ("ledger.password_file", "ledger.node"):
        settings["url"] = "postgresql://127.0.0.1/x"  # likewise
        (host.folder / "password").touch(0o600)
    rewrite(host, {section: settings})
    for told in (1, 2):
        assert hang_up(host, "config.reloaded")["changed"] == []
        line = host.wait_for("config.restart_needed", key=key)
        assert line["in_force"] == (str(host.directory) if in_force is ... else in_force)
        assert count(host, "config.restart_needed") == told * (2 if key in WITH_OTHERS else 1)
    check_serves(host)


def test_the_keys_that_need_a_restart_are_those_that_are_tested() -> None:
    assert set(NEEDS_RESTART) == set(RESTARTS)
