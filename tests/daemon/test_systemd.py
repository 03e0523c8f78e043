"""What the service manager hands over, and what it hears."""

import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from galileod.daemon.systemd import Manager

PID = 4711


def take(**environ: str) -> Manager:
    return Manager.from_environment(environ, PID)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Manager()),
        ({"LISTEN_PID": "4711", "LISTEN_FDS": "2"}, Manager(passed=(3, 4))),
        ({"LISTEN_PID": "4711", "LISTEN_FDS": "0"}, Manager()),
        ({"LISTEN_PID": "4712", "LISTEN_FDS": "2"}, Manager()),  # meant for our parent
        ({"LISTEN_FDS": "2"}, Manager()),
        ({"WATCHDOG_USEC": "1500000"}, Manager(watchdog=1.5)),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "4711"}, Manager(watchdog=1.5)),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "4712"}, Manager()),
        ({"WATCHDOG_USEC": "0"}, Manager()),
        ({"NOTIFY_SOCKET": "/run/systemd/notify"}, Manager(notify_socket="/run/systemd/notify")),
        ({"NOTIFY_SOCKET": ""}, Manager()),
    ],
)
def test_only_what_is_meant_for_this_process_is_taken(
    environ: dict[str, str], expected: Manager
) -> None:
    assert take(**environ) == expected


def test_nothing_is_left_for_children() -> None:
    environ = {
        "LISTEN_PID": "1",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "x",
        "WATCHDOG_PID": "1",
        "WATCHDOG_USEC": "1",
        "NOTIFY_SOCKET": "/x",
        "HOME": "/",
    }
    Manager.from_environment(environ, PID)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize("name", ["LISTEN_PID", "LISTEN_FDS", "WATCHDOG_PID", "WATCHDOG_USEC"])
@pytest.mark.parametrize("value", ["", "-1", "one", "1.5", "\u0661", "1" * 5000])
def test_what_is_no_number_is_told(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: .* expected an integer"):
        take(**{name: value})


def test_more_sockets_than_can_be_meant_are_told() -> None:
    with pytest.raises(ValueError, match="LISTEN_FDS: 99999999999: expected at most"):
        take(LISTEN_PID=str(PID), LISTEN_FDS="99999999999")


@pytest.fixture(params=["path", "abstract"])
def inbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """Where a manager listens, as it names that, and its socket."""
    name = f"@galileod-{tmp_path}"[:100] if request.param == "abstract" else "notify"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        if name.startswith("@"):
            listening.bind(f"\0{name[1:]}")
            yield name, listening
        else:
            listening.bind(str(tmp_path / name))
            yield str(tmp_path / name), listening


def test_the_manager_hears_every_assignment_on_a_line(inbox: tuple[str, socket.socket]) -> None:
    name, listening = inbox
    Manager(notify_socket=name).notify("READY=1", "STATUS=0 uploads running")
    assert listening.recv(1000) == b"READY=1\nSTATUS=0 uploads running"


def test_without_a_manager_nothing_is_said() -> None:
    with capture_logs() as log:
        Manager().notify("READY=1")
    assert not log


def test_a_manager_that_is_gone_is_logged_and_no_more(tmp_path: Path) -> None:
    with capture_logs() as log:
        Manager(notify_socket=str(tmp_path / "gone")).notify("READY=1")
    (line,) = log
    assert (line["event"], line["log_level"]) == ("systemd.unreachable", "warning")
    assert "No such file" in line["reason"]


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[tuple[Manager, socket.socket]]:
    """A manager whose queue is full, and its socket."""
    path = str(tmp_path / "notify")
    with (
        closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening,
        closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as other,
    ):
        listening.bind(path)
        other.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                other.sendto(b"STATUS=of another process", path)
        listening.setblocking(False)
        yield Manager(notify_socket=path), listening


def received(listening: socket.socket) -> list[bytes]:
    messages = []
    with suppress(BlockingIOError):
        while True:
            messages.append(listening.recv(1000))
    return [message for message in messages if message != b"STATUS=of another process"]


def test_a_manager_that_is_busy_is_not_waited_for_and_told_later(
    busy: tuple[Manager, socket.socket],
) -> None:
    manager, listening = busy
    with capture_logs() as log:
        manager.notify("READY=1", "STATUS=one")
        manager.notify("STATUS=two")
        manager.notify()
    (line,) = log
    assert (line["event"], line["log_level"]) == ("systemd.unreachable", "warning")
    assert not received(listening)
    manager.notify()
    manager.notify()
    assert received(listening) == [b"READY=1\nSTATUS=two"]


def test_each_failure_of_the_manager_is_logged_once(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    manager = Manager(notify_socket=str(path))
    with capture_logs() as log:
        for _ in range(2):
            manager.notify("WATCHDOG=1")
            manager.notify("WATCHDOG=1")
            with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
                listening.bind(str(path))
                manager.notify("WATCHDOG=1")
                assert listening.recv(1000) == b"WATCHDOG=1"
            manager.notify("WATCHDOG=1")
            manager.notify("WATCHDOG=1")
            path.unlink()
    reasons = [line["reason"].partition("] ")[2] for line in log]
    assert reasons == ["No such file or directory", "Connection refused"] * 2
