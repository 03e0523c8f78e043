"""What the command tells programs: one JSON object a line."""

import json
from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from galileod.client.errors import RefusedError, SendError, UpgradeError
from galileod.client.values import Receipt

from .batch import Tally
from .jobs import Job
from .output import Lines

EVERY: Final = 0.5
"""Seconds between two lines of progress about one file."""


@frozen
class JsonReporter:
    """One object a line on `out`, each with an `event`. `clock` gives seconds."""

    out: Lines
    clock: Callable[[], float]
    _last: dict[int, float] = field(factory=dict)

    def _say(self, event: str, job: Job | None = None, **fields: object) -> None:
        about = {} if job is None else {"file": job.label, "name": job.name}
        self.out.write(json.dumps({"event": event, **about, **fields}))

    def started(self, job: Job, attempt: int) -> None:
        """`started`."""
        self._say("started", job, size=job.size, attempt=attempt)

    def moved(self, job: Job, sent: int, size: int) -> None:
        """`progress`, now and then."""
        now = self.clock()
        if now - self._last.get(id(job), float("-inf")) >= EVERY:
            self._last[id(job)] = now
            self._say("progress", job, sent=sent, size=size)

    def warned(self, job: Job, sentence: str) -> None:
        """`warning`."""
        self._say("warning", job, error=sentence)

    def retrying(self, job: Job, attempt: int, wait: float, error: SendError) -> None:
        """`retry`."""
        self._say("retry", job, attempt=attempt, wait=wait, **described(error))

    def stored(self, job: Job, receipt: Receipt, attempts: int) -> None:
        """`stored`: the receipt."""
        self._last.pop(id(job), None)
        self._say(
            "stored",
            job,
            stored_name=receipt.stored_name,
            size=receipt.size,
            hashes=dict(receipt.hashes),
            seconds=receipt.seconds,
            chunks=receipt.chunks,
            verified=receipt.verified,
            warnings=[dict(signal) for signal in receipt.warnings],
            attempts=attempts,
        )

    def failed(self, job: Job, error: SendError, attempts: int) -> None:
        """`failed`: the error."""
        self._last.pop(id(job), None)
        self._say("failed", job, attempts=attempts, **described(error))

    def dropped(self, job: Job, error: SendError, attempts: int) -> None:
        """`failed`, too."""
        self.failed(job, error, attempts)

    def passed(self, path: str, why: str) -> None:
        """`skipped`."""
        self._say("skipped", file=path, reason=why)

    def remark(self, sentence: str) -> None:
        """`remark`."""
        self._say("remark", text=sentence)

    def ended(self, tally: Tally, seconds: float, *, interrupted: bool) -> None:
        """`summary`, the last line."""
        self._say(
            "summary",
            stored=tally.stored,
            failed=tally.failed,
            not_sent=tally.left,
            bytes=tally.size,
            seconds=seconds,
            interrupted=interrupted,
        )


def described(error: SendError) -> dict[str, object]:
    """An error's keys in JSON."""
    keys: dict[str, object] = {"kind": error.kind, "error": str(error)}
    if isinstance(error, RefusedError):
        keys |= {"code": error.code, "fatal": True, "signal": dict(error.signal)}
    if isinstance(error, UpgradeError):
        keys |= {"status": error.status}
    return keys
