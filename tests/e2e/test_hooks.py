"""Hooks, from outside: a real daemon tells a script or a receiver of each stored file."""

import contextlib
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from helpers.clients import (
    JavaScriptClient,
    expect_ready,
    hear,
    open_websocket,
    say,
    some_bytes,
)
from helpers.credentials import Office, ticket
from helpers.daemon import Daemon, Daemons, poll, run_galileod
from helpers.hooks import HookReceiver, Script, secret_file, silence, status
from helpers.reloading import hang_up, reload, rewrite
from websockets.exceptions import WebSocketException

from galileod import __version__

DATA = b"hello"
SHA1 = hashlib.sha1(DATA, usedforsecurity=False).hexdigest()


def settings(hook: object, **more: object) -> dict[str, dict[str, object]]:
    return {"hooks": {"stored": hook, **more}, "log": {"format": "json", "level": "debug"}}


def store(host: Daemon, name: str) -> None:
    assert JavaScriptClient(host.url, DATA, name).run().ending == "stored"


@pytest.fixture
def receiver() -> Iterator[HookReceiver]:
    with HookReceiver() as receiver:
        yield receiver


def test_a_command_gets_a_receipt_of_each_stored_file(daemon: Daemons, tmp_path: Path) -> None:
    script = Script(tmp_path, 'cat >> "$notes"; echo >> "$notes"')
    host = daemon(settings([str(script.path)]))
    store(host, "a b.txt")
    (note,) = script.wait_for(1, host)
    line = host.wait_for("hook.delivered")
    stored = host.wait_for("upload.stored")
    receipt = json.loads(note)
    assert len(receipt["id"]) == 32
    assert datetime.fromisoformat(receipt["stored_at"]).utcoffset() is not None
    assert receipt == {
        "id": line["id"],
        "event": "stored",
        "name": "a b.txt",
        "path": str(host.directory / "a b.txt"),
        "size": 5,
        "sha1": SHA1,
        "hash": None,
        "hash_verified": False,
        "user": "127.0.0.1",
        "peer": stored["peer"],
        "upload": stored["upload"],
        "stored_at": receipt["stored_at"],
        "version": __version__,
        "sent": "a b.txt",
        "folder": None,
        "modified": None,
        "ticket": None,
        "meta": None,
    }
    assert (line["upload"], line["name"]) == (stored["upload"], "a b.txt")


def test_a_receipt_has_what_client_and_ticket_have_stated(
    tmp_path: Path, receiver: HookReceiver
) -> None:
    office = Office(tmp_path, "ticket", more={"hooks": {"stored": receiver.origin}})
    with office.host as host:
        host.start()
        token = ticket(jti="t1", meta={"album": [7], "who": "\u00c4nna"})
        sent = "a\n\0\ud800.txt"
        with open_websocket(host.url) as websocket:
            say(websocket, name=sent, size=5, folder="x/../y", modified=7, token=token)
            expect_ready(websocket)
            websocket.send(DATA)
            say(websocket, finished=True)
            while "close" not in hear(websocket):
                pass
        host.wait_for("hook.delivered")
    (posted,) = receiver.posted
    receipt = posted.receipt
    assert receipt["name"] == "x/_/y/a___.txt"
    assert (receipt["sent"], receipt["folder"]) == ("a\n\ufffd\ufffd.txt", "x/../y")
    assert (receipt["modified"], receipt["ticket"]) == (7, "t1")
    assert receipt["meta"] == {"album": [7], "who": "\u00c4nna"}
    assert b"\n" not in posted.body
    assert token.encode() not in posted.body


def test_a_resumed_upload_has_the_receipt_of_its_beginning(
    tmp_path: Path, receiver: HookReceiver
) -> None:
    office = Office(tmp_path, "ticket", more={"hooks": {"stored": receiver.origin}})
    data = some_bytes(3_000_000)
    about = {"name": "a.bin", "size": len(data), "folder": "f", "modified": 7}
    begun = {**about, "upload": "0" * 32, "can": ["resume"]}
    with office.host as host:
        host.start()
        with open_websocket(host.url) as websocket:
            say(websocket, **begun, token=ticket(jti="t1", meta={"at": "its beginning"}))
            websocket.send(data[: expect_ready(websocket)])
            expect_ready(websocket)
        host.wait_for("upload.kept")
        host.kill()
        host.start()
        with open_websocket(host.url) as websocket:
            say(websocket, **begun, token=ticket(jti="t2", meta={"at": "its end"}))
            first = hear(websocket)
            offset, room = first["offset"], first["chunksize"]
            while offset < len(data):
                websocket.send(data[offset : offset + room])
                offset = min(len(data), offset + room)
                room = expect_ready(websocket)
            say(websocket, finished=True)
            while "close" not in hear(websocket):
                pass
        host.wait_for("hook.delivered")
    receipt = receiver.posted[0].receipt
    assert (receipt["ticket"], receipt["meta"]) == ("t1", {"at": "its beginning"})
    assert (receipt["sent"], receipt["folder"], receipt["modified"]) == ("a.bin", "f", 7)


