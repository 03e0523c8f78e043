"""Known failures, and what is a regression."""

import re
from collections.abc import Mapping
from typing import Final

from galileod.conformance.verdicts import Result, Verdict

EXPECTED: Final = (Verdict.FAIL, Verdict.NON_STRICT, Verdict.UNSUPPORTED)
"""The verdicts that may be expected."""

_LINE: Final = re.compile(r"(\d+\.\d+\.\d+)\s+([A-Z-]+)")


def parse_expected(text: str, known: frozenset[str]) -> dict[str, Verdict]:
    """The expected verdict of each case; lines are `CASE VERDICT # why`.

    `known` are the numbers of all cases. Raises ValueError, with the line's number.
    """
    expected: dict[str, Verdict] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].strip()
        if not words:
            continue
        match = _LINE.fullmatch(words)
        if match is None:
            raise ValueError(f"line {number}: {words!r} is not CASE VERDICT")
        case, name = match.groups()
        if case not in known:
            raise ValueError(f"line {number}: there is no case {case}")
        if case in expected:
            raise ValueError(f"line {number}: {case} stands there twice")
        if name not in {verdict.value for verdict in EXPECTED}:
            names = ", ".join(verdict.value for verdict in EXPECTED)
            raise ValueError(f"line {number}: {name!r} is none of {names}")
        expected[case] = Verdict(name)
    return expected


def regression(
    result: Result, expected: Mapping[str, Verdict], *, strict: bool = False
) -> str | None:
    """Why the result is a regression, as a sentence; None where it is none.

    FAIL and HARNESS-ERROR are, with `strict` NON-STRICT too, unless they are expected; and a case
    that has another verdict than the expected one, unless it was skipped.
    """
    wanted = expected.get(result.case)
    if wanted is not None:
        if result.verdict in {wanted, Verdict.SKIPPED}:
            return None
        return f"expected {wanted.value}, got {result.verdict.value}"
    bad = {Verdict.FAIL, Verdict.HARNESS_ERROR} | ({Verdict.NON_STRICT} if strict else set())
    return f"got {result.verdict.value}" if result.verdict in bad else None
