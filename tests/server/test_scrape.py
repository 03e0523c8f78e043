"""`GET /metrics`: who may see it, what it says, and that it never waits for long."""

import math
from typing import Final, get_args

import pytest
import trio
from attrs import evolve
from helpers.ledgers import keep
from helpers.memory_store import MemoryStore
from helpers.nodes import FakeNode
from helpers.scraping import Scrape
from helpers.wire import Wire, serving, text_frame, with_chunks
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.config.model import Config
from galileod.ledger.base import LedgerError
from galileod.ledger.sqlite import SqliteLedger
from galileod.metrics import ResumeEvent
from galileod.net.addresses import network_of, parse_network
from galileod.net.peer import Peer
from galileod.net.settings import Metrics, Server
from galileod.policy.quota import Holding
from galileod.policy.settings import Quota
from galileod.server.scrape import DISK_SECONDS
from galileod.storage.errors import StorageError
from galileod.units import Size

pytestmark = pytest.mark.timeout(20)

PATH: Final = "/metrics"

UNIX: Final = Peer("unix", "unix", "unix")


def peer(host: str) -> Peer:
    return UNIX if host == "unix" else Peer(f"{host}:4711", host, network_of(host))


def head(path: str = PATH, **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


async def scraped(wire: Wire) -> Scrape:
    answer = await wire.request(head(), UNIX)
    assert answer.startswith(b"HTTP/1.1 200 ")
    return Scrape(answer.partition(b"\r\n\r\n")[2].decode())


def refused(scrape: Scrape) -> float:
    return scrape.total("galileod_connections_refused_total")


# Who.


@pytest.mark.parametrize(
    ("allow", "host", "headers", "status"),
    [
        (None, "127.0.0.1", {}, b"200"),
        (None, "127.3.2.1", {}, b"200"),
        (None, "::1", {}, b"200"),
        (None, "::ffff:127.0.0.1", {}, b"200"),
        (None, "unix", {}, b"200"),
        (None, "192.0.2.1", {}, b"403"),
        (None, "2001:db8::1", {}, b"403"),
        (["192.0.2.0/24"], "192.0.2.1", {}, b"200"),
        (["192.0.2.0/24"], "127.0.0.1", {}, b"403"),
        (["192.0.2.0/24"], "unix", {}, b"403"),
        ([], "127.0.0.1", {}, b"403"),
        ([], "unix", {}, b"403"),
        # A proxy on this machine that nobody has told us of: behind it may be anybody.
        (None, "127.0.0.1", {"X_Forwarded_For": "192.0.2.1"}, b"403"),
        (None, "127.0.0.1", {"X_Forwarded_For": "127.0.0.1"}, b"403"),
        (None, "127.0.0.1", {"Forwarded": "for=127.0.0.1"}, b"403"),
        (None, "127.0.0.1", {"Via": "1.1 proxy"}, b"403"),
        (None, "127.0.0.1", {"X-Forwarded-Proto": "https"}, b"403"),
        (None, "127.0.0.1", {"X-Forwarded-Host": "a"}, b"403"),
        (None, "unix", {"X_Real_IP": "127.0.0.1"}, b"403"),
        (["0.0.0.0/0"], "192.0.2.1", {"X_Forwarded_For": "127.0.0.1"}, b"403"),
        # Behind a trusted one it is the client who is looked at.
        (None, "10.0.0.1", {"X_Forwarded_For": "192.0.2.1"}, b"403"),
        (None, "10.0.0.1", {"X_Forwarded_For": "127.0.0.1, 192.0.2.1"}, b"403"),
        (["192.0.2.0/24"], "10.0.0.1", {"X_Forwarded_For": "127.0.0.1, 192.0.2.1"}, b"200"),
        (["10.0.0.0/8"], "10.0.0.1", {}, b"200"),
        # One that names nobody.
        (["10.0.0.0/8"], "10.0.0.1", {"X_Forwarded_For": "10.0.0.2"}, b"403"),
        (["10.0.0.0/8"], "10.0.0.1", {"X_Forwarded_For": "192.0.2.7:4711"}, b"403"),
        (["10.0.0.0/8"], "10.0.0.1", {"Via": "1.1 proxy"}, b"403"),
    ],
)
async def test_metrics_are_for_the_allowed_networks(
    autojump_clock: MockClock,
    allow: list[str] | None,
    host: str,
    headers: dict[str, str],
    status: bytes,
) -> None:
    settings = Config(server=Server(trusted_proxies=(parse_network("10.0.0.0/8"),)))
    if allow is not None:
        settings = evolve(settings, metrics=Metrics(tuple(map(parse_network, allow))))
    with capture_logs() as logs:
        async with serving(MemoryStore(), settings) as wire:
            answer = await wire.request(head(**headers), peer(host))
    assert answer.split()[1] == status
    # Whoever is turned away stands in the log with the reason; a scrape is no news.
    assert [line["status"] for line in logs] == ([] if status == b"200" else [403])
    assert all(line["reason"].encode() in answer for line in logs)


@pytest.mark.parametrize("path", [PATH, "/healthz"])
@pytest.mark.parametrize("full", [False, True])
async def test_those_who_watch_are_no_refusals(
    autojump_clock: MockClock, path: str, *, full: bool
) -> None:
    most = 1 if full else 100
    async with serving(MemoryStore(), Config(server=Server(max_connections=most))) as wire:
        await wire.open_raw()
        with capture_logs() as logs:
            answer = await wire.request(head(path), UNIX)
            assert answer.split()[1] == (b"503" if full and path != PATH else b"200")
            # The scrape is served above the cap, so that one sees that it is reached.
            scrape = await scraped(wire)
        assert not logs
        assert refused(scrape) == 0
        assert scrape("galileod_connections") == (1 if full else 2)
        assert scrape("galileod_connections_limit") == most


async def test_refusals_are_counted_by_their_status(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore()) as wire:
        for sent in (head("/nothing"), head("/nothing"), b"nonsense\r\n\r\n", b""):
            await wire.request(sent)
        await wire.request(head(), peer("192.0.2.1"))
        scrape = await scraped(wire)
    counted = {
        sample.labels["status"]: sample.value
        for sample in scrape.samples
        if sample.name == "galileod_connections_refused_total" and sample.value
    }
    assert counted == {"404": 2, "400": 1, "403": 1, "none": 1}


# What.


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", b"text/plain; version=0.0.4"),
        ("*/*", b"text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=1.0.0", b"application/openmetrics-text"),
        # prometheus-client 0.21 answers each version of it.
        ("application/openmetrics-text;version=0.0.1", b""),
        ("application/openmetrics-text;version=abc", b""),
        ("text/plain;version=1.x", b"text/plain; version=0.0.4"),
        ("text/plain;version=" + "9" * 5000, b"text/plain; version=0.0.4"),
        (";;;=,=;version", b"text/plain; version=0.0.4"),
    ],
)
async def test_the_form_is_what_was_asked_for(
    autojump_clock: MockClock, accept: str, kind: bytes
) -> None:
    async with serving(MemoryStore()) as wire:
        answer = await wire.request(head(accept=accept), UNIX)
    start, _, text = answer.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nContent-Type: " + kind in start
    assert b'galileod_build_info{version="' in text
    assert text.endswith(b"# EOF\n") == (b"\r\nContent-Type: application/openmetrics-text" in start)


