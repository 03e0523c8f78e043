"""What a case can come to, and what it found on the way."""

import enum

import attrs


class Level(enum.Enum):
    """The weight of a requirement, as in RFC 2119."""

    MUST = "MUST"
    SHOULD = "SHOULD"


class Verdict(enum.Enum):
    """The verdict of a case."""

    PASS = "PASS"  # noqa: S105  # a verdict, no password
    """All that the case looked at holds."""
    INFO = "INFO"
    """The case describes what the peer does, where the text leaves it open."""
    UNSUPPORTED = "UNSUPPORTED"
    """The peer does not offer the extension that the case is about."""
    SKIPPED = "SKIPPED"
    """The case needs something that was not given, such as `--kill`."""
    NON_STRICT = "NON-STRICT"
    """A SHOULD does not hold."""
    FAIL = "FAIL"
    """A MUST does not hold, or the dialogue did not get to where the case judges."""
    HARNESS_ERROR = "HARNESS-ERROR"
    """The case could not be run: the peer cannot be reached or started, or the kit is wrong."""


class Ending(enum.Enum):
    """How the peer ended its connection."""

    NONE = "none"
    """There was no connection whose end the peer decides."""
    CLEAN = "clean"
    """Close frames went both ways."""
    TCP = "tcp"
    """The peer closed the connection without a Close frame."""
    RESET = "reset"
    """The peer reset the connection."""
    OPEN = "open"
    """The peer neither sent a Close frame nor closed the connection; the kit had to."""


_WORST = (Ending.NONE, Ending.CLEAN, Ending.TCP, Ending.RESET, Ending.OPEN)


def worst_ending(endings: list[Ending]) -> Ending:
    """The one of `endings` that is furthest from `clean`; `none` where the list is empty."""
    return max(endings, key=_WORST.index, default=Ending.NONE)


@attrs.frozen
class Finding:
    """One observation of a case."""

    verdict: Verdict
    requirement: str | None
    """The number in docs/protocol.md, such as S3.4."""
    sentence: str

    def __str__(self) -> str:
        return self.sentence if self.requirement is None else f"{self.requirement}: {self.sentence}"


@attrs.frozen
class Result:
    """What a case came to."""

    case: str
    """The number of the case."""
    verdict: Verdict
    findings: tuple[Finding, ...]
    ending: Ending
    transcript: str
    """What was sent and received, as text for people."""
    seconds: float
