"""Counters and histograms for Prometheus: what has happened since the start.

Gauges, such as the number of running uploads, are read by `server.scrape` when it is asked.
"""

from typing import Final, Literal, get_args

import trio
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from galileod import __version__
from galileod.protocol.errors import FaultCode

DISCONNECTED: Final = "disconnected"
"""The `code` of an upload whose client disconnected, to which no fault can be sent."""

LAG_EVERY: Final = 0.25
"""Seconds between two measurements of the event loop's lag."""

UNANSWERED: Final = "none"
"""The `status` of a connection that was refused without a response."""

Attempted = Literal["delivered", "retried", "failed"]
"""The outcome of an attempt to deliver a receipt."""

# Each series exists from the start: else its first event would not show as an increase.
_STATUSES: Final = ("400", "401", "403", "404", "405", "408", "426", "431", "503", UNANSWERED)
_CODES: Final = (*FaultCode, DISCONNECTED)

_KIB: Final = 1024
_UPLOAD_SECONDS: Final = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
_CHUNK_BYTES: Final = tuple(
    _KIB << shift for shift in (2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 15, 17, 20)
)
_LINE_SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60)
_DISK_SECONDS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
_LAG_SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)

# Creation times would be a third of all lines; process_start_time_seconds has the same.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """Counters and histograms of one daemon, in a `registry` of its own.

    Any thread may update them, which costs some microseconds. Labels have a fixed set of values, so
    that clients cannot create series.
    """

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Info("galileod_build", "The version that runs.", registry=self.registry).info(
            {"version": __version__}
        )
        self._uploads = Counter(
            "galileod_uploads",
            "Uploads that ended: stored, or failed with a code as in the log.",
            ["outcome", "code"],
            registry=self.registry,
        )
        self._uploads.labels("stored", "")
        for code in _CODES:
            self._uploads.labels("failed", str(code))
        self._refused = Counter(
            "galileod_connections_refused",
            "Connections that did not become an upload, by the HTTP status sent.",
            ["status"],
            registry=self.registry,
        )
        for status in _STATUSES:
            self._refused.labels(status)
        self._attempts = Counter(
            "galileod_hook_attempts",
            "Attempts to deliver a receipt to the hook: delivered, to be retried, or given up.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in get_args(Attempted):
            self._attempts.labels(outcome)
        self.credentials_refused: Final = Counter(
            "galileod_credentials_refused",
            "Tokens and tickets that were refused, in a handshake or in metadata.",
            registry=self.registry,
        )
        self.upload_bytes: Final = Counter(
            "galileod_upload_bytes",
            "File data that was received and written, in whole chunks, of all uploads.",
            registry=self.registry,
        )
        self._upload_seconds = self._histogram(
            "galileod_upload_seconds",
            "From the upgrade to a stored file, of uploads that were stored.",
            _UPLOAD_SECONDS,
        )
        self.chunk_bytes: Final = self._histogram(
            "galileod_chunk_bytes", "Size of the chunks that were written.", _CHUNK_BYTES
        )
        self.round_trip_seconds: Final = self._histogram(
            "galileod_round_trip_seconds",
            "From a ready to the first byte of its chunk, behind others at the client.",
            _LINE_SECONDS,
        )
        self.write_seconds: Final = self._histogram(
            "galileod_write_seconds", "Writing a part of a chunk to a spool file.", _DISK_SECONDS
        )
        fsync = Histogram(
            "galileod_fsync_seconds",
            "An fsync, of a file or of the directory that it is linked into.",
            ["of"],
            buckets=_DISK_SECONDS,
            registry=self.registry,
        )
        self.fsync_file_seconds: Final = fsync.labels("file")
        self.fsync_directory_seconds: Final = fsync.labels("directory")
        self.loop_lag_seconds: Final = self._histogram(
            "galileod_loop_lag_seconds", "How late timers of the event loop fire.", _LAG_SECONDS
        )

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, meaning, buckets=buckets, registry=self.registry)

    def stored(self, seconds: float) -> None:
        """An upload was stored, `seconds` after its connection was upgraded."""
        self._uploads.labels("stored", "").inc()
        self._upload_seconds.observe(seconds)

    def failed(self, code: str) -> None:
        """An upload failed; `code` is one of FaultCode, or DISCONNECTED."""
        self._uploads.labels("failed", code).inc()

    def refused(self, status: int | None) -> None:
        """A connection ended with the response `status`, or with none, and without an upload."""
        self._refused.labels(UNANSWERED if status is None else str(status)).inc()

    def attempted(self, outcome: Attempted) -> None:
        """An attempt to deliver a receipt ended."""
        self._attempts.labels(outcome).inc()


async def watch_loop(metrics: Metrics) -> None:
    """Measure the event loop's lag until cancelled."""
    while True:
        due = trio.current_time() + LAG_EVERY
        await trio.sleep_until(due)
        metrics.loop_lag_seconds.observe(trio.current_time() - due)