async def test_uploads_are_counted_as_they_end(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore(), with_chunks(1000, 2)) as wire:
        client = await wire.open()
        assert await client.upload("a.bin", bytes(2500)) == {"close": True}
        await client.close()
        stranger = await wire.open_raw()
        await stranger.send(text_frame({"name": "", "size": 1}))
        await stranger.receive_all()
        scrape = await scraped(wire)
    assert scrape("galileod_uploads_total", outcome="stored", code="") == 1
    assert scrape("galileod_uploads_total", outcome="failed", code="bad_name") == 1
    assert scrape.total("galileod_uploads_total") == 2
    assert scrape("galileod_upload_bytes_total") == 2500
    assert scrape("galileod_upload_seconds_count") == 1
    assert scrape("galileod_chunk_bytes_count") == 3
    assert scrape("galileod_chunk_bytes_sum") == 2500
    assert scrape("galileod_round_trip_seconds_count") == 3
    assert scrape("galileod_quota_used_bytes") == 2500
    assert scrape("galileod_quota_used_files") == 1
    assert scrape("galileod_quota_limit_bytes") is None


async def test_what_runs_is_shown_as_it_is_now(autojump_clock: MockClock) -> None:
    settings = evolve(with_chunks(1000, 1), quota=Quota(Size(10_000), 7))
    settings = evolve(settings, chunks=evolve(settings.chunks, memory=Size(1000)))
    async with serving(MemoryStore(), settings) as wire:
        for name in ("a", "b"):
            raw = await wire.open_raw(peer=peer("192.0.2.1"))
            await raw.send(text_frame({"name": name, "size": 2000}))
            await trio.testing.wait_all_tasks_blocked()
        scrape = await scraped(wire)
    assert scrape("galileod_uploads_running") == 2
    assert scrape("galileod_uploads_waiting") == 1
    assert scrape("galileod_granted_bytes") == scrape("galileod_granted_bytes_limit") == 1000
    assert scrape("galileod_quota_used_bytes") == 4000
    assert scrape("galileod_quota_limit_bytes") == 10_000
    assert scrape("galileod_quota_used_files") == 2
    assert scrape("galileod_quota_limit_files") == 7
    assert scrape("galileod_disk_free_bytes") == 2**62


