"""Reports as text: a line for each file, and a summary."""

import os
from typing import Final, Literal

from galileod.client.errors import MAX_QUOTED, SendError
from galileod.client.formatting import format_duration, format_rate, plural, truncated
from galileod.client.options import Receipt
from galileod.printable import printable
from galileod.units import human_size

from .batch import ALREADY_THERE, Tally
from .jobs import Job
from .output import Lines

MAX_NAME: Final = 255
"""Maximum characters of a name from the server that are shown: the limit of most file systems."""

MAX_PATH: Final = 4096
"""Maximum characters of a path from the server that are shown: the limit of Linux."""

MAX_DROPPED: Final = 10
"""Maximum number of lines for files that are not sent since another one has failed."""

Verbosity = Literal["quiet", "normal", "verbose"]


class TextReporter:
    """Writes stored files to `out`; failures, warnings and notices to `err`."""

    def __init__(self, out: Lines, err: Lines, verbosity: Verbosity) -> None:
        self.out = out
        self.err = err
        self._quiet = verbosity == "quiet"
        self._verbose = verbosity == "verbose"
        self._dropped = 0
        self._last = ""  # why the last of them was dropped

    def started(self, job: Job, attempt: int, *, whole: bool = False) -> None:  # noqa: ARG002  of Reporter
        """A line with --verbose."""
        if self._verbose:
            self.err.write(f"sending {printable(job.label)} (attempt {attempt})")

    def resumed(self, job: Job, offset: int, size: int) -> None:
        """A line that tells what need not be sent again."""
        if not self._quiet:
            have = f"{human_size(offset)} of {human_size(size)}"
            self.err.write(f"{printable(job.label)}: the server has {have}; the rest is sent.")

    def moved(self, job: Job, sent: int, size: int) -> None:
        """Do nothing: only BarReporter shows progress."""

    def warned(self, job: Job, sentence: str) -> None:
        """A line with the server's sentence."""
        shown = printable(truncated(sentence, MAX_QUOTED))
        self.err.write(f"galileo-send: {printable(job.label)}: warning: {shown}")

    def retrying(self, job: Job, attempt: int, wait: float, error: SendError) -> None:
        """A line with the reason and the time of the next attempt."""
        if not self._quiet:
            self.err.write(
                f"{printable(job.label)}: {printable(str(error))} "
                f"Attempt {attempt + 1} begins in {format_duration(wait)}."
            )

    def stored(self, job: Job, receipt: Receipt, attempts: int) -> None:  # noqa: ARG002
        """A line with name, size and rate; with --verbose the hash too."""
        if self._quiet:
            return
        line = f"stored {printable(job.label)}"
        if receipt.stored_name != os.path.basename(job.label):
            line += f" as {printable(truncated(receipt.stored_name, MAX_NAME))}"
        sent = receipt.size - receipt.resumed
        rate = format_rate(sent, receipt.seconds) if sent or not receipt.size else "sent before"
        line += f" ({human_size(receipt.size)}, {rate})"
        self.out.write(line)
        if self._verbose:
            hashes = [f"{kind} {value}" for kind, value in receipt.hashes.items()]
            details = [plural(receipt.chunks, "chunk"), format_duration(receipt.seconds)]
            self.err.write(f"  {', '.join(details + hashes)}")

    def failed(self, job: Job, error: SendError, attempts: int) -> None:
        """A line with the error and the number of attempts."""
        tried = f" (after {attempts} attempts)" if attempts > 1 else ""
        sentence = printable(str(error))
        label = printable(job.label)
        lead = "" if sentence.startswith(label) else f"{label}: "
        self.err.write(f"galileo-send: {lead}{sentence}{tried}")

    def dropped(self, job: Job, error: SendError, attempts: int) -> None:  # noqa: ARG002
        """A line for the first MAX_DROPPED; the error was reported with the file before them."""
        self._dropped += 1
        self._last = str(error)
        if self._dropped <= MAX_DROPPED:
            self.err.write(f"galileo-send: {printable(job.label)}: not sent for the same reason.")

    def held(self, job: Job) -> None:
        """A line that tells why it is not sent."""
        if not self._quiet:
            self.out.write(f"skipped {printable(job.label)} ({ALREADY_THERE})")

    def replaced(self, job: Job, by: Job, path: str) -> None:
        """A line with the file that is there now."""
        self.err.write(
            f"galileo-send: {printable(job.label)} was replaced by {printable(by.label)}:"
            f" both were stored as {printable(truncated(path, MAX_PATH))}."
        )

    def listed(self, job: Job) -> None:
        """A line with its size."""
        if not self._quiet:
            size = "size not known" if job.size is None else human_size(job.size)
            self.out.write(f"would send {printable(job.label)} ({size})")

    def skipped(self, path: str, why: str) -> None:
        """A line for a path that is not sent."""
        if not self._quiet:
            self.err.write(f"galileo-send: {printable(path)} is not sent: {why}.")

    def notice(self, sentence: str) -> None:
        """A line of advice."""
        if not self._quiet:
            self.err.write(f"galileo-send: {sentence}")

    def ended(self, tally: Tally, seconds: float, *, interrupted: bool) -> None:
        """A summary, for several files and after an interruption, behind files without a line."""
        if (more := self._dropped - MAX_DROPPED) > 0:
            were = "were" if more > 1 else "was"
            self.err.write(
                f"galileo-send: {more} more file{'s' * (more > 1)} {were} not sent for this reason:"
                f" {printable(self._last)}"
            )
        if interrupted or (tally.total > 1 and not self._quiet):
            self.err.write(summary(tally, seconds, interrupted=interrupted))


def summary(tally: Tally, seconds: float, *, interrupted: bool = False) -> str:
    """One line for all files."""
    total, size = plural(tally.total, "file"), human_size(tally.size)
    if tally.dry_run:
        text = f"{tally.listed} of {total} would be sent ({size})"
    else:
        text = f"{tally.stored} of {total} stored ({size} in {format_duration(seconds)})"
    if tally.held:
        text += f", {tally.held} {ALREADY_THERE}"
    if tally.replaced:
        text += f", {tally.replaced} replaced by others"
    if tally.failed:
        text += f", {tally.failed} failed"
    if tally.unconfirmed:
        text += f", {tally.unconfirmed} without an answer, which may be stored"
    if tally.left:
        text += f", {tally.left} not sent"
    return f"Interrupted: {text}." if interrupted else f"{text}."
