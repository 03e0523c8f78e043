"""`GET /metrics`: counters since the start, and gauges, in the text formats of Prometheus."""

from collections.abc import Callable, Iterable
from typing import Final

import trio
from attrs import frozen
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from galileod.ledger.base import LedgerError
from galileod.ledger.outbox import MOST_COUNTED
from galileod.net.http11 import Response
from galileod.storage.errors import StorageError
from galileod.uploads.context import Context

from .exchange import Exchange

DISK_SECONDS: Final = 5.0
"""Time limit in seconds for the values of disk and ledger: half of Prometheus's default
scrape_timeout."""


@frozen
class _Scrape(Collector):
    """The metrics of one response: counters and histograms, and the gauges at this time."""

    counters: Collector
    gauges: Iterable[Metric]

    def collect(self) -> Iterable[Metric]:
        yield from self.counters.collect()
        yield from self.gauges


async def answer_metrics(
    context: Context, connections: Callable[[], int], exchange: Exchange
) -> Response:
    """All metrics, in the format that the Accept header requests.

    Values of disk and ledger that are not available within DISK_SECONDS are left out.
    """
    gauges = [*_in_memory(context, connections()), *_of_node(context)]
    accept = exchange.request.headers.get("accept", "")
    with trio.move_on_after(DISK_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_add_disk, context, gauges)
            nursery.start_soon(_add_ledger, context, gauges)
    try:
        encode, kind = choose_encoder(accept)
    except TypeError:  # the library fails to compare a version that is not a number
        encode, kind = choose_encoder("")
    text = encode(_Scrape(context.metrics.registry, gauges)).decode()
    return Response(200, text, {"Content-Type": kind})


def _in_memory(context: Context, connections: int) -> list[Metric]:
    share = context.pool.share
    return [
        GaugeMetricFamily(name, meaning, value)
        for name, meaning, value in (
            ("galileod_uploads_running", "Running uploads.", len(context.admission.running)),
            (
                "galileod_uploads_waiting",
                "Running uploads that wait because all of chunks.memory is promised.",
                share.waiting,
            ),
            ("galileod_connections", "Open connections, this one included.", connections),
            (
                "galileod_connections_limit",
                "Connections above which clients get status 503: server.max_connections.",
                context.config.server.max_connections,
            ),
            (
                "galileod_granted_bytes",
                "Memory that is promised to clients, or holds data that is not stored yet.",
                share.held,
            ),
            ("galileod_granted_bytes_limit", "The limit: chunks.memory.", share.total),
        )
    ]


def _of_node(context: Context) -> Iterable[Metric]:
    node = context.ledger.node
    if node is None:
        return
    yield InfoMetricFamily(
        "galileod_node", "The name of this node: ledger.node.", {"node": node.name}
    )
    yield GaugeMetricFamily(
        "galileod_node_lease_valid",
        "1 while this node may write; 0 if its lease has run out, or is lost.",
        node.lease.is_valid(),
    )
    yield GaugeMetricFamily(
        "galileod_node_clock_ahead_seconds",
        "Seconds by which the clock of this node is ahead of the database's; negative: behind.",
        node.ahead,
    )


async def _add_disk(context: Context, gauges: list[Metric]) -> None:
    """Add what uploads must leave of the disk, if there is one, and then what is free."""
    storage = context.config.storage
    if storage.backend == "local":
        gauges.append(
            GaugeMetricFamily(
                "galileod_disk_min_free_bytes",
                "Free space that uploads must leave: storage.min_free.",
                storage.min_free,
            )
        )
    try:
        free = await context.store.free()
    except StorageError:
        return  # left out; uploads log the same error
    if free is not None:
        gauges.append(
            GaugeMetricFamily("galileod_disk_free_bytes", "Free space in storage.directory.", free)
        )


async def _add_ledger(context: Context, gauges: list[Metric]) -> None:
    try:
        held = await context.ledger.total()
        owed = await context.ledger.outbox.count()
    except LedgerError:
        return  # left out; uploads log the same error
    gauges += [
        GaugeMetricFamily(name, meaning, value)
        for name, meaning, value in (
            (
                "galileod_hook_deliveries_owed",
                f"Receipts not yet delivered to the hook, counted up to {MOST_COUNTED:,}.",
                owed,
            ),
            ("galileod_kept_uploads", "Interrupted uploads that are kept.", held.kept_uploads),
            ("galileod_kept_bytes", "Bytes of the interrupted uploads that are kept.", held.kept),
        )
    ]
    quota = context.config.quota
    for unit, used, limit in (
        ("bytes", held.bytes + held.reserved, quota.total_bytes),
        ("files", held.files + held.uploads, quota.total_files),
    ):
        gauges.append(
            GaugeMetricFamily(
                f"galileod_quota_used_{unit}",
                f"{unit.capitalize()} of all users: stored, and declared by running uploads.",
                used,
            )
        )
        if limit is not None:
            gauges.append(
                GaugeMetricFamily(
                    f"galileod_quota_limit_{unit}", f"The limit: quota.total_{unit}.", limit
                )
            )
