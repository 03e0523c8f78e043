"""galileod as a systemd service inside of a container."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final, Self

from helpers.clients import (
    Reply,
    expect_ready,
    hear,
    open_websocket,
    read_all,
    read_head,
    say,
)
from helpers.container import Container
from websockets.sync.client import ClientConnection

ADDRESS: Final = ("127.0.0.1", 8750)
URL: Final = "ws://127.0.0.1:8750/upload"
HEALTH: Final = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"
SERVICE: Final = "galileod.service"
SOCKET: Final = "galileod.socket"
HALF: Final = 1000


class Service:
    """galileod inside of a container."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.run = container.run

    def show(self, name: str) -> str:
        """A property of the unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", SERVICE).strip()

    def pid(self) -> int:
        """Its main process, as numbered inside."""
        return int(self.show("MainPID"))

    def log(self) -> list[dict[str, Any]]:
        """All that the daemon ever wrote to the journal; each line must be a JSON object.

        But for a wrong configuration, which is told before it is known how to log.
        """
        lines = self.run("journalctl", "--output=cat", f"_SYSTEMD_UNIT={SERVICE}").splitlines()
        return [json.loads(line) for line in lines if not line.startswith("galileod: ")]

    def count(self, event: str) -> int:
        return sum(line["event"] == event for line in self.log())

    def has_more(self, event: str, count: int) -> bool:
        return self.count(event) > count

    def ask(self, address: tuple[str, int] | str = ADDRESS) -> Reply:
        """What /healthz says."""
        with self.container.dial(address) as connection:
            connection.sendall(HEALTH)
            reply = read_head(connection)
            return Reply(reply.status, reply.headers, reply.body + read_all(connection))

    @contextmanager
    def half_an_upload(self, name: str) -> Iterator[ClientConnection]:
        """An upload of which half is still to come."""
        with open_websocket(URL, sock=self.container.dial(ADDRESS)) as websocket:
            say(websocket, name=name, size=2 * HALF)
            expect_ready(websocket)
            websocket.send(bytes(HALF))
            yield websocket

    def stored(self, name: str) -> Path:
        return self.container.path(f"/var/lib/galileod/{name}")

    @contextmanager
    def changed(self, **drop_ins: str) -> Iterator[None]:
        """Run with more lines in the units, as `systemctl edit` writes them; then without."""
        paths = {
            self.container.path(f"/etc/systemd/system/galileod.{kind}.d/test.conf"): text
            for kind, text in drop_ins.items()
        }
        for path, text in paths.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        self.restart(*drop_ins)
        yield
        for path in paths:
            path.unlink()
        self.restart(*drop_ins)

    def restart(self, *kinds: str) -> None:
        if "socket" in kinds:
            self.run("systemctl", "stop", SERVICE, SOCKET)
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "reset-failed")
        if "socket" in kinds:
            self.run("systemctl", "start", SOCKET)
        self.run("systemctl", "restart", SERVICE)


def finish(upload: ClientConnection) -> None:
    """Send the other half, and hear that all of it is stored."""
    upload.send(bytes(HALF))
    while hear(upload).get("chunksize"):
        pass
    say(upload, finished=True)
    assert hear(upload) == {"close": True}


class HealthChecks:
    """Requests /healthz in a loop, and records the statuses and the failures."""

    def __init__(self, service: Service) -> None:
        self.statuses: list[int] = []
        self.errors: list[OSError] = []
        self._service = service
        self._stop = Event()
        self._thread = Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.statuses.append(self._service.ask().status)
            except OSError as error:
                self.errors.append(error)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._stop.set()
        self._thread.join()


def restarts(service: Service) -> int:
    return int(service.show("NRestarts"))


def is_active(service: Service, unit: str) -> bool:
    return service.run("systemctl", "is-active", unit, check=False) == "active\n"
