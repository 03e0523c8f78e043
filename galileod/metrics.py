"""Counters and histograms for Prometheus, which begin at 0 when the daemon starts.

`server.scrape` adds the gauges, such as the number of running uploads, to each response.
"""

from collections.abc import Callable
from time import perf_counter
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
"""The `code` of an upload whose client disconnected, so that no fault could be sent."""

LAG_INTERVAL: Final = 0.25
"""Seconds between two measurements of the event loop's lag."""

NO_RESPONSE: Final = "none"
"""The `status` of a connection that was refused without a response."""

Outcome = Literal["delivered", "retried", "failed"]
"""The outcome of an attempt to deliver a receipt."""

RemovalReason = Literal["removed", "expired"]
"""Why a stored file was removed: somebody wanted it, or its retention is over."""

Decision = Literal["admitted", "refused", "failed"]
"""The outcome of a question to the hook whether an upload may begin."""

ResumeEvent = Literal["kept", "resumed", "expired", "evicted", "taken_over", "abandoned"]
"""What happened to an upload that may be resumed: the log has an event of each name."""

# All series are created at the start: otherwise increase() would miss the first event of each.
_STATUSES: Final = ("400", "401", "403", "404", "405", "408", "426", "431", "503", NO_RESPONSE)
_CODES: Final = (*FaultCode, DISCONNECTED)

_KIB: Final = 1024
_UPLOAD_SECONDS: Final = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
_CHUNK_BYTES: Final = tuple(
    _KIB << shift for shift in (2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 15, 17, 20)
)
_LINE_SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30, 60)
_DISK_SECONDS: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
_LAG_SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)

# Creation times would be a third of all lines, and are all close to process_start_time_seconds.
disable_created_metrics()  # type: ignore[no-untyped-call]  # no types


class Metrics:
    """Counters and histograms of one daemon, in its own `registry`.

    Any thread may update them; an update takes a few microseconds. All label values come from fixed
    sets, so that clients cannot create series.
    """

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Info("galileod_build", "The running version.", registry=self.registry).info(
            {"version": __version__}
        )
        self._uploads = Counter(
            "galileod_uploads",
            "Finished uploads: stored, or failed with the code of upload.failed in the log.",
            ["outcome", "code"],
            registry=self.registry,
        )
        self._uploads.labels("stored", "")
        for code in _CODES:
            self._uploads.labels("failed", str(code))
        self._resume_events = Counter(
            "galileod_resume_events",
            "Interrupted uploads, by what happened to them: the upload.* events of the log.",
            ["event"],
            registry=self.registry,
        )
        for event in get_args(ResumeEvent):
            self._resume_events.labels(event)
        self._refused = Counter(
            "galileod_connections_refused",
            "Refused connections, by the HTTP status sent.",
            ["status"],
            registry=self.registry,
        )
        for status in _STATUSES:
            self._refused.labels(status)
        self._attempts = Counter(
            "galileod_hook_attempts",
            "Attempts to deliver a receipt to the hook: delivered, to be retried, or failed.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in get_args(Outcome):
            self._attempts.labels(outcome)
        self._removals = Counter(
            "galileod_files_removed",
            "Stored files that galileod has removed, by the reason: removed (galileod files remove,"
            " files prune), or expired.",
            ["reason"],
            registry=self.registry,
        )
        for reason in get_args(RemovalReason):
            self._removals.labels(reason)
        self._looked_up = Counter(
            "galileod_asked_files",
            "Files of which clients have asked whether they are stored, by the answer.",
            ["held"],
            registry=self.registry,
        )
        self.looked_up(0, 0)
        self._questions = Counter(
            "galileod_admit_questions",
            "Uploads about which the hook was asked: admitted, refused, or failed (no answer).",
            ["outcome"],
            registry=self.registry,
        )
        for decision in get_args(Decision):
            self._questions.labels(decision)
        self._question_seconds = self._histogram(
            "galileod_admit_seconds",
            "Time until the hook has decided on an upload, or has failed to, waits included.",
            _LINE_SECONDS,
        )
        self.credentials_refused: Final = Counter(
            "galileod_credentials_refused",
            "Invalid tokens and tickets, in a handshake or in metadata.",
            registry=self.registry,
        )
        self.upload_bytes: Final = Counter(
            "galileod_upload_bytes",
            "Bytes of file data that were received and written, in whole chunks.",
            registry=self.registry,
        )
        self._upload_seconds = self._histogram(
            "galileod_upload_seconds",
            "Time from the upgrade until the file is stored; stored uploads only.",
            _UPLOAD_SECONDS,
        )
        self.chunk_bytes: Final = self._histogram(
            "galileod_chunk_bytes", "Size of the chunks that were written.", _CHUNK_BYTES
        )
        self.round_trip_seconds: Final = self._histogram(
            "galileod_round_trip_seconds",
            "Time from a ready to the first byte of its chunk, waits at the client included.",
            _LINE_SECONDS,
        )
        self.write_seconds: Final = self._histogram(
            "galileod_write_seconds", "Time of a write to a spool file.", _DISK_SECONDS
        )
        fsync = Histogram(
            "galileod_fsync_seconds",
            "Time of an fsync of a file, or of the directory that has its name.",
            ["of"],
            buckets=_DISK_SECONDS,
            registry=self.registry,
        )
        self.fsync_file_seconds: Final = fsync.labels("file")
        self.fsync_directory_seconds: Final = fsync.labels("directory")
        self.loop_lag_seconds: Final = self._histogram(
            "galileod_loop_lag_seconds", "Delay of timers in the event loop.", _LAG_SECONDS
        )

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, meaning, buckets=buckets, registry=self.registry)

    def stored(self, seconds: float) -> None:
        """Count an upload that was stored `seconds` after the upgrade of its connection."""
        self._uploads.labels("stored", "").inc()
        self._upload_seconds.observe(seconds)

    def failed(self, code: str) -> None:
        """Count an upload that failed; `code` is one of FaultCode, or DISCONNECTED."""
        self._uploads.labels("failed", code).inc()

    def resume_event(self, event: ResumeEvent) -> None:
        """Count what happened to an upload that may be resumed."""
        self._resume_events.labels(event).inc()

    def looked_up(self, held: int, others: int) -> None:
        """Count the files of a client's question, by whether they are held."""
        self._looked_up.labels("yes").inc(held)
        self._looked_up.labels("no").inc(others)

    def refused(self, status: int | None) -> None:
        """Count a refused connection; `status` is that of the response, or None without one."""
        self._refused.labels(NO_RESPONSE if status is None else str(status)).inc()

    def asked(self, decision: Decision, seconds: float) -> None:
        """Count an upload about which the hook was asked, which took so many seconds."""
        self._questions.labels(decision).inc()
        self._question_seconds.observe(seconds)

    def attempted(self, outcome: Outcome) -> None:
        """Count an attempt to deliver a receipt."""
        self._attempts.labels(outcome).inc()

    def file_removed(self, reason: RemovalReason) -> None:
        """Count a stored file that was removed."""
        self._removals.labels(reason).inc()


async def watch_loop(metrics: Metrics, system_time: Callable[[], float] = perf_counter) -> None:
    """Measure the event loop's lag until cancelled.

    With the system's time in seconds: the daemon's clock leaves long delays out.
    """
    while True:
        due = system_time() + LAG_INTERVAL
        await trio.sleep(LAG_INTERVAL)
        metrics.loop_lag_seconds.observe(max(0.0, system_time() - due))
