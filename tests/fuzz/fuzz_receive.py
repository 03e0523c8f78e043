"""A longer fuzzer for the receiving path: `make fuzz`, or with seconds and a seed of your own.

    python tests/fuzz/fuzz_receive.py [SECONDS] [SEED]

Each file of the corpus is what a client sent after its upgrade. The fuzzer bends these streams, and
plays them to a server in this process, cut into pieces at random. Whatever comes, the server must
end the connection by itself, hold nothing afterwards, log no mistake of its own, and show only
whole files. A stream that breaks this is added to the corpus, which the suite plays in each run.
"""

import hashlib
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio
from attrs import evolve

sys.path.insert(0, str(Path(__file__).parents[1]))  # where `helpers` is, when run as a program

from helpers.captured import captured_tracebacks
from helpers.memory_store import MemoryStore
from helpers.wire import UPGRADE, frame, serving, text_frame

from galileod.config.model import Config
from galileod.net.settings import Timeouts
from galileod.policy.settings import Chunks
from galileod.units import Duration, Size

CORPUS: Final = Path(__file__).parent / "corpus"
PATIENT: Final = 0.7
MAX_STREAM: Final = 200_000
WHOLE: Final = bytes(range(256)) * 20

CONFIG: Final = evolve(
    Config(),
    chunks=Chunks(min=Size(1024), max=Size(2048), max_in_flight=3, memory=Size(8192)),
    timeouts=Timeouts(*[Duration(1)] * 5),
)

Mutation = Callable[[random.Random, bytes], bytes]


class Broken(Exception):  # noqa: N818  a finding
    """The server did what it must not."""


def first_frame(stream: bytes) -> int:
    """The length of what looks like a frame at the front; of the request head, too."""
    if stream.startswith(UPGRADE):
        return len(UPGRADE)
    length = stream[1] & 0x7F if len(stream) > 1 else 0
    extended = {126: 2, 127: 8}.get(length, 0)
    if extended:
        length = int.from_bytes(stream[2 : 2 + extended])
    return 2 + extended + 4 + length


async def play(stream: bytes, seed: int) -> int:
    """Play one stream to a server of its own; gives how many files it stored. Raises Broken."""
    chance, store = random.Random(seed), MemoryStore()
    # A patient client sends frame by frame, and lets the server answer before it goes on.
    patient = chance.random() < PATIENT
    lengths = [1, 2, 7, 100, 5000, len(stream) + 500]
    with captured_tracebacks() as logs:
        async with serving(store, CONFIG) as wire:
            raw = wire.connect()
            with trio.move_on_after(3600) as patience:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(raw.receive_all)
                    rest = UPGRADE + stream
                    try:
                        while rest:
                            length = first_frame(rest) if patient else chance.choice(lengths)
                            piece, rest = rest[:length], rest[length:]
                            await raw.stream.send_all(piece)
                            if patient:
                                await trio.testing.wait_all_tasks_blocked()
                            await trio.sleep(chance.choice([0, 0, 0, 0.1 * (not patient)]))
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        pass  # the server has heard enough
                await wire.all_ended()
            if patience.cancelled_caught:
                raise Broken("the connection was not ended")
    wrong = [line for line in logs if "exception" in line or line["log_level"] == "error"]
    if wrong:
        raise Broken(f"a mistake was logged: {wrong}")
    stored = [line for line in logs if line["event"] == "upload.stored"]
    if len(stored) != len(store.contents) or store.open_sinks:
        raise Broken(f"{len(store.contents)} files, {len(stored)} told, {store.open_sinks} open")
    for line, content in zip(stored, store.contents.values(), strict=True):
        sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        if (line["size"], line["sha1"]) != (len(content), sha1):
            raise Broken(f"not whole: {line}")
    return len(store.contents)


def run(stream: bytes, seed: int) -> int:
    """Play a stream on a clock that jumps."""
    return trio.run(play, stream, seed, clock=trio.testing.MockClock(autojump_threshold=0))


def flip(chance: random.Random, stream: bytes) -> bytes:
    bent = bytearray(stream)
    for _ in range(chance.choice([1, 1, 2, 8])):
        bent[chance.randrange(len(bent))] = chance.randrange(256)
    return bytes(bent)


def cut(chance: random.Random, stream: bytes) -> bytes:
    first, second = sorted(chance.randrange(len(stream) + 1) for _ in range(2))
    return stream[:first] + stream[second:]


def repeat(chance: random.Random, stream: bytes) -> bytes:
    first, second = sorted(chance.randrange(len(stream) + 1) for _ in range(2))
    return stream[:second] + stream[first:second] * chance.choice([1, 2, 20]) + stream[second:]


def insert(chance: random.Random, stream: bytes) -> bytes:
    where = chance.randrange(len(stream) + 1)
    known = chance.choice(
        [frame(op, chance.randbytes(chance.choice([0, 1, 9]))) for op in range(16)]
    )
    return stream[:where] + known + stream[where:]


MUTATIONS: Final[tuple[Mutation, ...]] = (flip, cut, repeat, insert)


def seeds() -> list[bytes]:
    """The corpus."""
    return [path.read_bytes() for path in sorted(CORPUS.iterdir())]


def well_behaved() -> dict[str, bytes]:
    """What sound clients send, from which all began."""
    claim = {"type": "sha1", "value": hashlib.sha1(WHOLE, usedforsecurity=False).hexdigest()}
    chunks = b"".join(frame(2, WHOLE[at : at + 1000]) for at in range(0, len(WHOLE), 1000))
    metadata = text_frame({"name": "a.bin", "size": len(WHOLE)})
    finished = text_frame({"finished": True, "hash": claim})
    close = frame(8, b"\x03\xe8")
    return {
        "javascript": metadata + chunks + finished + close,
        "perl": metadata + chunks + frame(2) + finished + close,
        "empty": text_frame({"name": "a", "size": 0}) + frame(2) + text_frame({"finished": True}),
        "control": frame(9, b"ping") + metadata + frame(10) + chunks + frame(9) + finished + close,
        "fragments": metadata + frame(2, WHOLE[:500], final=False) + frame(0, WHOLE[500:1000]),
        "twice": metadata + chunks + finished + finished + metadata + close,
    }


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    chance, streams, played = random.Random(seed), seeds(), 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        stream = chance.choice(streams)
        for _ in range(chance.choice([1, 1, 2, 5])):
            stream = chance.choice(MUTATIONS)(chance, stream or b"\0")[:MAX_STREAM]
        try:
            run(stream, chance.randrange(1 << 32))
        except BaseException:
            name = hashlib.sha1(stream, usedforsecurity=False).hexdigest()[:16]
            (CORPUS / f"found-{name}").write_bytes(stream)
            sys.stderr.write(f"found-{name} (seed {seed}, after {played})\n")
            raise
        played += 1
    sys.stdout.write(f"{played} streams played, seed {seed}: nothing found\n")


if __name__ == "__main__":
    main()
