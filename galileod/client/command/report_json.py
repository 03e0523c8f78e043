"""Reports as JSON: one object per line."""

import json
from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from galileod.client.errors import RefusedError, SendError, UpgradeError
from galileod.client.options import Receipt

from .batch import ALREADY_THERE, Tally
from .jobs import Job
from .output import Lines

PROGRESS_INTERVAL: Final = 0.5
"""Minimum seconds between two `progress` lines for one file."""


@frozen
class JsonReporter:
    """Writes one object per line to `out`, each with an `event`. `clock` gives seconds."""

    out: Lines
    clock: Callable[[], float]
    _last: dict[int, float] = field(factory=dict)

    def _write(self, event: str, job: Job | None = None, **fields: object) -> None:
        about = {} if job is None else {"file": job.label, "name": job.name, "folder": job.folder}
        self.out.write(json.dumps({"event": event, **about, **fields}))

    def started(self, job: Job, attempt: int, *, whole: bool = False) -> None:  # noqa: ARG002  of Reporter
        """`started`."""
        self._write("started", job, size=job.size, attempt=attempt)

    def resumed(self, job: Job, offset: int, size: int) -> None:
        """`resumed`."""
        self._write("resumed", job, offset=offset, size=size)

    def moved(self, job: Job, sent: int, size: int) -> None:
        """`progress`, at most every PROGRESS_INTERVAL, and none if the reader is slow."""
        if self.out.behind:
            return
        now = self.clock()
        if now - self._last.get(id(job), float("-inf")) >= PROGRESS_INTERVAL:
            self._last[id(job)] = now
            self._write("progress", job, sent=sent, size=size)

    def warned(self, job: Job, sentence: str) -> None:
        """`warning`."""
        self._write("warning", job, error=sentence)

    def retrying(self, job: Job, attempt: int, wait: float, error: SendError) -> None:
        """`retry`."""
        self._write("retry", job, attempt=attempt, wait=wait, **error_fields(error))

    def stored(self, job: Job, receipt: Receipt, attempts: int) -> None:
        """`stored`: the receipt."""
        self._last.pop(id(job), None)
        self._write(
            "stored",
            job,
            stored_name=receipt.stored_name,
            path=receipt.path,
            size=receipt.size,
            hashes=dict(receipt.hashes),
            seconds=receipt.seconds,
            chunks=receipt.chunks,
            verified=receipt.verified,
            warnings=[dict(signal) for signal in receipt.warnings],
            resumed_at=receipt.resumed,
            attempts=attempts,
        )

    def failed(self, job: Job, error: SendError, attempts: int) -> None:
        """`failed`: the error."""
        self._last.pop(id(job), None)
        self._write("failed", job, attempts=attempts, **error_fields(error))

    def dropped(self, job: Job, error: SendError, attempts: int) -> None:
        """`failed`, as for other errors."""
        self.failed(job, error, attempts)

    def held(self, job: Job) -> None:
        """`skipped`."""
        self._write("skipped", job, size=job.size, reason=ALREADY_THERE)

    def replaced(self, job: Job, by: Job, path: str) -> None:
        """`replaced`."""
        self._write("replaced", job, path=path, by=by.label)

    def listed(self, job: Job) -> None:
        """`would_send`."""
        self._write("would_send", job, size=job.size)

    def skipped(self, path: str, why: str) -> None:
        """`skipped`."""
        self._write("skipped", file=path, reason=why)

    def notice(self, sentence: str) -> None:
        """`remark`."""
        self._write("remark", text=sentence)

    def ended(self, tally: Tally, seconds: float, *, interrupted: bool) -> None:
        """`summary`, the last line."""
        self._write(
            "summary",
            stored=tally.stored,
            skipped=tally.held,
            replaced=tally.replaced,
            would_send=tally.listed,
            failed=tally.failed,
            not_sent=tally.left,
            unconfirmed=tally.unconfirmed,
            bytes=tally.size,
            seconds=seconds,
            interrupted=interrupted,
        )


def error_fields(error: SendError) -> dict[str, object]:
    """The keys of an error."""
    keys: dict[str, object] = {"kind": error.kind, "error": str(error)}
    if isinstance(error, RefusedError):
        keys |= {"code": error.code, "fatal": True, "signal": dict(error.signal)}
    if isinstance(error, UpgradeError):
        keys |= {"status": error.status}
    if error.kept is not None:
        keys |= {"kept": error.kept}
    return keys
