"""Whether one more upload fits."""

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.quota import Holding, check_quota
from galileod.policy.settings import Quota
from galileod.policy.space import check_space
from galileod.protocol.errors import Fault, FaultCode
from galileod.units import Size

HELD = Holding(bytes=600, files=6, reserved=300, uploads=3)


@pytest.mark.parametrize(
    ("quota", "used", "limit"),
    [
        (Quota(total_bytes=Size(1000)), 900, 1000),
        (Quota(user_bytes=Size(1000)), 900, 1000),
        (Quota(total_files=9), 9, 9),
        (Quota(user_files=9), 9, 9),
        (Quota(user_uploads=3), 3, 3),
    ],
)
def test_an_upload_that_would_pass_a_limit_is_told_the_limit_and_what_is_used(
    quota: Quota, used: int, limit: int
) -> None:
    with pytest.raises(Fault) as raised:
        check_quota(quota, 101, HELD, HELD)
    assert raised.value.code is FaultCode.QUOTA_EXCEEDED
    assert raised.value.details == {"limit": limit, "used": used}


@pytest.mark.parametrize(
    "quota",
    [
        Quota(),
        Quota(total_bytes=Size(1000), user_bytes=Size(1000)),
        Quota(total_files=10, user_files=10, user_uploads=4),
    ],
)
def test_an_upload_that_just_fits_is_let_in(quota: Quota) -> None:
    check_quota(quota, 100, HELD, HELD)


def test_one_user_is_not_refused_for_what_another_holds() -> None:
    check_quota(Quota(user_bytes=Size(100), user_files=1, user_uploads=1), 100, HELD, Holding())


@given(*[st.integers(0, 2**40)] * 4)
def test_space_is_refused_exactly_where_it_would_cut_into_what_must_stay_free(
    free: int, expected: int, size: int, min_free: int
) -> None:
    with nullcontext() if free - expected - size >= min_free else pytest.raises(Fault) as raised:
        check_space(free, expected, size, min_free)
    assert raised is None or raised.value.code is FaultCode.NO_SPACE
