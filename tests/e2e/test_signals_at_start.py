"""Signals that arrive while galileod starts: none is lost, and none causes a traceback.

The moment of a signal is told by what the process has mapped, which grows with its imports.
"""

import os
import signal

import pytest
from helpers.daemon import GALILEOD, Daemon, Daemons, poll
from helpers.processes import blocks, mappings

MOMENTS = int(os.environ.get("GALILEOD_TEST_MOMENTS", "4"))
"""How many moments of the start are tried for each signal."""

MAPPED = 500
"""Mappings of a daemon that has started, about."""

FIRST = signal.SIGHUP
"""It is blocked by the first instruction."""

pytestmark = pytest.mark.parametrize("moment", [n * MAPPED // MOMENTS for n in range(MOMENTS)])


def at_moment(host: Daemon, moment: int) -> Daemon:
    """Spawn it, and wait until it has mapped so much, or has started."""
    host.spawn()
    poll("its first instruction", lambda: blocks(host.pid, FIRST) or host.find("server.started"))
    poll("the moment", lambda: mappings(host.pid) >= moment or host.find("server.started"))
    return host


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_and_says_nothing_wrong(
    daemon: Daemons, moment: int, number: signal.Signals
) -> None:
    host = at_moment(daemon(start=False, program=(GALILEOD,)), moment)
    host.send_signal(number)
    assert host.wait() in (0, -number)
    assert "Traceback" not in host.text()
    assert all(line["level"] == "info" for line in host.log())


def test_a_request_to_reload_is_kept_until_it_can_be_served(daemon: Daemons, moment: int) -> None:
    host = at_moment(daemon(start=False, program=(GALILEOD,)), moment)
    host.send_signal(signal.SIGHUP)
    host.wait_for("config.reloaded")
    assert host.stop() == 0
