"""The judge of a case: collects what does not hold."""

from collections.abc import Collection, Mapping
from typing import Final, NoReturn

import attrs

from galileod.conformance.requirements import LEVELS
from galileod.conformance.transcript import escape
from galileod.conformance.verdicts import Finding, Level, Verdict

MAX_FINDINGS: Final = 200
"""Findings kept for a case: a peer that repeats a mistake does not fill the memory."""
MAX_SENTENCE: Final = 2000
"""Characters of a finding that are kept: it may quote what a peer wrote."""


class CaseEnded(Exception):  # noqa: N818  # the usual way out of a case, no error
    """The case has its verdict, and ends here."""


class KitError(Exception):
    """The case cannot be run: a mistake of the kit, of its arguments, or of the surroundings."""


@attrs.define
class Judge:
    """Collects the findings of one case."""

    declared: Collection[str]
    """The requirements that the case is about."""
    levels: Mapping[str, Level] = LEVELS
    _findings: list[Finding] = attrs.field(factory=list, init=False)
    _ended_as: Verdict | None = attrs.field(default=None, init=False)

    def check(self, requirement: str | None, holds: object, sentence: str) -> bool:
        """Record that `requirement` does not hold, unless `holds` is truthy; return `holds`.

        `sentence` says what was expected and what came. Without a requirement, the finding is that
        the dialogue did not get to where the case judges: FAIL. Raises KitError for a requirement
        that the case does not declare.
        """
        if requirement is not None and requirement not in self.declared:
            raise KitError(f"the case does not declare {requirement}")
        if not holds:
            self._find(requirement, sentence)
        return bool(holds)

    def require(self, requirement: str | None, holds: object, sentence: str) -> None:
        """Like `check`; ends the case where it does not hold (raises CaseEnded)."""
        if not holds:
            self.fail(requirement, sentence)

    def fail(self, requirement: str | None, sentence: str) -> NoReturn:
        """Record that `requirement` does not hold, and end the case (raises CaseEnded)."""
        self.check(requirement, holds=False, sentence=sentence)
        raise CaseEnded

    def violation(self, requirement: str, sentence: str) -> None:
        """Record a violation seen in passing, of a requirement that need not be declared."""
        self._find(requirement, sentence)

    def info(self, sentence: str) -> None:
        """Record what the peer does, without a judgement."""
        self._record(Verdict.INFO, None, sentence)

    def unsupported(self, sentence: str) -> NoReturn:
        """End the case: the peer does not offer what it is about."""
        self._end(Verdict.UNSUPPORTED, sentence)

    def skip(self, sentence: str) -> NoReturn:
        """End the case: something that it needs was not given."""
        self._end(Verdict.SKIPPED, sentence)

    def harness_error(self, sentence: str) -> None:
        """Record that the case could not be run."""
        self._record(Verdict.HARNESS_ERROR, None, sentence)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in order."""
        return tuple(self._findings)

    @property
    def verdict(self) -> Verdict:
        """The verdict by what was found until now."""
        found = {finding.verdict for finding in self._findings}
        for verdict in (Verdict.HARNESS_ERROR, Verdict.FAIL, Verdict.NON_STRICT):
            if verdict in found:
                return verdict
        if self._ended_as is not None:
            return self._ended_as
        return Verdict.PASS if self.declared else Verdict.INFO

    def _end(self, verdict: Verdict, sentence: str) -> NoReturn:
        self._record(verdict, None, sentence)
        self._ended_as = verdict
        raise CaseEnded

    def _find(self, requirement: str | None, sentence: str) -> None:
        verdict = Verdict.FAIL
        if requirement is not None:
            if requirement not in self.levels:
                raise KitError(f"there is no requirement {requirement}")
            if self.levels[requirement] is Level.SHOULD:
                verdict = Verdict.NON_STRICT
        self._record(verdict, requirement, sentence)

    def _record(self, verdict: Verdict, requirement: str | None, sentence: str) -> None:
        finding = Finding(verdict, requirement, escape(sentence[:MAX_SENTENCE]))
        if len(self._findings) < MAX_FINDINGS and finding not in self._findings:
            self._findings.append(finding)
