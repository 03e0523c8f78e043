import pytest

from galileod.policy.modified import MAX_AHEAD, believable

NOW = 1_795_000_000.5
NOW_MS = 1_795_000_000_500


@pytest.mark.parametrize(
    ("modified", "believed"),
    [
        (None, None),
        (0, 0),
        (1, 1_000_000),
        (1_234_567_890_123, 1_234_567_890_123_000_000),
        (NOW_MS, NOW_MS * 1_000_000),
        (NOW_MS + MAX_AHEAD * 1000, (NOW_MS + MAX_AHEAD * 1000) * 1_000_000),
        (NOW_MS + MAX_AHEAD * 1000 + 1, None),
        (-1, None),
        (-(10**30), None),
        (10**30, None),
    ],
)
def test_a_time_is_believed_from_1970_to_a_day_ahead(
    modified: int | None, believed: int | None
) -> None:
    assert believable(modified, NOW) == believed
