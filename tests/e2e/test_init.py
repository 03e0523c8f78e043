"""galileod as process 1, as in a container: it reaps orphans, and no signal is lost."""

import os
import shlex
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.clients import check_serves
from helpers.daemon import GALILEOD, Daemon, poll
from helpers.processes import can_unshare, children, is_zombie, mappings

MOMENTS = int(os.environ.get("GALILEOD_TEST_MOMENTS", "3"))
"""How many moments of the start a SIGTERM is sent at."""

MAPPED = 500
"""Mappings of a daemon that has started, about."""

UNSHARE = (shutil.which("unshare") or "unshare", "--pid", "--fork", "--kill-child", "--mount-proc")

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(
        not can_unshare("--pid", "--mount-proc"), reason="a PID namespace needs root"
    ),
]


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path, program=(*UNSHARE, GALILEOD)) as host:
        yield host


def process_1(host: Daemon) -> int:
    """The process that is number 1 inside."""
    return poll("process 1", lambda: children(host.pid))[0]


def program(host: Daemon) -> int:
    return poll("the program", lambda: children(process_1(host)))[0]


def test_an_orphan_of_a_hook_does_not_stay_as_a_zombie(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # The orphan keeps none of the pipes of the hook.
    orphan = f"cat {shlex.quote(str(fifo))} <&- >/dev/null 2>&1 &"
    hooks = {"hooks": {"stored": ["sh", "-c", orphan]}}
    with Daemon(tmp_path, hooks, program=(*UNSHARE, GALILEOD)) as host:
        check_serves(host.start())
        with open(fifo, "wb"):
            host.wait_for("hook.delivered")
            inherited = poll("the orphan", lambda: children(process_1(host))[1:])
        poll("no children but the program", lambda: children(process_1(host)) == [program(host)])
        assert not any(map(is_zombie, inherited))
        os.kill(process_1(host), signal.SIGTERM)
        assert host.wait() == 0
        assert host.find("server.stopped")


@pytest.mark.parametrize("moment", [n * MAPPED // MOMENTS for n in range(MOMENTS)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_start_is_not_lost(
    container: Daemon, moment: int, number: signal.Signals
) -> None:
    host = container.spawn()
    started = program(host)  # from then on process 1 forwards signals
    poll("the moment", lambda: mappings(started) >= moment or host.find("server.started"))
    os.kill(process_1(host), number)
    assert host.wait() in (0, 128 + number)
    assert "Traceback" not in host.text()


def test_its_status_is_that_of_the_program(container: Daemon) -> None:
    container.start()
    os.kill(program(container), signal.SIGKILL)
    assert container.wait() == 128 + signal.SIGKILL


def test_an_error_at_the_start_has_its_status(tmp_path: Path) -> None:
    wrong = {"server": {"listen": "nowhere"}}
    with Daemon(tmp_path, wrong, program=(*UNSHARE, GALILEOD)) as host:
        assert host.spawn().wait() == 2
        assert "server.listen" in host.text()
        host.stderr.unlink()  # it is no log


def test_reload_and_passed_sockets_reach_the_program(tmp_path: Path) -> None:
    passing = 'export LISTEN_PID=1 LISTEN_FDS=1; exec "$0" "$@"'
    inside = (*UNSHARE, "sh", "-c", passing, GALILEOD)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        name = f"127.0.0.1:{listening.getsockname()[1]}"
        settings = {"server": {"listen": [name]}}
        with Daemon(tmp_path, settings, program=inside, sockets=[listening]) as host:
            host.start()
            listening.close()  # otherwise it would stay open here
            assert host.listen == [name]
            check_serves(host)
            os.kill(process_1(host), signal.SIGHUP)
            host.wait_for("config.reloaded")
            os.kill(process_1(host), signal.SIGTERM)
            assert host.wait() == 0
