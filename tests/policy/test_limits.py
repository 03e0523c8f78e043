import pytest

from galileod.policy.limits import check_size
from galileod.protocol.errors import Fault, FaultCode


@pytest.mark.parametrize("size", [0, 1, 99, 100])
def test_a_size_up_to_the_limit_is_let_through(size: int) -> None:
    check_size(size, 100)
    with pytest.raises(Fault):
        check_size(size, size - 1)


def test_a_size_above_the_limit_is_too_large_and_the_limit_is_named() -> None:
    with pytest.raises(Fault, match=r"101 bytes.*100 bytes") as caught:
        check_size(101, 100)
    assert caught.value.code is FaultCode.TOO_LARGE
    assert caught.value.details == {"limit": 100, "size": 101}
