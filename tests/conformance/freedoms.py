"""What docs/protocol.md leaves to a peer: the messages of a reference peer, said in other ways.

A box stands between the kit and the peer. It passes on what the kit sends, and changes what the
peer sends in a way that a correct peer may choose.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs
import trio
import trio.testing
from conformance.in_process import Connect, ReferenceServer, Send, Stream
from websockets.frames import Opcode

from galileod.conformance.frames import Decoder, Frame, encode

Part = tuple[int, bytes, bool]
"""A frame: opcode, payload, FIN."""

MASK: Final = b"\x01\x02\x03\x04"
CLOSING: Final = 1.0
"""Seconds that the connections of a client have for their end."""


@attrs.define
class Speech:
    """One connection's messages of a peer, as far as a freedom needs to know them."""

    heard: bool = False
    """Whether a signal with `ready`, `close` or `error` was sent."""
    over: bool = False
    """Whether `close` or a fatal error was sent."""


Freedom = Callable[[Speech, Frame, dict[str, Any] | None], Iterator[Part]]
"""Gets a frame of the peer and its signal; yields the frames to send instead."""


def plain(frame: Frame) -> Part:
    return frame.opcode, frame.payload, frame.fin


def text(signal: Mapping[str, Any]) -> Part:
    return Opcode.TEXT, json.dumps(signal).encode(), True


def unchanged(_speech: Speech, frame: Frame, _signal: dict[str, Any] | None) -> Iterator[Part]:
    yield plain(frame)


def with_pings(_speech: Speech, frame: Frame, _signal: dict[str, Any] | None) -> Iterator[Part]:
    """Pings with and without a payload, and a Pong that nobody asked for."""
    if frame.opcode != Opcode.CLOSE:
        yield Opcode.PING, b"", True
        yield Opcode.PONG, b"unasked", True
        yield Opcode.PING, b"x" * 125, True
    yield plain(frame)


