"""Clients that send one file after the other, each until it is stored, whatever fails meanwhile."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from typing import Final

from attrs import define, field, frozen
from helpers.bursts import Burst, Reachable, key_of
from helpers.clients import Signal, hear, open_websocket, say, some_bytes
from helpers.crashing import workers
from helpers.daemon import poll
from helpers.frames import signal_frame
from helpers.resuming import Attempt, EndedError, sha1
from helpers.s3_store import MIB, PART
from websockets.exceptions import WebSocketException

PACE: Final = 0.05
"""Seconds between two connections: the engine has both cores of the machine to share."""

PATIENCE: Final = 75.0
"""Seconds for the files that are on their way when nothing fails any more."""

SMALL: Final = 12
"""Files of one connection with `next`."""

SIZES: Final = (PART + 1, 11 * MIB, 2 * PART, 7 * MIB)
BLOCK: Final = some_bytes(max(SIZES))

PASSING: Final = frozenset({"lost", "cut", "busy", "storage_failed", "shutting_down"})
"""What a client may try again after by itself."""


def content(name: str, size: int) -> bytes:
    """Bytes that no other file has."""
    mark = name.encode().ljust(32)
    return mark + BLOCK[len(mark) : size]


def large(name: str, number: int) -> bytes:
    return content(name, SIZES[number % len(SIZES)])


First = Callable[[Attempt], Signal | None]
"""What a client does with its first connection; returns the signal that ended the upload."""


@frozen
class Stored:
    """What was confirmed: where the file is, and its hash."""

    path: str
    sha1: str


@define
class Senders:
    """Four threads: small files with `next`; large ones with a key; the same over a line that is
    cut; and large ones without a key, each attempt of which is a file of its own.

    `offered` has the hash of each file by its name, `stored` what was confirmed. `heard` counts how
    connections have ended; what is neither in `passing` nor success is a failure. `keyless` are the
    names of files without a key.
    """

    daemon: Reachable
    passing: frozenset[str] = PASSING
    offered: dict[str, str] = field(factory=dict)
    stored: dict[str, Stored] = field(factory=dict)
    keyless: set[str] = field(factory=set)
    heard: Counter[str] = field(factory=Counter)
    over: threading.Event = field(factory=threading.Event)
    _up: threading.Event = field(factory=threading.Event)
    _end: float | None = None
    _large: int = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """They send during the block, and then until each file is stored."""
        with workers(self._run, self._up, self.over):
            yield

    def wait_for(self, more: int = 1) -> None:
        """Return once so many more large files are confirmed."""
        for until in range(self._large + 1, self._large + more + 1):
            poll("a file", partial(self._are_stored, until), lambda: self.daemon.text()[-8000:])

    def _are_stored(self, large: int) -> bool:
        return self._large >= large

    def send(self, name: str, data: bytes, *, first: First | None = None) -> None:
        """Send a file with a key until it is stored; `first` is done with the first connection."""
        self.offered[name] = sha1(data)
        while True:
            signal, first = self._connected(name, data, {"upload": key_of(name)}, first), None
            if signal is not None and signal.get("close"):
                self.stored[name] = Stored(signal["path"], sha1(data))
                self._large += 1
                return
            self._pause(name)

    def _run(self, worker: int) -> None:
        kinds = (self.send_small, self._send_keyed, self._send_cut, self._send_keyless)
        for number in count():
            if self.over.is_set():
                return
            kinds[worker](f"{worker}-{number}", number)

    def send_small(self, batch: str, number: int) -> None:
        """Send files on connections with `next` until each is stored."""
        names = [f"{batch}-{each}.bin" for each in range(SMALL)]
        data = {name: content(name, 100 + 997 * number % 90_000) for name in names}
        first = f"{batch}-first.bin"
        self.offered |= {name: sha1(data[name]) for name in names} | {first: sha1(b"")}
        while (left := [name for name in names if name not in self.stored]) or (
            first not in self.stored
        ):
            try:
                with closing(Burst(self.daemon, first)) as burst:
                    self._burst(burst, left, data)
            except OSError:
                self.heard["lost"] += 1
            self._pause(first)

    def _burst(self, burst: Burst, names: list[str], data: dict[str, bytes]) -> None:
        signal = burst.start
        if signal is not None and signal.get("ready"):
            burst.send(signal_frame(finished=True))
            signal = burst.next_signal()
        self._note(burst.first, b"", signal)
        if signal is None or not (signal.get("close") or signal.get("next")):
            return
        numbers = {burst.send_whole(name, data[name], upload=key_of(name)): name for name in names}
        while numbers.keys() - burst.answers.keys() and burst.hear():
            pass
        for number, name in numbers.items():
            self._note(name, data[name], burst.answers.get(number))

    def _send_keyed(self, name: str, number: int) -> None:
        self.send(f"{name}.bin", large(name, number))

    def _send_cut(self, name: str, number: int) -> None:
        data = large(name, number)

        def cut(attempt: Attempt) -> None:
            attempt.send(len(data) * (number % 7 + 1) // 9)
            attempt.cut()
            self.heard["cut"] += 1

        self.send(f"{name}.bin", data, first=cut)

    def _send_keyless(self, name: str, number: int) -> None:
        for attempt in count():
            tried = f"{name}-{attempt}.bin"
            data = large(tried, number)
            self.offered[tried] = sha1(data)
            self.keyless.add(tried)
            signal = self._connected(tried, data, {}, None)
            if signal is not None and signal.get("close"):
                self.stored[tried] = Stored(tried, sha1(data))
                self._large += 1
                return
            self._pause(tried)

    def _connected(
        self,
        name: str,
        data: bytes,
        more: dict[str, object],
        first: First | None,
    ) -> Signal | None:
        """One connection; returns the signal that ends the upload, None if none came."""
        signal: Signal | None = None
        try:
            with open_websocket(self.daemon.url) as websocket:
                say(websocket, name=name, size=len(data), can=["resume"], **more)
                signal = hear(websocket)
                if signal.get("ready"):
                    attempt, signal = Attempt(websocket, data, signal), None
                    signal = first(attempt) if first else attempt.send_all()
        except EndedError as ended:
            signal = ended.signal
        except (OSError, EOFError, WebSocketException):
            pass  # no daemon to talk to, or it died
        self._judge(signal)
        return signal

    def _note(self, name: str, data: bytes, signal: Signal | None) -> None:
        self._judge(signal)
        if signal is not None and signal.get("close"):
            path = str(signal.get("path", name))
            self.stored[name] = Stored(path, sha1(data))

    def _judge(self, signal: Signal | None) -> None:
        if signal is None:
            heard = "lost"
        else:
            heard = "stored" if signal.get("close") else str(signal.get("code"))
        self.heard[heard] += 1
        assert heard == "stored" or heard in self.passing, signal

    def _pause(self, name: str) -> None:
        time.sleep(PACE)
        if self.over.is_set() and not self._end:
            self._end = time.monotonic() + PATIENCE
        late = self._end is not None and time.monotonic() > self._end
        assert not late, (name, self.heard, self.daemon.text()[-8000:])
