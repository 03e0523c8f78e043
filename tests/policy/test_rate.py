"""The slowest that a client may send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.rate import RateMeter
from galileod.protocol.errors import Fault, FaultCode


def test_a_window_below_the_minimum_is_too_slow() -> None:
    meter = RateMeter(minimum=1000, window=60)
    with pytest.raises(Fault) as raised:
        meter.add(60, 59_999)
    assert raised.value.code is FaultCode.TOO_SLOW
    assert raised.value.details == {"limit": 1000, "rate": 1000}


def test_a_window_at_the_minimum_passes() -> None:
    meter = RateMeter(minimum=1000, window=60)
    meter.add(60, 60_000)
    assert meter.left == 60


def test_nothing_is_judged_before_the_window_is_full() -> None:
    meter = RateMeter(minimum=1000, window=60)
    meter.add(59, 0)
    assert meter.left == 1


def test_each_window_stands_for_itself() -> None:
    meter = RateMeter(minimum=1000, window=60)
    meter.add(60, 10**9)
    with pytest.raises(Fault):
        meter.add(60, 0)


WAITS = st.lists(st.floats(0.001, 5), min_size=1, max_size=200)


@given(WAITS)
def test_a_client_at_the_minimum_is_never_blamed_however_the_waiting_is_cut(
    waits: list[float],
) -> None:
    meter = RateMeter(minimum=1000, window=10)
    for wait in waits:
        meter.add(wait, int(wait * 1000) + 1)
    assert 0 < meter.left <= 10


@given(WAITS)
def test_a_client_at_half_the_minimum_is_blamed_with_the_first_window(waits: list[float]) -> None:
    meter = RateMeter(minimum=1000, window=10)
    waited = 0.0
    for wait in waits:
        waited += wait
        try:
            meter.add(wait, int(wait * 500))
        except Fault:
            assert waited > 9.999
            return
    assert waited < 10
