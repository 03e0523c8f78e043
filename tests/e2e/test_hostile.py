"""Bytes that no sound client sends. Each does no harm: the next upload is served, nothing leaks."""

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Final, Literal

import pytest
from attrs import frozen
from helpers.clients import check_serves, read_all, read_head, request, unique_name
from helpers.daemon import Daemon, poll
from helpers.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    frame,
    frame_header,
    signal_frame,
)

Stage = Literal["accepted", "upgraded", "uploading"]
"""How far the connection has come in order before the hostile bytes: no further than TCP, up to
the upgrade, or up to the first `ready` of an upload of 3,000,000 bytes."""

FIN: Final = 0x80

GROWTH: Final = 64 * 1024 * 1024
"""Bytes of memory that allocators may keep of what all attacks together made us hold for a time."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    timeouts = {"handshake": "700ms", "metadata": "700ms", "idle": "1s", "close": "200ms"}
    with Daemon(tmp_path_factory.mktemp("hostile"), {"timeouts": timeouts}) as host:
        yield host.start()
        assert host.running
        host.check_log()
        poll("closed descriptors", host.at_rest, host.text)
        assert not host.spooled()


@frozen
class Attack:
    stage: Stage
    data: bytes
    leaves: Literal["waits", "stops sending", "resets"] = "waits"


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2) + reason)


def raw(first: int, second: int, *rest: int) -> bytes:
    return bytes([first, second, *rest])


def announced(length: int, *, opcode: int = BINARY) -> bytes:
    return struct.pack("!BBQ", FIN | opcode, FIN | 127, length) + bytes(4)


METADATA: Final = signal_frame(name="hostile.bin", size=3_000_000)

FRAMES: Final = {
    "reserved bit 1": frame(TEXT, b"{}", reserved=0x40),
    "reserved bit 2": frame(BINARY, b"x", reserved=0x20),
    "reserved bit 3": frame(PING, b"", reserved=0x10),
    "reserved opcode 3": frame(0x3, b"x"),
    "reserved opcode 7": frame(0x7, b""),
    "reserved opcode 11": frame(0xB, b""),
    "reserved opcode 15": frame(0xF, b"x"),
    "unmasked text": frame_header(FIN | TEXT, 2, mask=None) + b"{}",
    "unmasked data": frame_header(FIN | BINARY, 5, mask=None) + b"bytes",
    "unmasked close": frame_header(FIN | CLOSE, 0, mask=None),
    "fragmented ping": frame(PING, b"a", final=False),
    "fragmented close": frame(CLOSE, b"", final=False),
    "ping of 126 bytes": frame(PING, bytes(126)),
    "pong of 64 KiB": frame(PONG, bytes(65_536)),
    "close of 126 bytes": frame(CLOSE, b"\x03\xe8" + b"a" * 124),
    "length of 16 bits that fits in 7": raw(FIN | TEXT, FIN | 126, 0, 2) + bytes(4) + b"{}",
    "length of 64 bits that fits in 16": raw(FIN | BINARY, FIN | 127, *bytes(7), 1) + bytes(5),
    "length with the highest bit": announced(2**63),
    "length with all bits": announced(2**64 - 1),
    "data of 2^62 bytes": announced(2**62),
    "text of 2^62 bytes": announced(2**62, opcode=TEXT),
    "ping of 2^62 bytes": announced(2**62, opcode=PING),
    "data of 2 MiB": announced(2 << 20) + bytes(2 << 20),
    "text that is no UTF-8": frame(TEXT, b'{"name": "\xff"}'),
    "text with half a character": frame(TEXT, b"\xe2\x82"),
    "text with an encoded surrogate": frame(TEXT, b'"\xed\xa0\x80"'),
    "close of one byte": frame(CLOSE, b"\x03"),
    "close with code 0": closing(0),
    "close with code 1005": closing(1005),
    "close with code 1006": closing(1006),
    "close with code 1015": closing(1015),
    "close with code 2999": closing(2999),
    "close with code 65535": closing(65535),
    "close with a reason that is no UTF-8": closing(1000, b"\xff\xfe"),
    "continuation without start": frame(CONTINUATION, b"x"),
    "text within a message": frame(TEXT, b"{", final=False) + frame(TEXT, b"}"),
    "data within a text": frame(TEXT, b"{", final=False) + frame(BINARY, b"}"),
    "text in 20,000 empty fragments": frame(TEXT, b"", final=False)
    + frame(CONTINUATION, b"", final=False) * 20_000,
    "text in fragments without end": frame(TEXT, b"a" * 1000, final=False)
    + frame(CONTINUATION, b"a" * 1000, final=False) * 100,
    "data in fragments without end": frame(BINARY, b"a" * 1000, final=False)
    + frame(CONTINUATION, b"a" * 1000, final=False) * 4000,
    "frames after close": closing(1000) + METADATA + frame(BINARY, b"x") * 100,
    "two closes": closing(1000) + closing(1001),
    "HTTP within the WebSocket": request(),
    "zeros": bytes(100_000),
    "ones": b"\xff" * 100_000,
}

SIGNALS: Final = {
    "no JSON": b"upload this",
    "an empty text": b"",
    "a number": b"5",
    "a list": b"[" * 500 + b"]" * 500,
    "brackets without end": b"[" * 30_000,
    "an object 10,000 deep": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "NaN": b'{"name": "x", "size": NaN}',
    "doubled keys": b'{"name": "x", "size": 1, "size": 2}',
    "a number of 20,000 digits": b'{"name": "x", "size": ' + b"9" * 20_000 + b"}",
    "a negative size": b'{"name": "x", "size": -1}',
    "a fractional size": b'{"name": "x", "size": 1.5}',
    "a boolean size": b'{"name": "x", "size": true}',
    "a string size": b'{"name": "x", "size": "1"}',
    "a size of 2^63": b'{"name": "x", "size": 9223372036854775808}',
    "a size of 2^63-1": b'{"name": "x", "size": 9223372036854775807}',
    "no size": b'{"name": "x"}',
    "no name": b'{"size": 1}',
    "a name that is a list": b'{"name": [], "size": 1}',
    "a name of 30,000 characters": b'{"name": "' + b"n" * 30_000 + b'", "size": 1}',
    "a name of surrogates": b'{"name": "\\ud800\\udfff\\udc00", "size": 1}',
    "a name of escapes": b'{"name": "\\u001b[2J\\u0000", "size": 1}',
    "finished before anything": b'{"finished": true}',
    "finished with a hash that is none": b'{"finished": true, "hash": 5}',
    "finished with a hash of 30,000 digits": b'{"finished": true, "hash": {"type": "sha1", '
    b'"value": "' + b"0" * 30_000 + b'"}}',
}  # fmt: skip
"""Texts that are no signals, or signals that do not fit."""

AFTER_A_REFUSAL: Final = frame(TEXT, b"nonsense")
FLOOD: Final = frame_header(FIN | BINARY, 1 << 20) + bytes(1 << 20)

TLS_HELLO: Final = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))

WEBSOCKET_STAGES: Final[tuple[Stage, ...]] = ("upgraded", "uploading")
RESETS: Final[tuple[tuple[Stage, str, bytes], ...]] = (
    ("accepted", "nothing", b""),
    ("accepted", "half a head", request()[:40]),
    ("accepted", "the head", request()),
    ("upgraded", "the upgrade", b""),
    ("upgraded", "the metadata", METADATA),
    ("upgraded", "half a frame", METADATA[:10]),
    ("uploading", "the first ready", b""),
    ("uploading", "half a chunk", frame_header(FIN | BINARY, 200_000) + bytes(9999)),
    ("uploading", "a chunk", frame_header(FIN | BINARY, 200_000) + bytes(200_000)),
    ("uploading", "a close", closing(1000)),
)

ATTACKS: Final = {
    **{
        f"{stage}: {what}": Attack(stage, data)
        for what, data in FRAMES.items()
        for stage in WEBSOCKET_STAGES
    },
    **{
        f"{stage}: {what}": Attack(stage, frame(TEXT, text))
        for what, text in SIGNALS.items()
        for stage in WEBSOCKET_STAGES
    },
    **{
        f"uploading: {what} after a refusal": Attack("uploading", AFTER_A_REFUSAL + data)
        for what, data in {
            "a flood of data": FLOOD * 20,
            "an illegal frame": frame(0x3, b"x"),
            "an endless frame": announced(2**62) + bytes(100_000),
            "a second upload": METADATA,
            "a close with an illegal code": closing(1005),
        }.items()
    },
    **{
        f"accepted: {what}": Attack("accepted", data)
        for what, data in {
            "nothing": b"",
            "a zero": b"\0",
            "garbage": bytes(range(256)) * 64,
            "TLS hello": TLS_HELLO,
            "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
            "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
            "half a head": request()[:60],
            "a header without end": b"GET / HTTP/1.1\r\nX: " + b"a" * 5_000_000,
            "headers without end": b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 500_000,
            "a body of 20 MB": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n"
            + bytes(20_000_000),
            "pipelined requests": b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 1000,
            "a frame before the upgrade": METADATA,
            "hostile frames behind the head": request() + announced(2**62) + bytes(10_000),
        }.items()
    },
    "upgraded: pings and then nothing": Attack("upgraded", frame(PING, b"flood") * 10_000),
    "uploading: pongs that nobody asked for": Attack("uploading", frame(PONG, b"flood") * 10_000),
    "upgraded: half a header": Attack("upgraded", raw(FIN | BINARY, FIN | 127, 0, 0)),
    "uploading: half a frame": Attack("uploading", frame_header(FIN | BINARY, 100) + b"half"),
    "upgraded: data before metadata": Attack("upgraded", frame(BINARY, b"data")),
    "upgraded: 20 MB before metadata": Attack(
        "upgraded", frame_header(FIN | BINARY, 20_000_000) + bytes(20_000_000)
    ),
    "upgraded: 20 MB of signals before metadata": Attack(
        "upgraded", signal_frame(noise="n" * 20_000) * 1000
    ),
    "upgraded: metadata many times": Attack("upgraded", METADATA * 10_000),
    "uploading: 20 MB of signals": Attack("uploading", signal_frame(noise="n" * 20_000) * 1000),
    "uploading: half a chunk, and the end": Attack(
        "uploading", frame_header(FIN | BINARY, 1000) + bytes(500), "stops sending"
    ),
    **{
        f"{stage}: reset after {what}": Attack(stage, data, "resets")
        for stage, what, data in RESETS
    },
}


def advance(connection: socket.socket, stage: Stage) -> None:
    """Bring the connection in order to where the attack begins."""
    if stage == "accepted":
        return
    connection.sendall(request())
    seen = read_head(connection).body
    if stage == "uploading":
        connection.sendall(signal_frame(name=unique_name(), size=3_000_000))
        while b"ready" not in seen:
            more = connection.recv(4096)
            assert more, "closed before the first ready"
            seen += more


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_hostile_bytes_end_one_connection_and_harm_no_other(daemon: Daemon, attack: Attack) -> None:
    with daemon.dial() as connection:
        advance(connection, attack.stage)
        try:
            connection.sendall(attack.data)
            if attack.leaves == "resets":
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            elif attack.leaves == "stops sending":
                connection.shutdown(socket.SHUT_WR)
        except (ConnectionResetError, BrokenPipeError):
            pass  # the daemon need not listen to the end
        if attack.leaves != "resets":
            read_all(connection)  # fails by its time limit where the daemon never closes
    check_serves(daemon)
    assert "hostile.bin" not in daemon.visible()
    poll("closed descriptors", daemon.at_rest, daemon.text)
    assert daemon.memory() < daemon.memory_at_start + GROWTH


@pytest.mark.parametrize("stage", ["accepted", "upgraded", "uploading"])
def test_many_connections_that_vanish_are_forgotten(daemon: Daemon, stage: Stage) -> None:
    for _ in range(50):
        with daemon.dial() as connection:
            advance(connection, stage)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    poll("closed descriptors", daemon.at_rest, daemon.text)
    assert poll("an empty spool", lambda: not daemon.spooled())
    check_serves(daemon)


@pytest.mark.parametrize(
    "flood",
    [frame(PONG), frame(PING), frame(TEXT, b"{}")],
    ids=["pongs", "pings", "unknown signals"],
)
def test_a_flood_of_tiny_frames_does_not_keep_others_from_their_uploads(
    daemon: Daemon, flood: bytes
) -> None:
    done = threading.Event()
    with daemon.dial() as connection:
        advance(connection, "uploading")

        def pour() -> None:
            connection.settimeout(0.1)
            while not done.is_set():
                try:
                    connection.sendall(flood * 10_000)
                except TimeoutError:
                    continue
                except OSError:
                    return

        thread = threading.Thread(target=pour)
        thread.start()
        try:
            check_serves(daemon)
        finally:
            done.set()
            thread.join()
