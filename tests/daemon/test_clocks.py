"""The task that tells whether the clock of this node is wrong, in simulated time."""

import pytest
import trio
from helpers.nodes import FakeNode
from structlog.testing import capture_logs
from trio.testing import MockClock

from galileod.daemon.clocks import LOOK_SECONDS, watch_clock

pytestmark = pytest.mark.timeout(20)


async def test_a_difference_of_the_clocks_and_its_end_are_each_logged_once(
    autojump_clock: MockClock,
) -> None:
    node = FakeNode()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_clock, node)
            for ahead in (0, 4.9, -5, 7200.04, -7.5, 5, 0, -6):
                node.ahead = ahead
                await trio.sleep(2 * LOOK_SECONDS)
            nursery.cancel_scope.cancel()
    assert [(line["event"], line["log_level"], line.get("ahead")) for line in logs] == [
        ("node.clock", "warning", 7200.0),
        ("node.clock_agrees", "info", None),
        ("node.clock", "warning", -6),
    ]
