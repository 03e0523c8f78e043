"""`GET /metrics`: counters since the start and gauges of now, in the formats of Prometheus."""

from collections.abc import Callable, Iterable
from typing import Final

import trio
from attrs import frozen
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from galileod.ledger.base import LedgerError
from galileod.ledger.outbox import MOST_COUNTED
from galileod.net.http11 import Response
from galileod.storage.base import StorageError
from galileod.uploads.context import Context

from .exchange import Exchange

DISK_SECONDS: Final = 5.0
"""Time limit for the values of disk and ledger: half of Prometheus's default scrape_timeout."""


@frozen
class _Scrape(Collector):
    """The metrics of one response: `counted` since the start, and gauges of `now`."""

    counted: Collector
    now: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        yield from self.counted.collect()
        yield from self.now


async def answer_metrics(
    context: Context, connections: Callable[[], int], exchange: Exchange
) -> Response:
    """All metrics, in the format that the Accept header asks for.

    Values that disk and ledger do not give within DISK_SECONDS are left out.
    """
    now = _in_memory(context, connections())
    accept = exchange.request.headers.get("accept", "")
    with trio.move_on_after(DISK_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_add_disk, context, now)
            nursery.start_soon(_add_ledger, context, now)
    try:
        encode, kind = choose_encoder(accept)
    except TypeError:  # the library compares a version that is not a number with one that is
        encode, kind = choose_encoder("")
    text = encode(_Scrape(context.metrics.registry, now)).decode()
    return Response(200, text, {"Content-Type": kind})


def _in_memory(context: Context, connections: int) -> list[Metric]:
    share = context.pool.share
    return [
        GaugeMetricFamily(name, meaning, value)
        for name, meaning, value in (
            ("galileod_uploads_running", "Uploads under way.", len(context.admission.running)),
            (
                "galileod_uploads_waiting",
                "Uploads that wait for their turn, since all memory is promised.",
                share.waiting,
            ),
            ("galileod_connections", "Connections open now, this one too.", connections),
            (
                "galileod_connections_limit",
                "Connections above which clients get status 503: server.max_connections.",
                context.config.server.max_connections,
            ),
            (
                "galileod_granted_bytes",
                "Memory promised to clients, or received and not yet stored.",
                share.held,
            ),
            ("galileod_granted_bytes_limit", "The ceiling: chunks.memory.", share.total),
        )
    ]


async def _add_disk(context: Context, now: list[Metric]) -> None:
    try:
        free = await context.store.free()
    except StorageError:
        return  # left out; an upload that meets the same error logs it
    if free is None:
        return
    now += [
        GaugeMetricFamily("galileod_disk_free_bytes", "Free disk below storage.directory.", free),
        GaugeMetricFamily(
            "galileod_disk_min_free_bytes",
            "Free disk that no upload may eat into: storage.min_free.",
            context.config.storage.min_free,
        ),
    ]


async def _add_ledger(context: Context, now: list[Metric]) -> None:
    try:
        held = await context.ledger.total()
        owed = await context.ledger.outbox.count()
    except LedgerError:
        return  # left out; an upload that meets the same error logs it
    now.append(
        GaugeMetricFamily(
            "galileod_hook_deliveries_owed",
            f"Stored files not yet delivered to the hook, counted up to {MOST_COUNTED:,}.",
            owed,
        )
    )
    quota = context.config.quota
    for unit, used, limit in (
        ("bytes", held.bytes + held.reserved, quota.total_bytes),
        ("files", held.files + held.uploads, quota.total_files),
    ):
        now.append(
            GaugeMetricFamily(
                f"galileod_quota_used_{unit}",
                f"What all users hold, in {unit}: stored, and declared by uploads that run.",
                used,
            )
        )
        if limit is not None:
            now.append(
                GaugeMetricFamily(
                    f"galileod_quota_limit_{unit}", f"The limit: quota.total_{unit}.", limit
                )
            )