async def test_what_is_owed_to_the_hook_is_counted(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore()) as wire:
        ledger = wire.context.ledger
        for name in ("a", "b", "c"):
            await ledger.reserve(name, "anna", 1, lambda *_: None)
            await ledger.promise(name, "7", "{}")
            await ledger.commit(name, name)
        given_up, delivered, _ = await ledger.outbox.first(3)
        await ledger.outbox.postpone(given_up.number, None)
        await ledger.outbox.delivered(delivered.number)
        scrape = await scraped(wire)
    assert scrape("galileod_hook_deliveries_owed") == 2


async def test_what_is_kept_is_counted(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore()) as wire:
        await keep(wire.context.ledger, "a" * 16, size=100, offset=40)
        await keep(wire.context.ledger, "b" * 16, "ben", size=100, offset=2)
        scrape = await scraped(wire)
    assert scrape("galileod_kept_uploads") == 2
    assert scrape("galileod_kept_bytes") == 42
    assert scrape("galileod_quota_used_bytes") == 0


async def test_events_of_interrupted_uploads_begin_at_0_and_are_counted(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore()) as wire:
        before = await scraped(wire)
        for event in get_args(ResumeEvent):
            assert before("galileod_resume_events_total", event=event) == 0
        wire.context.metrics.resume_event("kept")
        scrape = await scraped(wire)
    assert scrape("galileod_resume_events_total", event="kept") == 1
    assert scrape.total("galileod_resume_events_total") == 1


# In time.


class OddStore(MemoryStore):
    """A store that takes `seconds` to say what is free, and may fail then."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        super().__init__()
        self._seconds = seconds
        self._error = error

    async def free(self) -> int | None:
        await trio.sleep(self._seconds)
        if self._error:
            raise self._error
        return await super().free()


@pytest.mark.parametrize(
    ("store", "seconds", "there"),
    [
        (OddStore(DISK_SECONDS - 1), DISK_SECONDS - 1, True),
        (OddStore(math.inf), DISK_SECONDS, False),
        (OddStore(0, StorageError("on fire")), 0, False),
    ],
)
async def test_what_the_disk_does_not_tell_in_time_is_left_out(
    autojump_clock: MockClock, store: OddStore, seconds: float, *, there: bool
) -> None:
    async with serving(store) as wire:
        began = trio.current_time()
        scrape = await scraped(wire)
        assert trio.current_time() == pytest.approx(began + seconds)
    assert (scrape("galileod_disk_free_bytes") is not None) == there
    assert scrape("galileod_disk_min_free_bytes") == 0  # the alert compares the two
    assert scrape("galileod_quota_used_bytes") == 0
    assert scrape("galileod_uploads_running") == 0


async def test_a_ledger_that_fails_is_left_out(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def total(_ledger: SqliteLedger) -> Holding:
        raise LedgerError("torn")

    monkeypatch.setattr(SqliteLedger, "total", total)
    async with serving(MemoryStore()) as wire:
        scrape = await scraped(wire)
    assert scrape("galileod_quota_used_bytes") is None
    assert scrape("galileod_hook_deliveries_owed") is None
    assert scrape("galileod_kept_bytes") is None
    assert scrape("galileod_disk_free_bytes") == 2**62


async def test_a_node_is_named_and_tells_whether_it_may_write(autojump_clock: MockClock) -> None:
    async with serving(MemoryStore()) as wire:
        scrape = await scraped(wire)
        assert not {"galileod_node", "galileod_node_lease_valid"} & scrape.metrics
        node = wire.ledger.node = FakeNode()
        scrape = await scraped(wire)
        assert scrape("galileod_node_info", node="one") == 1
        assert scrape("galileod_node_lease_valid") == 0
        node.lease.renewed(node.lease.now())
        assert (await scraped(wire))("galileod_node_lease_valid") == 1
        assert scrape("galileod_node_clock_ahead_seconds") == 0
        node.ahead = -7.5
        assert (await scraped(wire))("galileod_node_clock_ahead_seconds") == -7.5
