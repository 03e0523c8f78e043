"""What the command prints: lines for people, or one JSON object a line for programs."""

import json
import os
from collections.abc import Callable
from typing import Final, Literal, TextIO

from attrs import field, frozen

from . import texts
from .batch import Tally
from .errors import QUOTED, RefusedError, SendError, UpgradeError
from .jobs import Job
from .values import Receipt

EVERY: Final = 0.5
"""Seconds between two lines of progress about one file."""

LONGEST_NAME: Final = 255
"""Characters of a name from the server that are shown: as many as a file system takes."""

Verbosity = Literal["quiet", "normal", "verbose"]


class Lines:
    """Lines to a stream, whole and at once. One that takes no more is no reason to stop sending.

    `lost` hears why, once, unless it is a reader that went away of its own will.
    """

    def __init__(self, stream: TextIO, lost: Callable[[str], None] | None = None) -> None:
        self._stream = stream
        self._lost = lost

    def write(self, line: str) -> None:
        """One line."""
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except OSError as error:
            # Python would complain once more at its own end.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            if self._lost and not isinstance(error, BrokenPipeError):
                self._lost(error.strerror or str(error))


def standard(stream: TextIO, lost: Callable[[str], None] | None = None) -> Lines:
    """Standard output or error; what its encoding lacks is escaped."""
    reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")
    return Lines(stream, lost)


class PeopleReporter:
    """What is stored goes to `out`; what is not, and why, to `err`."""

    def __init__(self, out: Lines, err: Lines, verbosity: Verbosity) -> None:
        self.out = out
        self.err = err
        self._quiet = verbosity == "quiet"
        self._verbose = verbosity == "verbose"

    def started(self, job: Job, attempt: int) -> None:
        """Worth a word only to the curious."""
        if self._verbose:
            self.err.write(f"sending {texts.plain(job.label)} (attempt {attempt})")

    def moved(self, job: Job, sent: int, size: int) -> None:
        """Nothing: bars are another's."""

    def warned(self, job: Job, sentence: str) -> None:
        """The server's sentence."""
        told = texts.plain(texts.cut(sentence, QUOTED))
        self.err.write(f"galileo-send: {texts.plain(job.label)}: warning: {told}")

    def retrying(self, job: Job, attempt: int, wait: float, error: SendError) -> None:
        """Why, and when the next attempt is."""
        if not self._quiet:
            self.err.write(
                f"{texts.plain(job.label)}: {texts.plain(str(error))} "
                f"Attempt {attempt + 1} begins in {texts.duration(wait)}."
            )

    def stored(self, job: Job, receipt: Receipt, attempts: int) -> None:  # noqa: ARG002
        """Name, size, rate; and the hash to the curious."""
        if self._quiet:
            return
        told = f"stored {texts.plain(job.label)}"
        if receipt.stored_name != os.path.basename(job.label):
            told += f" as {texts.plain(texts.cut(receipt.stored_name, LONGEST_NAME))}"
        told += f" ({texts.size(receipt.size)}, {texts.rate(receipt.size, receipt.seconds)})"
        self.out.write(told)
        if self._verbose:
            hashes = ", ".join(f"{kind} {value}" for kind, value in receipt.hashes.items())
            self.err.write(
                f"  {receipt.chunks} chunks, {texts.duration(receipt.seconds)}, {hashes}"
            )

    def failed(self, job: Job, error: SendError, attempts: int) -> None:
        """The sentence, and how often it was tried."""
        tried = f" (after {attempts} attempts)" if attempts > 1 else ""
        sentence = texts.plain(str(error))
        label = texts.plain(job.label)
        lead = "" if sentence.startswith(label) else f"{label}: "
        self.err.write(f"galileo-send: {lead}{sentence}{tried}")

    def passed(self, path: str, why: str) -> None:
        """Something that is not sent."""
        if not self._quiet:
            self.err.write(f"galileo-send: {texts.plain(path)} is not sent: {why}.")

    def remark(self, sentence: str) -> None:
        """Something worth knowing."""
        if not self._quiet:
            self.err.write(f"galileo-send: {sentence}")

    def ended(self, tally: Tally, seconds: float, *, interrupted: bool) -> None:
        """A summary, where one file's own line does not say it all."""
        if interrupted or (tally.total > 1 and not self._quiet):
            self.err.write(summary(tally, seconds, interrupted=interrupted))


def summary(tally: Tally, seconds: float, *, interrupted: bool = False) -> str:
    """One line for all files."""
    told = f"{tally.stored} of {texts.files(tally.total)} stored"
    told += f" ({texts.size(tally.size)} in {texts.duration(seconds)})"
    if tally.failed:
        told += f", {tally.failed} failed"
    if tally.left:
        told += f", {tally.left} not sent"
    return f"Interrupted: {told}." if interrupted else f"{told}."


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


def is_terminal(stream: TextIO) -> bool:
    """Whether bars may be drawn there, which take characters of their own."""
    return (
        stream.isatty()
        and os.environ.get("TERM", "dumb") != "dumb"
        and stream.encoding.lower().replace("-", "") == "utf8"
    )