def in_fragments(_speech: Speech, frame: Frame, _signal: dict[str, Any] | None) -> Iterator[Part]:
    """Small fragments, empty ones, and a Ping between them."""
    if frame.opcode not in {Opcode.TEXT, Opcode.BINARY}:
        yield plain(frame)
        return
    step = max(3, len(frame.payload) // 20)
    yield frame.opcode, b"", False
    for at in range(0, len(frame.payload), step):
        yield Opcode.CONT, frame.payload[at : at + step], False
        if not at:
            yield Opcode.PING, b"between", True
    yield Opcode.CONT, b"", True


def with_more_keys(_speech: Speech, frame: Frame, signal: dict[str, Any] | None) -> Iterator[Part]:
    """Keys that nobody knows, and the falsy forms of those that are known."""
    if signal is None:
        yield plain(frame)
    else:
        yield text({"x-more": {"ready": True}, "": None, "Error": True, "é": [1e300], **signal})


def with_falsy_keys(_speech: Speech, frame: Frame, signal: dict[str, Any] | None) -> Iterator[Part]:
    """`error`, `ready` and `close` are absent where their value is not truthy."""
    if signal is None or not any(signal.get(key) for key in ("error", "ready", "close")):
        yield plain(frame)
    else:
        yield text({"error": "", "ready": 0, "close": None, "fatal": False, **signal})


def with_ones(_speech: Speech, frame: Frame, signal: dict[str, Any] | None) -> Iterator[Part]:
    """1 for true."""
    if signal is None:
        yield plain(frame)
    else:
        flags = ("ready", "close", "fatal", "finished")
        yield text({k: 1 if k in flags and v is True else v for k, v in signal.items()})


def with_warnings(speech: Speech, frame: Frame, signal: dict[str, Any] | None) -> Iterator[Part]:
    """Errors that are not fatal, once the first signal has told what is agreed."""
    if signal is not None and speech.heard and not speech.over:
        yield text({"error": "The disk is nearly full.", "code": "no_space"})
        yield text({"error": "Again.", "code": "no_space", "fatal": False, "close": False})
    yield plain(frame)


def with_warning_first(
    speech: Speech, frame: Frame, signal: dict[str, Any] | None
) -> Iterator[Part]:
    """The first signal is a warning: it is the one that states what is agreed."""
    if signal is None or speech.heard or signal.get("error"):
        yield plain(frame)
        return
    stated: dict[str, Any] = {
        key: signal.pop(key) for key in ("can", "next", "whole", "room") if key in signal
    }
    yield text({"error": "Slow today.", "code": "busy", **stated})
    yield text(signal)


def with_unknown(speech: Speech, frame: Frame, signal: dict[str, Any] | None) -> Iterator[Part]:
    """Signals that nobody knows, at every time at which the metadata have surely come."""
    if signal is not None and not speech.over and (speech.heard or not signal.get("error")):
        yield text({"progress": 0.5, "file-id": "x"})
        yield text({})
    yield plain(frame)


SERVER: Final[Mapping[str, Freedom]] = {
    "pings": with_pings,
    "fragments": in_fragments,
    "more keys": with_more_keys,
    "falsy keys": with_falsy_keys,
    "ones": with_ones,
    "warnings": with_warnings,
    "a warning first": with_warning_first,
    "unknown signals": with_unknown,
}
CLIENT: Final[Mapping[str, Freedom]] = {
    "pings": with_pings,
    "fragments": in_fragments,
    "more keys": with_more_keys,
    "ones": with_ones,
}


@attrs.frozen
class Box:
    """Where the box stands, and what it changes."""

    freedom: Freedom = unchanged
    delay: float = 0.0
    """Seconds before each frame of the peer is passed on."""
    byte_by_byte: bool = False
    """Whether each byte of a short frame is a segment of its own."""

    async def run(self, peer: Stream, kit: Stream, *, masked: bool) -> None:
        """Pass on both directions to their ends; `masked`: the peer is a client."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pass, kit, peer)
            nursery.start_soon(self._change, peer, kit, masked)

    async def _pass(self, source: Stream, sink: Stream) -> None:
        try:
            while data := bytes(await source.receive_some(65_536)):
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the other side has ended the connection
        await _end(sink)

    async def _change(self, source: Stream, sink: Stream, masked: bool) -> None:
        speech, decoder, head = Speech(), Decoder(masked=masked), b""
        try:
            while b"\r\n\r\n" not in head:
                data = bytes(await source.receive_some(65_536))
                if not data:
                    break
                head += data
            head, end, rest = head.partition(b"\r\n\r\n")
            await sink.send_all(head + end)
            data = rest or bytes(await source.receive_some(65_536))
            while data:
                for frame, _event in decoder.feed(data):
                    assert frame is not None
                    await self._say(speech, frame, sink, masked=masked)
                data = bytes(await source.receive_some(65_536))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the other side has ended the connection
        await _end(sink)

    async def _say(self, speech: Speech, frame: Frame, sink: Stream, *, masked: bool) -> None:
        signal = None
        if frame.opcode == Opcode.TEXT and frame.fin:
            try:
                value = json.loads(frame.payload)
            except (ValueError, RecursionError):
                value = None
            signal = value if isinstance(value, dict) else None
        await trio.sleep(self.delay)
        for opcode, payload, fin in self.freedom(speech, frame, signal):
            data = encode(opcode, payload, fin=fin, rsv=0, mask=MASK if masked else None)
            step = 1 if self.byte_by_byte and len(data) < 400 else len(data)
            for at in range(0, len(data), step):
                await sink.send_all(data[at : at + step])
        if signal is not None:
            speech.heard = speech.heard or any(map(signal.get, ("error", "ready", "close")))
            fatal = signal.get("error") and signal.get("fatal")
            speech.over = speech.over or bool(fatal or signal.get("close"))


async def _end(stream: Stream) -> None:
    assert isinstance(stream, trio.abc.HalfCloseableStream)
    try:
        await stream.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # it has ended already


class FreeServer(ReferenceServer):
    """A reference server behind a box."""

    def __init__(self, server: ReferenceServer, box: Box) -> None:
        super().__init__()
        self.server, self.box, self.files = server, box, server.files

    async def serve(self, stream: Stream) -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery, ours:

            async def run() -> None:
                async with theirs:
                    await self.server.serve(theirs)

            nursery.start_soon(run)
            await self.box.run(ours, stream, masked=False)

    async def restart(self) -> None:
        await self.server.restart()

    async def kill(self) -> None:
        await self.server.kill()


def free_client(send: Send, box: Box) -> Send:
    """A reference client behind a box."""

    async def sending(connect: Connect, content: bytes, name: str) -> bool:
        async with trio.open_nursery() as nursery:

            async def connect_to_box() -> Stream:
                kit = await connect()
                ours, theirs = trio.testing.memory_stream_pair()

                async def run() -> None:
                    async with kit, ours:
                        await box.run(ours, kit, masked=True)

                nursery.start_soon(run)
                return theirs

            success = await send(connect_to_box, content, name)
            nursery.cancel_scope.deadline = trio.current_time() + CLOSING
        return success

    return sending
