"""Three nodes with one database and one bucket, and clients that come to all of them at once."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import psycopg
import pytest
from helpers import credentials
from helpers.clients import hear, open_websocket, say, some_bytes
from helpers.credentials import ticket
from helpers.daemon import Daemon
from helpers.engines.buckets import Bucket
from helpers.engines.postgresql import Postgresql
from helpers.nodes import not_recording, short_lease
from helpers.resuming import Attempt, ResumingClient, push, sha1
from helpers.rounds import rounds
from helpers.s3_daemon import PREFIX, contents

pytestmark = pytest.mark.timeout(rounds(120, 1200))

NODES = ("one", "two", "three")
DATA = some_bytes(12 * 1024 * 1024)
SMALL = some_bytes(1000)
AT_ONCE = 12

SHORT = short_lease(6.0, 1.5, 1.0)
"""What a node executes first: its lease is short, and is renewed before it runs out."""

Start = Callable[..., list[Daemon]]


@pytest.fixture
def url(postgresql: Postgresql) -> str:
    return postgresql.new_database()


@pytest.fixture
def start(url: str, bucket: Bucket, tmp_path: Path) -> Iterator[Start]:
    """Starts the nodes, with further tables of their configuration."""
    with ExitStack() as stack:

        def begin(
            storage: dict[str, object] | None = None,
            before: str = "",
            **more: Any,  # noqa: ANN401  tables
        ) -> list[Daemon]:
            s3 = bucket.settings(tmp_path, prefix=PREFIX, part_size="5MiB")
            hosts = []
            for name in NODES:
                tables: dict[str, Any] = {
                    "timeouts": {"close": 1},
                    "storage": {"backend": "s3", "s3": s3, **(storage or {})},
                    "ledger": {"url": url, "node": name},
                    **more,
                }
                host = stack.enter_context(Daemon(tmp_path / name, tables, before=before))
                hosts.append(host.start())
            return hosts

        yield begin


def upload(url: str, name: str, data: bytes = SMALL, **more: object) -> str:
    """Send a small file as the original client does; "stored" and its name, or the fault's code."""
    with open_websocket(url) as websocket:
        say(websocket, name=name, size=len(data), **more)
        while not ((signal := hear(websocket)).get("close") or signal.get("fatal")):
            if signal.get("chunksize"):
                websocket.send(data)
            elif signal.get("ready"):
                say(websocket, finished=True)
    return str(signal["code"]) if signal.get("fatal") else "stored"


