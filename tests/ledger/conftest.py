"""What the tests of all ledgers share: each runs for each implementation."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.clocks import FakeClock
from helpers.ledgers import OPENERS, FakeBoot

from galileod.ledger.base import Ledger
from galileod.ledger.sqlite.shared_memory import SUPPORTED, filesystem_type


@pytest.fixture(autouse=True)
def shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shared memory is used in `tmp_path`, also on overlayfs or btrfs: the disk is not full."""
    kind = filesystem_type(str(tmp_path))
    assert kind is not None
    monkeypatch.setitem(SUPPORTED, kind, "the filesystem of the tests")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def boot() -> FakeBoot:
    return FakeBoot()


@pytest.fixture(params=OPENERS)
def reopen(
    request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock, boot: FakeBoot
) -> Iterator[Callable[[], Ledger]]:
    """Opens the same ledger each time."""
    where = str(tmp_path / "ledger")
    if request.param == "postgresql":
        where = request.getfixturevalue("ledger_url")
    with ExitStack() as opened:

        def open_ledger() -> Ledger:
            ledger = OPENERS[request.param](where, clock, boot.id)
            opened.callback(ledger.close)
            return ledger

        yield open_ledger


@pytest.fixture
def ledger(reopen: Callable[[], Ledger]) -> Ledger:
    return reopen()
