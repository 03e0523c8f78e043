"""Uploads over links of all kinds onto one disk, in simulated time.

The server is the loop of a transfer around a `Pacer` and nothing else: grant, store, grant again. A
link has no loss and no slow start of its own. What a link does to a chunk by chance comes from a
seed, so a run is the same every time. Sizes are bytes, times are seconds.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random
from typing import Final

from attrs import define, field, frozen

from galileod.policy.pacing import Pacer
from galileod.protocol.credits import CreditWindow
from galileod.storage.local.sink import WRITE_SLICE

ENDLESS: Final = 1 << 60
"""A file that is not stored before the test ends, and a memory that is never full."""


@frozen
class Link:
    """Between a client and the server. Each way may take up to half of `jitter` longer."""

    rate: float
    round_trip: float
    jitter: float = 0.0


@frozen
class Bounds:
    """The settings, and what an upload may begin with."""

    chunk_min: int = 64 << 10
    chunk_max: int = 8 << 20
    max_in_flight: int = 16
    head_start: int = 16 << 20

    def pacer(self) -> Pacer:
        """A new one within these bounds."""
        return Pacer(self.chunk_min, self.chunk_max, self.max_in_flight, self.head_start)


@frozen
class Slice:
    """A part of a chunk that came, or its end."""

    length: int
    chunk: int
    first_byte: float
    last_byte: float
    last: bool


@define
class Upload:
    """An endless file, the client that sends it, and what the server knows of both.

    The client sends what it is asked for, or chunks of `own_chunk` where that is less, and nothing
    before `silent_until`. `credits` is what was granted last; since `forget`, `peak` is the most
    that was held for it, and `largest` the largest chunk that the pacer had in mind.
    """

    link: Link
    pacer: Pacer
    own_chunk: int = ENDLESS
    silent_until: float = 0.0
    stored: int = 0
    peak: int = 0
    largest: int = 0
    window: CreditWindow = field(factory=lambda: CreditWindow(ENDLESS))
    credits: deque[int] = field(factory=lambda: deque(maxlen=16))
    slices: deque[Slice] = field(factory=deque)
    last_credit: float = 0.0
    link_free: float = 0.0
    last_byte: float = 0.0

    def forget(self) -> None:
        """Begin anew with `peak` and `largest`, of which what is out is a part."""
        self.peak = 0
        self.largest = max(self.credits, default=0)

    @property
    def held(self) -> int:
        """Bytes that are promised, or came and are not stored."""
        return self.window.promised


class Paths:
    """Some uploads and their disk. The disk serves a slice of each in turn.

    `disk_rate` and `memory`, the bytes that each upload may hold, can be changed at any time.
    """

    def __init__(self, disk_rate: float, bounds: Bounds, seed: int = 0) -> None:
        self.now = 0.0
        self.disk_rate = disk_rate
        self.memory = ENDLESS
        self.uploads: list[Upload] = []
        self._bounds = bounds
        self._random = Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._turns: deque[Upload] = deque()
        self._disk_busy = False
        self._stall = 0.0

    def start(self, link: Link, own_chunk: int = ENDLESS) -> Upload:
        """A new upload begins now."""
        upload = Upload(link, self._bounds.pacer(), own_chunk)
        self.uploads.append(upload)
        self._grant(upload)
        return upload

    def stall(self, seconds: float) -> None:
        """The next slice takes so much longer."""
        self._stall = seconds

    def run(self, until: float) -> None:
        """Let time pass until then."""
        while self._events and self._events[0][0] <= until:
            self._step()
        self.now = until

    def run_until_stored(self, upload: Upload, length: int) -> None:
        """Let time pass until so many bytes of an upload are stored."""
        while upload.stored < length:
            self._step()

    def _step(self) -> None:
        self.now, _, act = heapq.heappop(self._events)
        act()

    def _at(self, time: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), act))

    def _one_way(self, link: Link) -> float:
        return (link.round_trip + self._random.random() * link.jitter) / 2

    def _grant(self, upload: Upload) -> None:
        window, pacer = upload.window, upload.pacer
        while window.outstanding < self._bounds.max_in_flight:
            promised = window.promised
            credit = pacer.credit(promised, max(0, self.memory - promised))
            if not credit:
                break
            window.grant(credit)
            pacer.granted(credit, self.now)
            upload.credits.append(credit)
            reached = max(upload.last_credit, self.now + self._one_way(upload.link))
            upload.last_credit = reached
            self._at(reached, partial(self._send, upload, credit))
        upload.peak = max(upload.peak, upload.held)
        upload.largest = max(upload.largest, pacer.chunk)

    def _send(self, upload: Upload, credit: int) -> None:
        """A credit has reached the client."""
        chunk = min(credit, upload.own_chunk)
        begin = max(self.now, upload.link_free, upload.silent_until)
        first_byte = upload.last_byte = max(upload.last_byte, begin + self._one_way(upload.link))
        sent = 0
        while sent < chunk:
            length = min(WRITE_SLICE, chunk - sent)
            sent += length
            upload.link_free = begin + sent / upload.link.rate
            came = max(upload.last_byte, upload.link_free + self._one_way(upload.link))
            upload.last_byte = came
            part = Slice(length, chunk, first_byte, came, last=sent == chunk)
            self._at(came, partial(self._receive, upload, part))

    def _receive(self, upload: Upload, part: Slice) -> None:
        upload.slices.append(part)
        if len(upload.slices) == 1:
            self._turns.append(upload)
            self._write()

    def _write(self) -> None:
        if self._disk_busy or not self._turns:
            return
        self._disk_busy = True
        upload = self._turns.popleft()
        part = upload.slices[0]
        if part.last:
            upload.window.take(part.chunk)
            upload.pacer.arrived(part.chunk, part.first_byte, part.last_byte)
        seconds, self._stall = part.length / self.disk_rate + self._stall, 0.0
        self._at(self.now + seconds, partial(self._written, upload))

    def _written(self, upload: Upload) -> None:
        part = upload.slices.popleft()
        upload.stored += part.length
        if part.last:
            upload.pacer.stored(part.chunk, self.now)
            self._grant(upload)
        if upload.slices:
            self._turns.append(upload)
        self._disk_busy = False
        self._write()


def fairness(shares: list[int]) -> float:
    """Jain's index: 1 where all got the same, 1/n where one got all."""
    return sum(shares) ** 2 / (len(shares) * math.fsum(share**2 for share in shares))
