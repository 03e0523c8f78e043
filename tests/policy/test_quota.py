"""Whether one more upload fits."""

import pytest

from galileod.policy.quota import Holding, check_quota, find_used_up
from galileod.policy.settings import Quota
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


STORED = Holding(bytes=1000, files=10, reserved=10**6, uploads=10**6)


@pytest.mark.parametrize(
    ("quota", "key", "named"),
    [
        (Quota(total_bytes=Size(1000)), "quota.total_bytes", ("1000 bytes",)),
        (Quota(total_bytes=Size(700)), "quota.total_bytes", ("700", "1000 bytes")),
        (Quota(total_files=10), "quota.total_files", ("10 files",)),
        (Quota(total_bytes=Size(9999), total_files=2), "quota.total_files", ("is 2,", "10 files")),
    ],
)
def test_a_quota_that_the_stored_files_have_used_up_is_named(
    quota: Quota, key: str, named: tuple[str, ...]
) -> None:
    found = find_used_up(quota, STORED)
    assert found
    assert found.key == key
    assert all(part in found.reason for part in (key, *named))
    with pytest.raises(Fault):
        check_quota(quota, 1, Holding(STORED.bytes, STORED.files), Holding())


@pytest.mark.parametrize(
    "quota",
    [
        Quota(),
        Quota(total_bytes=Size(1001), total_files=11),
        Quota(user_bytes=Size(1), user_files=1, user_uploads=1),
    ],
)
def test_what_users_or_running_uploads_hold_is_no_reason_to_refuse_everybody(quota: Quota) -> None:
    assert find_used_up(quota, STORED) is None
