"""Repeated failures are counted, and not all written."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.flood import (
    MAX_KINDS,
    MAX_PER_SOURCE,
    MAX_TOTAL,
    NO_CLIENT,
    OTHER,
    Flood,
    Kind,
)

REFUSED = Kind("connection.refused", "400")
FAILED = Kind("upload.failed", "idle")
OPENED = Kind("connection.opened")


def test_of_one_kind_from_one_source_the_first_are_written() -> None:
    lines = Flood()
    assert [lines.admits_failure(REFUSED, "a") for _ in range(MAX_PER_SOURCE + 2)] == [
        True
    ] * MAX_PER_SOURCE + [
        False,
        False,
    ]
    assert lines.admits_failure(REFUSED, "b")
    assert lines.admits_failure(FAILED, "a")
    assert lines.end_period() == {REFUSED: 2}


def test_what_a_source_begins_is_not_written_while_it_floods() -> None:
    lines = Flood()
    for _ in range(MAX_PER_SOURCE):
        assert lines.admits_beginning(OPENED, "a")
        lines.admits_failure(REFUSED, "a")
    assert lines.admits_beginning(OPENED, "a")
    lines.admits_failure(REFUSED, "a")
    assert not lines.admits_beginning(OPENED, "a")
    assert lines.admits_beginning(OPENED, "b")
    assert lines.end_period() == {REFUSED: 1, OPENED: 1}
    assert lines.admits_beginning(OPENED, "a")


def test_however_many_begin_without_failing_all_are_written() -> None:
    lines = Flood()
    assert all(lines.admits_beginning(OPENED, "a") for _ in range(10 * MAX_TOTAL))
    assert lines.end_period() == {}


def test_many_sources_together_are_bounded_too() -> None:
    lines = Flood()
    written = sum(lines.admits_failure(REFUSED, str(source)) for source in range(3 * MAX_TOTAL))
    assert written == MAX_TOTAL
    assert not lines.admits_beginning(OPENED, "somebody else")
    assert lines.end_period() == {REFUSED: 2 * MAX_TOTAL, OPENED: 1}


def test_what_no_client_caused_is_written_whoever_floods() -> None:
    lines = Flood()
    rejected = Kind("config.rejected")
    for source in range(2 * MAX_TOTAL):
        lines.admits_failure(REFUSED, str(source))
    written = [lines.admits_failure(rejected, NO_CLIENT) for _ in range(MAX_PER_SOURCE + 1)]
    assert written == [True] * MAX_PER_SOURCE + [False]
    assert lines.end_period() == {REFUSED: MAX_TOTAL, rejected: 1}
    for _ in range(MAX_PER_SOURCE):
        lines.admits_failure(rejected, NO_CLIENT)
    assert (
        sum(lines.admits_failure(REFUSED, str(source)) for source in range(2 * MAX_TOTAL))
        == MAX_TOTAL
    )


def test_kinds_beyond_the_bound_are_counted_as_one() -> None:
    lines = Flood()
    for source in range(MAX_TOTAL):
        lines.admits_failure(REFUSED, str(source))
    for number in range(MAX_KINDS + 5):
        lines.admits_failure(Kind("odd", str(number)), "a")
    told = lines.end_period()
    assert len(told) == MAX_KINDS + 1
    assert told[OTHER] == 5


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["failure", "beginning", "turn"]),
            st.sampled_from([REFUSED, FAILED, OPENED]),
            st.integers(0, 99),
        ),
        max_size=500,
    )
)
def test_each_line_is_written_or_counted_and_the_bounds_hold(
    steps: list[tuple[str, Kind, int]],
) -> None:
    lines = Flood()
    written: Counter[tuple[Kind, str]] = Counter()
    missing: Counter[Kind] = Counter()
    for what, kind, who in steps:
        source = str(who)
        if what == "turn":
            assert lines.end_period() == missing
            written.clear()
            missing.clear()
        elif what == "failure":
            if lines.admits_failure(kind, source):
                written[kind, source] += 1
            else:
                missing[kind] += 1
                assert written[kind, source] == MAX_PER_SOURCE or written.total() == MAX_TOTAL
        elif not lines.admits_beginning(kind, source):
            missing[kind] += 1
            flooded = any(
                count == MAX_PER_SOURCE for (_, one), count in written.items() if one == source
            )
            assert flooded or written.total() == MAX_TOTAL
        assert written.total() <= MAX_TOTAL
        assert all(count <= MAX_PER_SOURCE for count in written.values())
        assert len(lines._written) <= MAX_TOTAL
    assert lines.end_period() == missing
