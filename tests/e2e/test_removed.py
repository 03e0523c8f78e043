"""The hook that hears of removed files, from outside: by hand of an administrator, and by time."""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from helpers.clients import JavaScriptClient, expect_ready, hear, open_websocket, say
from helpers.credentials import Office, ticket
from helpers.daemon import Daemon, Daemons, poll, run_galileod
from helpers.hooks import HookReceiver, Script, silence

from galileod import __version__

DATA = b"hello"
SHA1 = hashlib.sha1(DATA, usedforsecurity=False).hexdigest()


@pytest.fixture
def receiver() -> Iterator[HookReceiver]:
    with HookReceiver() as receiver:
        yield receiver


def files(host: Daemon, *arguments: str) -> str:
    done = run_galileod("files", *arguments, "--config", host.config)
    assert done.returncode == 0, done.stderr
    return done.stdout


def store(host: Daemon, **metadata: object) -> None:
    with open_websocket(host.url) as websocket:
        say(websocket, size=len(DATA), **metadata)
        expect_ready(websocket)
        websocket.send(DATA)
        say(websocket, finished=True)
        while "close" not in hear(websocket):
            pass


def test_a_removed_file_is_reported_with_what_its_ticket_has_stated(
    tmp_path: Path, receiver: HookReceiver
) -> None:
    hooks = {"stored": receiver.origin, "removed": f"{receiver.origin}/removed"}
    office = Office(tmp_path, "ticket", more={"hooks": hooks})
    with office.host as host:
        host.start()
        token = ticket(jti="t1", meta={"album": 7})
        store(host, name="a.txt", folder="x", modified=7, token=token)
        host.wait_for("hook.delivered")
        files(host, "remove", "x/a.txt")
        poll("both receipts", lambda: len(receiver.posted) == 2, host.text)
        assert not (host.directory / "x").exists()
    stored, removed = (posted.receipt for posted in receiver.posted)
    assert [posted.path for posted in receiver.posted] == ["/", "/removed"]
    assert receiver.posted[1].headers["Idempotency-Key"] == removed["id"]
    assert datetime.fromisoformat(removed["removed_at"]).utcoffset() is not None
    assert removed == {
        "id": removed["id"],
        "event": "removed",
        "reason": "removed",
        "size": 5,
        "sha1": SHA1,
        "user": "anna",
        "upload": stored["upload"],
        "stored_at": removed["stored_at"],
        "removed_at": removed["removed_at"],
        "version": __version__,
        "sent": "a.txt",
        "folder": "x",
        "modified": 7,
        "ticket": "t1",
        "meta": {"album": 7},
        "name": "x/a.txt",
        "path": str(host.directory / "x" / "a.txt"),
    }
    assert removed["id"] != stored["id"]


def test_a_file_whose_time_is_over_is_reported_as_expired(
    tmp_path: Path, receiver: HookReceiver
) -> None:
    office = Office(tmp_path, "ticket", more={"hooks": {"removed": receiver.origin}})
    with office.host as host:
        host.start()
        store(host, name="a.txt", token=ticket(retention=1))
        store(host, name="b.txt", token=ticket(retention="30d"))
        poll("the receipt", lambda: receiver.posted, host.text)
        assert host.wait_for("file.expired")["path"]
        assert (host.directory / "b.txt").exists()
    (posted,) = receiver.posted
    assert (posted.receipt["name"], posted.receipt["reason"]) == ("a.txt", "expired")


def test_a_file_that_was_put_there_by_hand_is_not_reported(
    daemon: Daemons, receiver: HookReceiver
) -> None:
    host = daemon({"hooks": {"removed": receiver.origin}}, start=False)
    host.directory.mkdir(parents=True, exist_ok=True)
    (host.directory / "by-hand.txt").write_bytes(DATA)
    host.start()
    assert JavaScriptClient(host.url, DATA, "uploaded.txt").run().ending == "stored"
    files(host, "remove", "by-hand.txt", "uploaded.txt")
    host.wait_for("hook.delivered")
    assert host.stop() == 0
    assert [posted.receipt["name"] for posted in receiver.posted] == ["uploaded.txt"]
    assert host.visible() == {}


def test_a_removal_that_was_not_reported_before_a_kill_is_reported_after_the_restart(
    daemon: Daemons, receiver: HookReceiver
) -> None:
    with HookReceiver(silence) as hanging:
        host = daemon({"hooks": {"removed": f"{hanging.origin}/"}})
        assert JavaScriptClient(host.url, DATA, "a.txt").run().ending == "stored"
        files(host, "remove", "a.txt")
        poll("the first attempt", lambda: hanging.posted, host.text)
        host.kill()
    host.config.write_text(host.config.read_text().replace(hanging.origin, receiver.origin))
    host.start()
    poll("the second attempt", lambda: receiver.posted, host.text)
    assert receiver.posted[0].body == hanging.posted[0].body


def test_without_the_hook_nothing_is_owed(daemon: Daemons, tmp_path: Path) -> None:
    script = Script(tmp_path, 'cat >> "$notes"; echo >> "$notes"')
    host = daemon({"hooks": {"stored": [str(script.path)]}})
    assert JavaScriptClient(host.url, DATA, "a.txt").run().ending == "stored"
    script.wait_for(1, host)
    files(host, "remove", "a.txt")
    host.wait_for("file.removed")
    assert host.stop() == 0
    host.start()
    assert not host.find("hook.waiting")
    assert [json.loads(line)["event"] for line in script.told] == ["stored"]
