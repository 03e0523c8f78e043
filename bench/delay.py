"""A long line: forwards connections at a rate and with a delay, in a process of its own.

    python bench/delay.py PORT TARGET_PORT MBITS ROUND_TRIP_MS

Connections to PORT on 127.0.0.1 go on to TARGET_PORT there. Each direction takes half of the round
trip, carries MBITS million bits a second, and holds little more than the line itself would in a
round trip: whoever sends faster is not read. It is the line that is modelled, and not the start
of TCP on it: the connection stands at once.
"""

import socket
import sys
import threading
import time
from collections import deque

SLACK = 0.004
"""Seconds that the line may catch up on: timers are late by less, on a machine that is not full."""
QUANTUM = 0.002
"""Seconds of the line's time that are read at once, within LEAST and MOST bytes."""
LEAST, MOST = 4 * 1024, 64 * 1024
BUFFER = 256 * 1024
"""Bytes of the kernel's buffers on either side. The loopback stutters with less than some of its
packets of 64 KiB."""


class Way:
    """One direction of one connection."""

    def __init__(
        self, source: socket.socket, target: socket.socket, rate: float, delay: float
    ) -> None:
        self._source, self._target = source, target
        self._rate, self._delay = rate, delay
        self._block = int(min(max(rate * QUANTUM, LEAST), MOST))
        self._room = 2 * delay * rate + 2 * self._block
        self._held = 0
        self._under_way: deque[tuple[float, bytes]] = deque()
        self._changed = threading.Condition()
        self._broken = False

    def start(self) -> None:
        """Forward until either side ends."""
        for work in (self._take_in, self._give_out):
            threading.Thread(target=work, daemon=True).start()

    def _take_in(self) -> None:
        free_at = 0.0
        while True:
            try:
                data = self._source.recv(self._block)
            except OSError:
                data = b""
            now = time.monotonic()
            free_at = max(free_at, now - SLACK) + len(data) / self._rate
            with self._changed:
                while self._held > self._room and not self._broken:
                    self._changed.wait()
                self._under_way.append((max(free_at, now) + self._delay, data))
                self._held += len(data)
                self._changed.notify()
            if not data:
                return
            time.sleep(max(0.0, free_at - time.monotonic()))

    def _give_out(self) -> None:
        while True:
            with self._changed:
                while not self._under_way:
                    self._changed.wait()
                due, data = self._under_way.popleft()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not data:
                    self._target.shutdown(socket.SHUT_WR)
                    return
                self._target.sendall(data)
            except OSError:
                self._break()
                return
            with self._changed:
                self._held -= len(data)
                self._changed.notify()

    def _break(self) -> None:
        """The target is gone: so is the source, then."""
        with self._changed:
            self._broken = True
            self._changed.notify()
        try:
            self._source.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # gone as well


def forward(near: socket.socket, target: tuple[str, int], rate: float, delay: float) -> None:
    """Make one connection go on to the target."""
    far = socket.socket()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    far.connect(target)
    for connection in (near, far):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    Way(near, far, rate, delay).start()
    Way(far, near, rate, delay).start()


def main() -> None:
    port, target, mbits, round_trip_ms = map(float, sys.argv[1:])
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)  # what it accepts inherits
        server.bind(("127.0.0.1", int(port)))
        server.listen(1024)
        while True:
            near, _ = server.accept()
            forward(near, ("127.0.0.1", int(target)), mbits * 1e6 / 8, round_trip_ms / 2000)


if __name__ == "__main__":
    main()
