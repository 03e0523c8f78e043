"""Space on the disk: for one upload, and for any."""

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.space import check_space, find_no_space
from galileod.protocol.errors import Fault, FaultCode

SIZES = st.integers(0, 3000)


@given(*[st.integers(0, 2**40)] * 4)
def test_space_is_refused_exactly_where_it_would_cut_into_what_must_stay_free(
    free: int, expected: int, size: int, min_free: int
) -> None:
    with nullcontext() if free - expected - size >= min_free else pytest.raises(Fault) as raised:
        check_space(free, expected, size, min_free)
    assert raised is None or raised.value.code is FaultCode.NO_SPACE


@given(SIZES, SIZES)
def test_no_space_is_found_exactly_where_the_smallest_upload_is_refused(
    free: int, min_free: int
) -> None:
    found = find_no_space(free, min_free)
    with pytest.raises(Fault) if found else nullcontext():
        check_space(free, 0, 1, min_free)


def test_the_fault_and_the_reason_name_the_key_and_its_value() -> None:
    with pytest.raises(Fault) as refused:
        check_space(1000, 0, 1, 5000)
    assert refused.value.details == {"size": 1}
    found = find_no_space(1000, 5000)
    assert found
    assert found.key == "storage.min_free"
    for sentence in (refused.value.reason, found.reason):
        assert "storage.min_free" in sentence
        assert "5000" in sentence
    assert "1000" in found.reason


def test_a_key_that_keeps_nothing_free_is_not_blamed_for_a_full_disk() -> None:
    with pytest.raises(Fault) as refused:
        check_space(0, 0, 1, 0)
    assert refused.value.reason == "The server's disk has no space for 1 bytes."
    found = find_no_space(0, 0)
    assert found
    assert found.reason == "The disk has 0 bytes of free space."
