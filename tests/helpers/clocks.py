"""Clocks for tests."""

from attrs import define


@define
class FakeClock:
    """A clock that stands still at `now`, until a test sets it."""

    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now
