"""A proxy that forwards TCP connections at a limited rate and with a delay.

    python bench/delay_proxy.py PORT TARGET_PORT MBITS ROUND_TRIP_MS

Connections to PORT on 127.0.0.1 are forwarded to TARGET_PORT there. Each direction has half of the
round trip as its delay, and forwards at most MBITS Mbit/s. It buffers little more than the
bandwidth-delay product; beyond that the sender is not read. The TCP handshake and slow start are
not simulated: a connection is established at once, at the full rate.
"""

import socket
import sys
import threading
import time
from collections import deque

SLACK = 0.004
"""Maximum delay of a timer in seconds that is compensated by sending sooner afterwards. On an idle
machine timers are late by less."""
QUANTUM = 0.002
"""A read takes the data of this many seconds, but at least MIN_READ and at most MAX_READ bytes."""
MIN_READ, MAX_READ = 4 * 1024, 64 * 1024
BUFFER = 256 * 1024
"""Bytes of the socket buffers. The loopback, whose packets have 64 KiB, transfers in bursts unless
a buffer has room for several of them."""


class Direction:
    """One direction of one connection."""

    def __init__(
        self, source: socket.socket, target: socket.socket, rate: float, delay: float
    ) -> None:
        self._source, self._target = source, target
        self._rate, self._delay = rate, delay
        self._block = int(min(max(rate * QUANTUM, MIN_READ), MAX_READ))
        self._room = 2 * delay * rate + 2 * self._block
        self._held = 0
        self._in_flight: deque[tuple[float, bytes]] = deque()
        self._changed = threading.Condition()
        self._broken = False

    def start(self) -> None:
        """Forward until either side ends."""
        for forward in (self._receive, self._send):
            threading.Thread(target=forward, daemon=True).start()

    def _receive(self) -> None:
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
                self._in_flight.append((max(free_at, now) + self._delay, data))
                self._held += len(data)
                self._changed.notify()
            if not data:
                return
            time.sleep(max(0.0, free_at - time.monotonic()))

    def _send(self) -> None:
        while True:
            with self._changed:
                while not self._in_flight:
                    self._changed.wait()
                due, data = self._in_flight.popleft()
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
        """The target has closed its connection: close that of the source, too."""
        with self._changed:
            self._broken = True
            self._changed.notify()
        try:
            self._source.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed already


def forward(near: socket.socket, target: tuple[str, int], rate: float, delay: float) -> None:
    """Connect to the target, and forward the data of `near` in both directions."""
    far = socket.socket()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    far.connect(target)
    for connection in (near, far):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    Direction(near, far, rate, delay).start()
    Direction(far, near, rate, delay).start()


def main() -> None:
    port, target, mbits, round_trip_ms = map(float, sys.argv[1:])
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)  # inherited by connections
        server.bind(("127.0.0.1", int(port)))
        server.listen(1024)
        while True:
            near, _ = server.accept()
            forward(near, ("127.0.0.1", int(target)), mbits * 1e6 / 8, round_trip_ms / 2000)


if __name__ == "__main__":
    main()
