"""Two daemons with one directory and one ledger in PostgreSQL, as on a network filesystem."""

import json
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from helpers.clients import some_bytes
from helpers.connecting import connected
from helpers.daemon import Daemon, poll, run_galileod
from helpers.nodes import not_recording, short_lease
from helpers.pausing import stopped
from helpers.resuming import ResumingClient, push

pytestmark = pytest.mark.timeout(120)

DATA = some_bytes(3_000_000)
SENT = 2_100_000

SHORT = short_lease(10.0, 1.0, 1.0)
"""What a node executes first that is to be taken for dead: its lease is short."""


LINKING = """
import errno, os
from galileod.storage.local import directoryid, publish, spool
def refuse(*args, **more): raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
directoryid.rename_noreplace = publish.rename_noreplace = spool.rename_noreplace = refuse
spool.Spool._has_unnamed_files = lambda self: False
"""
"""Executed first, it takes away what NFS lacks: files are linked, and always have names."""


class Nodes:
    """Nodes by their names, each in a folder of its own, with one directory and one database."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self.url = url
        self.directory = folder / "shared"
        self._folder = folder
        self._stack = stack

    def make(self, name: str, before: str = "", **storage: Any) -> Daemon:  # noqa: ANN401  keys
        tables: dict[str, Any] = {
            "timeouts": {"close": 1},
            "server": {"drain_timeout": 0.2},
            "storage": {"directory": str(self.directory), "min_free": 0, **storage},
            "ledger": {"url": self.url, "node": name},
        }
        return self._stack.enter_context(Daemon(self._folder / name, tables, before=before))

    def start(self, name: str, before: str = "", **storage: Any) -> Daemon:  # noqa: ANN401  keys
        return self.make(name, before, **storage).start()

    def spool(self, name: str) -> list[str]:
        return os.listdir(self.directory / ".galileod/nodes" / name / "spool")

    def stored(self) -> dict[str, bytes]:
        return {
            path.name: path.read_bytes()
            for path in self.directory.iterdir()
            if path.name != ".galileod"
        }

    def records(self) -> dict[str, int]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            return dict(connection.execute("SELECT name, bytes FROM files").fetchall())

    def begun(self) -> int:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute("SELECT count(*) FROM uploads").fetchone()
        return int(row[0]) if row else 0


@pytest.fixture
def nodes(ledger_url: str, tmp_path: Path) -> Iterator[Nodes]:
    with ExitStack() as stack:
        yield Nodes(ledger_url, tmp_path, stack)


def keep(nodes: Nodes, host: Daemon, until: int = SENT) -> ResumingClient:
    client = ResumingClient(host.url, DATA)
    with client.attempt() as attempt:
        attempt.send(until)
        attempt.cut()
    host.wait_for("upload.kept", offset=until)
    return client


def test_an_upload_that_one_node_has_kept_goes_on_at_the_other_and_back(nodes: Nodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    client = keep(nodes, one, 1_000_000)
    assert (len(nodes.spool("one")), len(nodes.spool("two"))) == (1, 0)
    for host, until in ((two, 1_500_000), (one, SENT)):
        with client.at(host.url).attempt() as attempt:
            assert attempt.first["offset"] < until
            attempt.send(until)
            attempt.cut()
        host.wait_for("upload.kept", offset=until)
        assert [len(nodes.spool(name)) for name in ("one", "two")] == [host is one, host is two]
    with client.at(two.url).attempt() as attempt:
        assert attempt.first["offset"] == SENT
        assert attempt.finish() == client.stored()
    assert nodes.stored() == {client.name: DATA}
    assert nodes.records() == {client.name: len(DATA)}
    assert nodes.spool("one") == nodes.spool("two") == []


def test_what_a_killed_node_has_left_goes_on_at_the_other(nodes: Nodes) -> None:
    one, two = nodes.start("one", SHORT), nodes.start("two", SHORT)
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.send(SENT)
        poll("the data is there", lambda: _spooled(nodes, "one") == SENT)
        one.kill()
    settled = two.wait_for("node.settled")
    assert (settled["nodes"], settled["kept"], settled["stored"]) == (["one"], 1, 0)
    assert nodes.spool("one") == []
    with client.at(two.url).attempt() as attempt:
        assert attempt.first["offset"] == SENT
        assert attempt.finish() == client.stored()
    assert nodes.stored() == {client.name: DATA}
    one.start()
    with ResumingClient(one.url, DATA).attempt() as attempt:
        attempt.finish()
    assert len(nodes.stored()) == 2


def _spooled(nodes: Nodes, name: str) -> int:
    folder = nodes.directory / ".galileod/nodes" / name / "spool"
    return sum(path.stat().st_size for path in folder.iterdir())


def test_a_node_that_was_stopped_beyond_its_lease_leaves_its_upload_to_the_other(
    nodes: Nodes,
) -> None:
    one, two = nodes.start("one", SHORT), nodes.start("two", SHORT)
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.send(SENT)
        poll("the data is there", lambda: _spooled(nodes, "one") == SENT)
        with stopped(one.pid, one.send_signal, 0):
            two.wait_for("node.settled", kept=1)
        signal_ = attempt.last()
        assert (signal_["code"], signal_["fatal"]) == ("busy", True)
    one.wait_for("lease.renewed")
    assert (len(nodes.spool("one")), len(nodes.spool("two"))) == (0, 1)
    with client.at(one.url).attempt() as attempt:
        assert attempt.first["offset"] == SENT
        assert attempt.finish() == client.stored()
    assert nodes.stored() == {client.name: DATA}
    assert nodes.begun() == 0


def test_a_start_touches_nothing_of_the_other_node(nodes: Nodes) -> None:
    one = nodes.start("one")
    kept = keep(nodes, one)
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.send(SENT)
        nodes.start("two")
        assert attempt.finish() == client.stored()
    with kept.at(one.url).attempt() as attempt:
        assert attempt.first["offset"] == SENT
        assert attempt.finish() == kept.stored()
    assert nodes.stored() == {client.name: DATA, kept.name: DATA}
    assert nodes.records() == dict.fromkeys([client.name, kept.name], len(DATA))


def test_a_kept_upload_that_is_claimed_at_both_nodes_is_stored_once(nodes: Nodes) -> None:
    hosts = nodes.start("one"), nodes.start("two")
    for turn in range(4):
        client = keep(nodes, hosts[turn % 2])

        def attempt(host: Daemon, client: ResumingClient = client) -> str:
            while (result := push(client.at(host.url))) in {"busy", "lost"}:
                pass
            return result

        with ThreadPoolExecutor(2) as pool:
            results = sorted(pool.map(attempt, hosts))
        assert results in (["stored", "stored"], ["stored", "taken_over"])
        assert nodes.stored() == {client.name: DATA}
        assert nodes.begun() == 0
        hosts[0].directory.joinpath(client.name).unlink()
        galileod(hosts[0], "files", "rescan")
    assert nodes.spool("one") == nodes.spool("two") == []


def galileod(host: Daemon, *arguments: str) -> str:
    done = run_galileod(*arguments, "--config", host.config)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_an_upload_that_is_discarded_at_one_node_is_gone_from_the_other_s_spool(
    nodes: Nodes,
) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    keep(nodes, one)
    (row,) = json.loads(galileod(two, "uploads", "list", "--json"))["uploads"]
    galileod(two, "uploads", "discard", row["upload"])
    assert nodes.spool("one") == []


def test_files_that_replace_each_other_at_both_nodes_are_recorded_as_they_are(
    nodes: Nodes,
) -> None:
    hosts = [nodes.start(name, on_conflict="replace") for name in ("one", "two")]
    contents = [some_bytes(length) for length in range(1000, 1040)]

    def store(number: int) -> None:
        client = ResumingClient(hosts[number % 2].url, contents[number], name="a.bin")
        with client.attempt() as attempt:
            assert attempt.finish() == client.stored()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store, range(len(contents))))
    ((name, content),) = nodes.stored().items()
    assert nodes.records() == {name: len(content)}
    assert content in contents


@pytest.fixture
def late(nodes: Nodes, tmp_path: Path) -> tuple[Daemon, Daemon, Path]:
    """Two nodes; the first cannot record what it has stored before the file is unlinked."""
    marker = tmp_path / "failing"
    marker.touch()
    one = nodes.start("one", not_recording(marker), on_conflict="replace")
    return one, nodes.start("two", on_conflict="replace", retention="1h"), marker


def store(host: Daemon, content: bytes, name: str = "a.bin") -> ResumingClient:
    client = ResumingClient(host.url, content, name=name)
    with client.attempt() as attempt:
        assert attempt.finish() == client.stored()
    return client


def test_a_file_that_is_recorded_late_does_not_take_the_record_of_a_newer_one(
    nodes: Nodes, late: tuple[Daemon, Daemon, Path]
) -> None:
    one, two, marker = late
    client = store(one, DATA)
    one.wait_for("ledger.behind")
    store(two, DATA[:SENT])
    marker.unlink()
    assert push(client) == "stored"  # its key is remembered
    assert nodes.records() == {"a.bin": SENT}
    assert nodes.stored() == {"a.bin": DATA[:SENT]}
    assert nodes.begun() == 0


def test_retention_spares_a_file_that_another_node_records_late(
    nodes: Nodes, late: tuple[Daemon, Daemon, Path]
) -> None:
    one, two, marker = late
    for name in ("a.bin", "b.bin"):
        store(two, DATA[::-1], name)
    client = store(one, DATA)
    with psycopg.connect(nodes.url, autocommit=True) as connection:
        connection.execute("UPDATE files SET stored = 0")
    assert two.wait_for("file.expired")["path"] == "b.bin"
    assert nodes.stored() == {"a.bin": DATA}
    marker.unlink()
    assert push(client) == "stored"
    assert nodes.stored() == {"a.bin": DATA}
    assert nodes.records() == {"a.bin": len(DATA)}
    assert nodes.begun() == 0


@pytest.mark.parametrize("before", ["", LINKING], ids=["renaming", "linking"])
@pytest.mark.parametrize("ends", [6])
def test_what_was_confirmed_survives_kills_of_both_nodes_and_is_stored_once(
    nodes: Nodes, ends: int, before: str
) -> None:
    moments = random.Random(1)
    hosts = nodes.start("one", before), nodes.start("two", before)
    contents = [some_bytes(size) for size in (0, 1, 70_000, 400_000, 1_300_000, 3_000_000)]
    stored: dict[str, bytes] = {}
    over = threading.Event()

    def upload(worker: int) -> None:
        choices = random.Random(worker)
        number = 0
        while not over.is_set():
            number += 1
            content = contents[(worker + number) % len(contents)]
            client = ResumingClient(hosts[0].url, content)
            while push(client.at(choices.choice(hosts).url)) != "stored":
                pass  # that node is not there, or the other one still has the upload
            stored[client.name] = content

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(upload, worker) for worker in range(4)]
        for _ in range(ends):
            time.sleep(moments.uniform(0.2, 1.0))  # the moment of the kill is what is tested
            host = moments.choice(hosts)
            host.kill()
            host.start()
        over.set()
    for worker in workers:
        worker.result()
    assert nodes.stored() == stored
    assert nodes.records() == {name: len(content) for name, content in stored.items()}
    assert nodes.begun() == 0
    assert nodes.spool("one") == nodes.spool("two") == []


def test_a_start_drops_no_record_of_a_file_that_it_has_not_listed(nodes: Nodes) -> None:
    one = nodes.start("one")
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.finish()
    (nodes.directory / client.name).rename(nodes.directory / "by hand")
    assert one.stop() == 0
    one.start()
    assert nodes.records() == {client.name: len(DATA)}
    galileod(one, "files", "rescan")
    assert nodes.records() == {"by hand": len(DATA)}


def test_a_node_whose_directory_is_not_mounted_does_not_start(nodes: Nodes) -> None:
    one, two = nodes.start("one"), nodes.make("two")
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.finish()
    assert one.stop() == 0
    hidden = nodes.directory.with_name("hidden")
    nodes.directory.rename(hidden)
    (error,) = connected(two.config)[2]
    assert f"but '{client.name}' is not in storage.directory" in error
    ended = run_galileod("serve", "--config", two.config)
    assert ended.returncode == 1
    assert f"but '{client.name}' is not in the directory" in ended.stderr
    shutil.rmtree(nodes.directory)
    hidden.rename(nodes.directory)
    assert connected(two.config)[0] == 0
    two.start()


def test_a_directory_that_has_lost_its_state_is_known_by_its_files(nodes: Nodes) -> None:
    one = nodes.start("one")
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.finish()
    kept = keep(nodes, one)
    assert one.stop() == 0
    shutil.rmtree(nodes.directory / ".galileod")
    one.start()
    assert one.find("ledger.moved")
    assert nodes.records() == {client.name: len(DATA)}
    with kept.at(one.url).attempt() as attempt:
        assert attempt.first.get("offset", 0) == 0
        assert attempt.finish() == kept.stored()
    assert nodes.begun() == 0


def test_uploads_of_all_nodes_are_listed_and_discarded_at_any(nodes: Nodes) -> None:
    one, two = nodes.start("one"), nodes.start("two")
    clients = [ResumingClient(host.url, DATA) for host in (one, two)]
    with clients[0].attempt() as first, clients[1].attempt() as second:
        for attempt in (first, second):
            attempt.send(SENT)

        def listed(host: Daemon) -> dict[str, tuple[str, str, str | None]]:
            done = run_galileod("uploads", "--config", host.config, "--json")
            assert (done.returncode, done.stderr) == (0, "")
            rows = json.loads(done.stdout)["uploads"]
            return {row["name"]: (row["upload"], row["state"], row["node"]) for row in rows}

        found = listed(one)
        assert found == listed(two)
        assert [found[client.name][1:] for client in clients] == [
            ("running", "one"), ("running", "two"),
        ]  # fmt: skip
        table = run_galileod("uploads", "--config", one.config).stdout.splitlines()
        assert table[0].split()[-2:] == ["node", "name"]
        assert sorted(line.split()[-2] for line in table[1:]) == ["one", "two"]
        upload = found[clients[1].name][0]
        done = run_galileod("uploads", "discard", upload, "--config", one.config)
        assert (done.returncode, done.stdout) == (0, f"discarded {upload} of 127.0.0.1\n")
        assert second.last()["code"] == "abandoned"
        first.cut()
    one.wait_for("upload.kept")
    assert list(listed(two).values()) == [(found[clients[0].name][0], "kept", None)]
    upload = found[clients[0].name][0]
    assert run_galileod("uploads", "discard", upload, "--config", two.config).returncode == 0
    assert nodes.begun() == 0
    assert (nodes.spool("one"), nodes.spool("two")) == ([], [])