def test_a_hash_of_another_kind_stands_in_the_receipt(
    daemon: Daemons, receiver: HookReceiver
) -> None:
    host = daemon(settings(receiver.origin))
    digest = hashlib.sha256(DATA).hexdigest()
    with open_websocket(host.url) as websocket:
        say(websocket, name="a.txt", size=len(DATA))
        expect_ready(websocket)
        websocket.send(DATA)
        say(websocket, finished=True, hash={"type": "sha256", "value": digest})
        while "close" not in hear(websocket):
            pass
    host.wait_for("hook.delivered")
    receipt = receiver.posted[0].receipt
    assert receipt["hash"] == {"type": "sha256", "value": digest}
    assert (receipt["sha1"], receipt["hash_verified"]) == (SHA1, True)


def test_a_name_that_was_taken_is_told_as_it_became(
    daemon: Daemons, receiver: HookReceiver
) -> None:
    host = daemon(settings(receiver.origin))
    for _ in range(2):
        store(host, "a.txt")
    poll("two posts", lambda: len(receiver.posted) == 2, host.text)
    assert {posted.receipt["name"] for posted in receiver.posted} == {"a.txt", "a (1).txt"}


def test_close_does_not_wait_for_a_hook_that_hangs_and_uploads_go_on(
    daemon: Daemons, tmp_path: Path
) -> None:
    script = Script(tmp_path, 'echo begun >> "$notes"; sleep 1000')
    host = daemon(settings([str(script.path)], parallel=2))
    for number in range(5):
        store(host, f"{number}.txt")
    script.wait_for(2, host)
    assert len(host.visible()) == 5
    assert not host.find("hook.delivered")


def test_a_hook_that_fails_is_tried_again_with_the_same_id(daemon: Daemons) -> None:
    with HookReceiver(status(500), status(204)) as receiver:
        host = daemon(settings(receiver.origin))
        store(host, "a.txt")
        assert host.wait_for("hook.delivered")["attempt"] == 2
    retry = host.wait_for("hook.retry")
    assert (retry["level"], retry["reason"], retry["attempt"]) == (
        "warning", "the response is HTTP 500", 1,
    )  # fmt: skip
    assert retry["next"] <= 1
    first, second = receiver.posted
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"] == retry["id"]
    assert first.body == second.body


def test_nothing_that_may_be_secret_is_logged_even_at_debug(
    daemon: Daemons, tmp_path: Path
) -> None:
    with HookReceiver(status(403), status(200, **{"Set-Cookie": "hunter5"})) as receiver:
        url = f"http://anna:hunter2@127.0.0.1:{receiver.port}/hunter3?token=hunter4"
        key = str(secret_file(tmp_path, b"hunter1"))
        host = daemon(settings(url, secret_file=key))
        store(host, "a.txt")
        host.wait_for("hook.delivered")
    assert host.stop() == 0
    assert "hunter" not in host.text()
    signature = receiver.posted[0].headers["X-Galileod-Signature"]
    assert signature.removeprefix("sha256=") not in host.text()


def test_a_secret_that_everybody_may_read_keeps_the_daemon_from_starting(
    daemon: Daemons, tmp_path: Path
) -> None:
    key = secret_file(tmp_path, b"hunter1", 0o644)
    host = daemon(settings("http://127.0.0.1:9/", secret_file=str(key)), start=False)
    ended = run_galileod("--config", host.config)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert f"hooks.secret_file: {key}: has mode 0644" in line
    assert "hunter" not in ended.stderr


def test_a_new_secret_signs_after_a_reload_and_a_bad_one_is_rejected(
    daemon: Daemons, receiver: HookReceiver, tmp_path: Path
) -> None:
    host = daemon(settings(receiver.origin))
    key = secret_file(tmp_path, b"hunter1")
    reload(host, settings(receiver.origin, secret_file=str(key)))
    store(host, "a.txt")
    host.wait_for("hook.delivered")
    assert receiver.posted[0].headers["X-Galileod-Signature"].startswith("sha256=")
    rewrite(host, settings(receiver.origin, secret_file=str(tmp_path / "none")))
    rejected = hang_up(host, "config.rejected")
    assert "hooks.secret_file" in str(rejected["reason"])
    store(host, "b.txt")
    poll("the next", lambda: len(receiver.posted) == 2, host.text)
    assert "X-Galileod-Signature" in receiver.posted[1].headers


def test_what_was_not_delivered_before_a_kill_is_delivered_after_the_restart(
    daemon: Daemons, receiver: HookReceiver
) -> None:
    with HookReceiver(silence) as hanging:
        host = daemon(settings(f"{hanging.origin}/", parallel=1))
        for number in range(3):
            store(host, f"{number}.txt")
        poll("the first attempt", lambda: hanging.posted, host.text)
        host.kill()
    host.config.write_text(host.config.read_text().replace(hanging.origin, receiver.origin))
    host.start()
    poll("all of them", lambda: len(receiver.posted) == 3, host.text)
    assert [posted.receipt["name"] for posted in receiver.posted] == ["0.txt", "1.txt", "2.txt"]
    # The attempt that was cut off is made again, with the same receipt.
    assert receiver.posted[0].body == hanging.posted[0].body


