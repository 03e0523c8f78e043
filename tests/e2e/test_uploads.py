"""Whole uploads by clients that behave as the original programs do."""

import hashlib
import random
import shutil
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from helpers.clients import (
    CLIENTS,
    SERVER_CHUNK,
    Client,
    HashClaim,
    JavaScriptClient,
    check_grants,
    check_serves,
    expect_ready,
    hear,
    open_websocket,
    read_head,
    request,
    say,
    some_bytes,
    unique_name,
)
from helpers.daemon import Daemon, Daemons, poll
from helpers.frames import BINARY, frame, signal_frame
from websockets.exceptions import ConnectionClosed

MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB

SIZES: Final = (0, 1, 249_999, 250_000, 250_001, 3 * SERVER_CHUNK, 3_000_000)


@pytest.fixture(scope="module", params=[1, 16], ids=lambda count: f"in_flight-{count}")
def in_flight(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def bounded(in_flight: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that has `in_flight` ready signals out at the most."""
    settings = {"chunks": {"max_in_flight": in_flight}}
    with Daemon(tmp_path_factory.mktemp("bounded"), settings) as daemon:
        yield daemon.start()


def same_content(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while block := left.read(MIB):
            if block != right.read(MIB):
                return False
        return not right.read(1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", CLIENTS)
def test_every_client_finds_its_file_stored(
    bounded: Daemon, in_flight: int, kind: type[Client], size: int
) -> None:
    data = some_bytes(size)
    client = kind(bounded.url, data)
    outcome = client.run()
    assert outcome.ending == "stored", outcome
    assert (bounded.directory / client.name).read_bytes() == data
    check_grants(outcome.trace, size, in_flight)


@pytest.mark.parametrize("size", [0, 3_000_000])
@pytest.mark.parametrize("kind", CLIENTS)
def test_the_log_tells_all_of_a_stored_file(
    bounded: Daemon, in_flight: int, kind: type[Client], size: int
) -> None:
    data = some_bytes(size)
    client = kind(bounded.url, data)
    outcome = client.run()
    chunks = [length for step, length in outcome.trace if step == "chunk" and length]
    line = bounded.wait_for("upload.stored", peer=outcome.peer, name=client.name)
    expected = {
        "level": "info",
        "size": size,
        "user": "127.0.0.1",
        "path": str(bounded.directory / client.name),
        "sha1": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        "hash_verified": False,
        "chunks": len(chunks),
        "chunk_min": min(chunks, default=0),
        "chunk_max": max(chunks, default=0),
    }
    assert expected.items() <= line.items()
    assert line["seconds"] >= 0
    assert line["bytes_per_second"] >= 0
    assert bool(size) <= line["in_flight_max"] <= in_flight
    started = bounded.wait_for("upload.started", upload=line["upload"])
    opened = bounded.wait_for("connection.opened", connection=line["connection"])
    closed = bounded.wait_for("connection.closed", connection=line["connection"])
    assert {line["peer"] for line in (started, opened, closed)} == {outcome.peer}
    assert closed["seconds"] >= line["seconds"]
    assert closed["reason"]


def test_every_grant_leaves_room_for_the_bytes_still_to_come(
    daemon: Daemons, in_flight: int
) -> None:
    # A client that stops answering is sent all that may be out, and then given up: what stands on
    # the wire by then is the whole grant, whatever the clock did.
    chunk, size = 64 * 1024, 40 * 64 * 1024 + 1000
    host = daemon(
        {
            "chunks": {"max_in_flight": in_flight, "min": chunk, "max": chunk},
            "timeouts": {"idle": "1s"},
        }
    )

    def outstanding(answered: int) -> list[int]:
        with open_websocket(host.url) as websocket:
            say(websocket, name=unique_name(), size=size)
            granted: list[int] = []
            for _ in range(answered):
                granted.append(expect_ready(websocket))
                websocket.send(bytes(granted[-1]))
            while "error" not in (signal := hear(websocket)):
                granted.append(signal["chunksize"])
            assert signal["code"] == "idle"
        assert set(granted[:40]) == {chunk} or len(granted) < 40
        return granted[answered:]

    stops = (0, 1, 20, 30, 38, 39, 40)
    with ThreadPoolExecutor(len(stops)) as threads:
        for answered, credits_out in zip(stops, threads.map(outstanding, stops), strict=True):
            left = size - answered * chunk
            possible = min(in_flight, -(-left // chunk))
            assert sum(credits_out) <= left
            # Of a client that has shown nothing all is asked that may be out; of the others what
            # their pace calls for, which is never less than two chunks.
            assert len(credits_out) <= possible
            assert len(credits_out) >= (min(2, possible) if answered else possible)


def test_a_file_of_a_gibibyte_arrives_whole(daemon: Daemons, tmp_path: Path) -> None:
    shared = Path("/dev/shm")  # noqa: S108
    roomy = shared.is_dir() and shutil.disk_usage(shared).free > 4 * GIB
    with tempfile.TemporaryDirectory(dir=shared if roomy else tmp_path) as folder:
        source = Path(folder, "source")
        block = bytearray(some_bytes(MIB))
        digest = hashlib.sha1(usedforsecurity=False)
        with source.open("wb") as file:
            for number in range(GIB // MIB):
                block[:8] = number.to_bytes(8)  # no two blocks are the same
                digest.update(block)
                file.write(block)
        host = daemon({"storage": {"directory": f"{folder}/files", "durability": "none"}})
        claim = HashClaim("sha1", digest.hexdigest())
        client = JavaScriptClient(host.url, source, "large.bin", claim=claim)
        outcome = client.run()
        assert outcome.ending == "stored", outcome
        line = host.wait_for("upload.stored", name="large.bin")
        assert line["hash_verified"] is True
        assert line["sha1"] == claim.value
        assert same_content(host.directory / "large.bin", source)
        check_grants(outcome.trace, GIB, 16)
        host.kill()


def test_a_hundred_uploads_at_once_are_all_stored(plain: Daemon) -> None:
    sizes = random.Random(100)
    clients = [
        (CLIENTS[number % len(CLIENTS)], some_bytes(sizes.randrange(600_000), number))
        for number in range(100)
    ]

    def upload(job: tuple[type[Client], bytes]) -> str:
        kind, data = job
        client = kind(plain.url, data)
        outcome = client.run()
        assert outcome.ending == "stored", outcome
        return client.name

    with ThreadPoolExecutor(len(clients)) as threads:
        names = list(threads.map(upload, clients))
    for name, (_, data) in zip(names, clients, strict=True):
        assert (plain.directory / name).read_bytes() == data
    assert poll("an empty spool", lambda: not plain.spooled())


def test_files_and_state_have_the_modes_that_are_promised(plain: Daemon) -> None:
    client = JavaScriptClient(plain.url, b"content")
    assert client.run().ending == "stored"
    assert stat.S_IMODE((plain.directory / client.name).stat().st_mode) == 0o640
    assert stat.S_IMODE((plain.directory / ".galileod").stat().st_mode) == 0o700


def test_nothing_unfinished_is_visible(plain: Daemon) -> None:
    name = unique_name()
    with open_websocket(plain.url) as websocket:
        say(websocket, name=name, size=5)
        expect_ready(websocket)
        websocket.send(b"whole")
        expect_ready(websocket)
        assert not [shown for shown in plain.visible() if name in shown]
        say(websocket, finished=True)
        assert hear(websocket) == {"close": True}
        assert (plain.directory / name).read_bytes() == b"whole"


def test_an_upload_that_breaks_off_leaves_nothing(plain: Daemon) -> None:
    name = unique_name()
    with open_websocket(plain.url) as websocket:
        say(websocket, name=name, size=3_000_000)
        websocket.send(bytes(expect_ready(websocket)))
    assert plain.wait_for("upload.failed", name=name)["code"] == "disconnected"
    assert poll("an empty spool", lambda: not plain.spooled())
    assert name not in plain.visible()


@pytest.mark.parametrize("whole_chunks", [0, 1])
def test_an_upload_whose_connection_is_lost_in_the_middle_of_a_chunk_leaves_nothing(
    daemon: Daemons, whole_chunks: int
) -> None:
    chunk = 6 * MIB
    host = daemon({"chunks": {"min": chunk, "max": chunk}})
    stored, name = whole_chunks * chunk, unique_name()
    with host.dial() as sock:
        sock.sendall(request() + signal_frame(name=name, size=4 * chunk))
        heard = read_head(sock).body
        while heard.count(b"chunksize") <= whole_chunks:
            heard += sock.recv(4096)
        for _ in range(whole_chunks):
            sock.sendall(frame(BINARY, bytes(chunk)))
        sock.sendall(frame(BINARY, some_bytes(chunk))[: 4 * MIB])

        def parts_are_stored() -> bool:
            spool = host.directory / ".galileod" / "spool"
            return any(path.stat().st_size >= stored + 2 * MIB for path in spool.iterdir())

        poll("a part of the chunk in the spool", parts_are_stored, host.text)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line = host.wait_for("upload.failed", name=name)
    assert (line["code"], line["received"]) == ("disconnected", stored)
    assert poll("an empty spool", lambda: not host.spooled())
    assert not host.visible()
    check_serves(host)


def test_a_second_finished_does_no_harm(plain: Daemon) -> None:
    name = unique_name()
    with open_websocket(plain.url) as websocket:
        say(websocket, name=name, size=5, directory="/etc", mode=0o777)
        expect_ready(websocket)
        websocket.send(b"bytes")
        expect_ready(websocket)
        say(websocket, finished=1, unknown="key")
        say(websocket, finished=True)
        assert hear(websocket) == {"close": True}
        say(websocket, finished=True)
        websocket.close()
        with pytest.raises(ConnectionClosed):
            hear(websocket)
        assert websocket.close_code == 1000
    assert (plain.directory / name).read_bytes() == b"bytes"