def together(hosts: list[Daemon], count: int, send: Callable[[str, int], str]) -> Counter[str]:
    """What so many uploads end with that go to all nodes at the same time."""
    urls = [host.url for _, host in zip(range(count), cycle(hosts), strict=False)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return Counter(threads.map(send, urls, range(count)))


def test_an_upload_goes_to_and_fro_between_the_nodes(start: Start, bucket: Bucket) -> None:
    hosts, count = start(), rounds(6, 200)
    step = len(DATA) // (count + 1)
    client = ResumingClient(hosts[0].url, DATA)
    with ExitStack() as open_ones:
        attempt = open_ones.enter_context(client.attempt())
        for number in range(count):
            attempt.send(attempt.offset + step)
            host = hosts[(number * 2 + 1) % len(hosts)]
            newer = open_ones.enter_context(open_websocket(host.url))
            client.introduce(newer)
            signal = attempt.last()
            assert signal["code"] == "taken_over", (number, signal)
            older, attempt = attempt, Attempt(newer, DATA, hear(newer))
            # What was sent last may have been on its way.
            assert older.first["offset"] <= attempt.offset <= older.offset
        assert attempt.finish() == client.stored()
    assert contents(bucket) == {client.name: sha1(DATA)}


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_connection_waits_for_the_lease_of_a_node_that_is_gone_and_goes_on(
    start: Start, bucket: Bucket, how: signal.Signals
) -> None:
    one, two, _ = start(before=SHORT)
    client = ResumingClient(one.url, DATA)
    with client.attempt() as attempt:
        attempt.send(6 * 1024 * 1024)
        started = one.wait_for("upload.started")
        one.send_signal(how)
        again = client.at(two.url)
        with again.attempt() as newer:
            elsewhere = two.find("upload.elsewhere", runs_at="one", runs_as=started["upload"])
            assert elsewhere
            assert elsewhere["upload"] != started["upload"]
            assert newer.offset in (0, 5 * 1024 * 1024)
            if how == signal.SIGSTOP:
                one.send_signal(signal.SIGCONT)
                assert attempt.last()["code"] == "busy"
            assert newer.finish() == client.stored()
    assert contents(bucket) == {client.name: sha1(DATA)}


def test_a_quota_is_filled_exactly(start: Start, bucket: Bucket) -> None:
    fits, count = rounds(8, 50), rounds(24, 200)
    hosts = start(quota={"total_files": fits})
    ends = together(hosts, count, lambda url, number: upload(url, f"{number}"))
    assert ends == {"stored": fits, "quota_exceeded": count - fits}
    assert len(bucket.contents()) == fits


def test_a_ticket_for_one_upload_is_used_once(start: Start, bucket: Bucket, tmp_path: Path) -> None:
    hosts, count = start(**credentials.settings(tmp_path, "ticket")), rounds(4, 50)
    tickets = [ticket(jti=f"{number}") for number in range(count)]

    def send(url: str, number: int) -> str:
        return upload(url, f"{number}", token=tickets[number // len(NODES)])

    ends = together(hosts, count * len(NODES), send)
    assert ends == {"stored": count, "unauthorized": 2 * count}
    assert len(bucket.contents()) == count


@pytest.mark.parametrize("whole", [True, False])
def test_one_upload_gets_a_name(start: Start, bucket: Bucket, *, whole: bool) -> None:
    chunks = {} if whole else {"whole": 0}
    hosts, count = start({"on_conflict": "reject"}, chunks=chunks), rounds(4, 50)
    ends = together(hosts, count * 3, lambda url, number: upload(url, f"{number // 3}"))
    assert ends == {"stored": count, "conflict": 2 * count}
    assert contents(bucket) == {f"{number}": sha1(SMALL) for number in range(count)}


def test_files_that_replace_each_other_are_in_the_ledger_as_in_the_bucket(
    start: Start, bucket: Bucket, url: str
) -> None:
    hosts, count = start({"on_conflict": "replace"}), rounds(15, 200)
    files = [some_bytes(1000 + number) for number in range(count)]
    ends = together(hosts, count, lambda url, number: upload(url, "a", files[number]))
    assert ends == {"stored": count}
    ((name, stored),) = contents(bucket).items()
    assert name == "a"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT name, sha1 FROM files").fetchall() == [("a", stored)]


@pytest.mark.parametrize("size", [1000, 6 * 1024 * 1024], ids=["one part", "parts"])
def test_an_object_that_is_recorded_late_does_not_take_the_record_of_a_newer_one(
    start: Start, bucket: Bucket, url: str, tmp_path: Path, size: int
) -> None:
    marker = tmp_path / "failing"
    marker.touch()
    one, two, _ = start({"on_conflict": "replace"}, before=not_recording(marker))
    late, newer = (
        ResumingClient(host.url, some_bytes(size + more), name="a")
        for more, host in enumerate((one, two))
    )
    for client in (late, newer):
        with client.attempt() as attempt:
            assert attempt.finish() == client.stored()
    one.wait_for("ledger.behind")
    marker.unlink()
    assert push(late) == "stored"  # its key is remembered
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT name, sha1 FROM files").fetchall() == [
            ("a", sha1(newer.data))
        ]
        for table in ("uploads", "objects"):
            assert not connection.execute(f"SELECT FROM {table}".encode()).rowcount
    assert contents(bucket) == {"a": sha1(newer.data)}