def test_what_runs_at_a_stop_may_end_within_the_drain_time(daemon: Daemons, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    os.mkfifo(go_on)
    script = Script(tmp_path, f'echo begun >> "$notes"; cat "{go_on}"; echo done >> "$notes"')
    host = daemon(settings([str(script.path)]))
    store(host, "a.txt")
    script.wait_for(1, host)
    host.send_signal(signal.SIGTERM)
    host.wait_for("server.draining")
    go_on.write_text("x")
    assert host.wait() == 0
    assert script.told == ["begun", "done"]
    assert host.wait_for("hook.delivered")


def test_what_takes_longer_than_the_drain_time_is_ended_and_delivered_after_the_restart(
    daemon: Daemons, tmp_path: Path
) -> None:
    text = 'trap "echo ended >> $notes; exit 1" TERM; echo begun >> "$notes"; sleep 1000 & wait'
    script = Script(tmp_path, text)
    host = daemon({**settings([str(script.path)]), "server": {"drain_timeout": "100ms"}})
    store(host, "a.txt")
    script.wait_for(1, host)
    assert host.stop() == 0
    assert script.told == ["begun", "ended"]
    script.path.write_text(f"#!/bin/sh\ncat > {tmp_path}/receipt; echo told >> {script.notes}\n")
    host.start()
    assert script.wait_for(3, host)[2] == "told"
    assert json.loads((tmp_path / "receipt").read_text())["name"] == "a.txt"


def test_without_a_hook_nothing_is_owed_and_what_was_owed_waits(
    daemon: Daemons, receiver: HookReceiver
) -> None:
    with HookReceiver(silence) as hanging:
        host = daemon(settings(f"{hanging.origin}/"))
        store(host, "owed.txt")
        host.kill()
    with_hook = host.config.read_text()
    without = with_hook.replace(f'"{hanging.origin}/"', "[]")
    host.config.write_text(without)
    host.start()
    assert host.wait_for("hook.waiting")["deliveries"] == 1
    store(host, "not-owed.txt")
    assert host.stop() == 0
    host.config.write_text(with_hook.replace(hanging.origin, receiver.origin))
    host.start()
    host.wait_for("hook.delivered")
    assert host.stop() == 0
    assert [posted.receipt["name"] for posted in receiver.posted] == ["owed.txt"]


def killed_at(step: str) -> str:
    """Code for a galileod that is killed where it would begin this step, a function or a method."""
    kind, _, method = step.rpartition(".")
    module, _, name = kind.rpartition(".")
    return (
        f"import os, signal; from galileod.{module} import {name};"
        f"{name}.{method} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    )


@pytest.mark.parametrize(
    ("step", "on_conflict", "stored", "deliveries"),
    [
        ("storage.local.publish.publish", "rename", False, 0),
        # Published, and not yet in the ledger.
        ("ledger.sqlite.SqliteLedger.commit_whole", "rename", True, 1),
        ("ledger.sqlite.SqliteLedger.commit_whole", "replace", True, 1),
        ("hooks.delivery.Delivery._attempt", "rename", True, 1),
        # The receiver has it, and the ledger does not know.
        ("ledger.sqlite.outbox.SqliteOutbox.delivered", "rename", True, 2),
    ],
)
def test_a_kill_at_any_step_loses_no_delivery_and_invents_none(
    tmp_path: Path,
    receiver: HookReceiver,
    step: str,
    on_conflict: str,
    deliveries: int,
    *,
    stored: bool,
) -> None:
    tables = settings(receiver.origin)
    tables["storage"] = {
        "directory": str(tmp_path / "files"), "min_free": 0, "on_conflict": on_conflict,
    }  # fmt: skip
    with Daemon(tmp_path, tables, before=killed_at(step)) as host:
        host.start()
        with contextlib.suppress(OSError, EOFError, WebSocketException):
            JavaScriptClient(host.url, DATA, "a.txt").run()
        assert host.wait() == -signal.SIGKILL
        assert list(host.visible()) == ["a.txt"] * stored
    with Daemon(tmp_path, tables) as host:
        host.start()
        if deliveries:
            host.wait_for("hook.delivered")
        assert host.stop() == 0
        usage = json.loads(run_galileod("usage", "--json", "--config", host.config).stdout)
        assert [one["user"] for one in usage["users"]] == ["127.0.0.1"] * stored
    assert [posted.receipt["name"] for posted in receiver.posted] == ["a.txt"] * deliveries
    assert len({posted.headers["Idempotency-Key"] for posted in receiver.posted}) <= 1
