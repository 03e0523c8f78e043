"""How much is kept, what gives way to what, and what the administrator sees of it."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.clients import Signal, hear, open_websocket, say, some_bytes
from helpers.daemon import Daemon, Daemons, log_time, poll, run_galileod
from helpers.mounts import tmpfs
from helpers.resuming import ResumingClient, change_ledger, read_ledger
from helpers.rounds import rounds

MIB = 1 << 20
MANY = rounds(100, 1000)
DATA = some_bytes(4 * MIB)


def run(host: Daemon, *arguments: str) -> str:
    done = run_galileod(*arguments, "--config", host.config, cwd=host.folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def uploads_of(host: Daemon) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(run(host, "uploads", "--json"))["uploads"]
    return listed


def kept_in(host: Daemon) -> dict[str, int]:
    return {each["name"]: each["offset"] for each in uploads_of(host) if each["state"] == "kept"}


def interrupt(host: Daemon, sent: int = 2 * MIB, data: bytes = DATA) -> ResumingClient:
    client, since = ResumingClient(host.url, data), log_time()
    with client.attempt() as attempt:
        attempt.send(sent)
        attempt.cut()
    host.wait_for("upload.kept", since=since, name=client.name)
    return client


def spool_sizes(host: Daemon) -> list[int]:
    folder = host.directory / ".galileod" / "spool"
    return [(folder / name).stat().st_size for name in host.spooled()]


def first_signal(client: ResumingClient, **more: object) -> Signal:
    with open_websocket(client.url) as websocket:
        client.introduce(websocket, **more)
        return hear(websocket)


def test_the_oldest_of_a_user_gives_way_to_one_too_many(daemon: Daemons) -> None:
    host = daemon({"resume": {"user_uploads": 2}})
    clients = [interrupt(host) for _ in range(4)]
    assert kept_in(host) == {client.name: 2 * MIB for client in clients[2:]}
    for client in clients[:2]:
        host.wait_for("upload.evicted", name=client.name, offset=2 * MIB)
    assert len(host.spooled()) == 2


def test_many_interrupted_uploads_of_one_user_leave_sixteen(daemon: Daemons) -> None:
    host = daemon({"resume": {"min_size": 1}})
    for number in range(MANY):
        client = ResumingClient(host.url, b"ab", f"{number}.bin")
        with client.attempt() as attempt:
            attempt.send(1)
            attempt.cut()
    poll("the last one", lambda: f"{MANY - 1}.bin" in kept_in(host))
    assert len(host.spooled()) == len(kept_in(host)) == 16
    host.stop()
    assert read_ledger(host, "SELECT kept, kept_uploads, reserved, uploads FROM holdings") == [
        (16, 16, 0, 0)
    ]


def test_what_is_kept_expires(daemon: Daemons) -> None:
    host = daemon()
    client = interrupt(host)
    host.stop()
    change_ledger(host, "UPDATE uploads SET until = ?", time.time() - 1)
    host.start()
    client = client.at(host.url)
    # Its time was over before the start: it is gone with the first look, or the start kept it anew.
    assert first_signal(client)["offset"] in (0, 2 * MIB)


def test_an_announced_size_makes_nothing_give_way(daemon: Daemons, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=24m") as disk:
        host = daemon({"storage": {"directory": str(disk), "min_free": MIB}})
        client = interrupt(host, 3 * MIB)
        # With what is kept counted as free, each of these would fit; they send nothing.
        for _ in range(5):
            with open_websocket(host.url) as websocket:
                say(websocket, name="large.bin", size=20 * MIB)
                assert hear(websocket).get("ready")
            poll("no upload", lambda: not [u for u in uploads_of(host) if u["state"] == "running"])
        with open_websocket(host.url) as websocket:
            say(websocket, name="larger.bin", size=30 * MIB)
            assert hear(websocket)["code"] == "no_space"
        assert kept_in(host) == {client.name: 3 * MIB}


def test_kept_uploads_give_way_to_data_that_needs_the_room(daemon: Daemons, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=44m") as disk:
        host = daemon({"storage": {"directory": str(disk), "min_free": MIB}})
        kept = interrupt(host, 20 * MIB, os.urandom(21 * MIB))
        sender = ResumingClient(host.url, os.urandom(36 * MIB))
        with sender.attempt() as attempt:
            attempt.send(MIB)
            assert kept_in(host) == {kept.name: 20 * MIB}
            assert attempt.finish() == sender.stored()
        assert kept_in(host) == {}
        host.wait_for("upload.evicted", name=kept.name)
        assert first_signal(kept)["code"] == "no_space"


def test_an_upload_that_goes_on_needs_space_only_for_what_is_still_to_come(
    daemon: Daemons, tmp_path: Path
) -> None:
    with tmpfs(tmp_path / "disk", "size=40m") as disk:
        host = daemon({"storage": {"directory": str(disk), "min_free": MIB}})
        kept = interrupt(host, 20 * MIB, os.urandom(30 * MIB))
        larger = ResumingClient(host.url, os.urandom(20 * MIB))
        with kept.attempt() as attempt:
            assert attempt.first["offset"] == 20 * MIB
            # What the first has already needs no space twice, and what it still needs is its own.
            assert first_signal(larger)["code"] == "no_space"
            assert attempt.finish() == kept.stored()


@pytest.mark.parametrize("key", ["user_bytes", "total_bytes"])
def test_kept_data_counts_and_gives_way_within_the_quota(daemon: Daemons, key: str) -> None:
    host = daemon({"quota": {key: 24 * MIB}})
    kept = interrupt(host, 12 * MIB, os.urandom(13 * MIB))
    usage = json.loads(run(host, "usage", "--json"))["users"]
    assert [(user["kept"], user["kept_uploads"], user["bytes"]) for user in usage] == [
        (12 * MIB, 1, 0)
    ]
    sender = ResumingClient(host.url, os.urandom(22 * MIB))
    with sender.attempt() as attempt:
        assert kept_in(host) == {kept.name: 12 * MIB}
        assert attempt.finish() == sender.stored()
    assert kept_in(host) == {}


def test_what_is_still_to_come_is_reserved_anew(daemon: Daemons) -> None:
    host = daemon({"quota": {"user_bytes": 6 * MIB}})
    kept = interrupt(host)
    other = ResumingClient(host.url, os.urandom(3 * MIB))
    with other.attempt() as attempt:
        attempt.send(1)
        refused = first_signal(kept)
        assert (refused["code"], refused["kept"]) == ("quota_exceeded", 86400)
        assert attempt.finish() == other.stored()


def test_a_full_disk_keeps_what_has_come(daemon: Daemons, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=16m") as disk:
        host = daemon({"storage": {"directory": str(disk), "min_free": 0}})
        client = ResumingClient(host.url, os.urandom(8 * MIB))
        with client.attempt() as attempt:
            attempt.send(2 * MIB)
            poll("the data", lambda: spool_sizes(host) == [2 * MIB])
            filler = disk / "filler"
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass  # the disk is full
            last = attempt.send_until_failed()
        assert (last["code"], last["kept"]) == ("no_space", 86400)
        filler.unlink()
        with client.attempt() as attempt:
            assert attempt.first["offset"] >= 2 * MIB
            assert attempt.finish() == client.stored()


def test_a_full_disk_does_not_prevent_the_start(daemon: Daemons, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=16m") as disk:
        host = daemon({"storage": {"directory": str(disk), "min_free": 0}})
        oldest, other = interrupt(host), interrupt(host)
        host.kill()
        with (disk / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass  # the disk is full
        host.start()
        assert host.wait_for("spool.gave_way")["level"] == "warning"
        assert first_signal(other.at(host.url))["offset"] == 2 * MIB
        (disk / "filler").unlink()
        assert first_signal(oldest.at(host.url))["offset"] == 0


def test_the_administrator_sees_and_discards_what_runs_and_what_is_kept(daemon: Daemons) -> None:
    host = daemon()
    kept, running = interrupt(host), ResumingClient(host.url, DATA)
    with running.attempt() as attempt:
        attempt.send(MIB)
        poll("the data", lambda: {u["offset"] for u in uploads_of(host)} == {MIB, 2 * MIB})
        listed = {each["name"]: each for each in uploads_of(host)}
        assert listed[kept.name]["state"] == "kept"
        assert listed[running.name]["state"] == "running"
        run(host, "uploads", "discard", listed[running.name]["upload"])
        assert attempt.last()["code"] == "abandoned"
    run(host, "uploads", "discard", listed[kept.name]["upload"])
    assert uploads_of(host) == []
    poll("an empty spool", lambda: not host.spooled())
    done = run_galileod("uploads", "discard", "ab", "--config", host.config)
    assert done.returncode == 1
