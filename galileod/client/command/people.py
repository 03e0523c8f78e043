"""What the command tells people: lines, and a summary."""

import os
from typing import Final, Literal

from galileod.client import texts
from galileod.client.errors import QUOTED, SendError
from galileod.client.values import Receipt

from .batch import Tally
from .jobs import Job
from .output import Lines

LONGEST_NAME: Final = 255
"""Characters of a name from the server that are shown: as many as a file system takes."""

Verbosity = Literal["quiet", "normal", "verbose"]


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
            hashes = [f"{kind} {value}" for kind, value in receipt.hashes.items()]
            took = [texts.count(receipt.chunks, "chunk"), texts.duration(receipt.seconds)]
            self.err.write(f"  {', '.join(took + hashes)}")

    def failed(self, job: Job, error: SendError, attempts: int) -> None:
        """The sentence, and how often it was tried."""
        tried = f" (after {attempts} attempts)" if attempts > 1 else ""
        sentence = texts.plain(str(error))
        label = texts.plain(job.label)
        lead = "" if sentence.startswith(label) else f"{label}: "
        self.err.write(f"galileo-send: {lead}{sentence}{tried}")

    def dropped(self, job: Job, error: SendError, attempts: int) -> None:  # noqa: ARG002
        """The sentence was told of another file."""
        self.err.write(f"galileo-send: {texts.plain(job.label)}: given up for the same reason.")

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
    told = f"{tally.stored} of {texts.count(tally.total, 'file')} stored"
    told += f" ({texts.size(tally.size)} in {texts.duration(seconds)})"
    if tally.failed:
        told += f", {tally.failed} failed"
    if tally.left:
        told += f", {tally.left} not sent"
    return f"Interrupted: {told}." if interrupted else f"{told}."
