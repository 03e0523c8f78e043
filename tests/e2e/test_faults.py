"""Every way in which an upload is refused: one fault, an orderly end, and no harm to the next."""

import json
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from helpers.clients import (
    JavaScriptClient,
    check_serves,
    expect_fault,
    expect_ready,
    hear,
    open_websocket,
    say,
    unique_name,
)
from helpers.daemon import Daemon, Settings, poll
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

Script = Callable[[ClientConnection], None]

LIMIT: Final = 10_000_000


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    settings: Settings = {
        "limits": {"max_file_size": LIMIT},
        "timeouts": {"metadata": "1s", "idle": "1s", "close": "300ms"},
        "storage": {"on_conflict": "reject"},
    }
    with Daemon(tmp_path_factory.mktemp("faults"), settings) as host:
        yield host.start()


def text(message: str) -> Script:
    return lambda websocket: websocket.send(message)


def metadata(**signal: object) -> Script:
    return lambda websocket: say(websocket, **signal)


def silence(_: ClientConnection) -> None:
    pass


def after(ready: Script, size: int = 5_000_000) -> Script:
    """First open an upload and wait for a `ready`."""

    def script(websocket: ClientConnection) -> None:
        say(websocket, name=unique_name(), size=size)
        expect_ready(websocket)
        ready(websocket)

    return script


def chunk(length: int) -> Script:
    return lambda websocket: websocket.send(bytes(length))


def a_byte_above_the_credit(websocket: ClientConnection) -> None:
    say(websocket, name=unique_name(), size=5_000_000)
    websocket.send(bytes(expect_ready(websocket) + 1))


def empty_chunks(websocket: ClientConnection) -> None:
    try:
        for _ in range(200):
            websocket.send(b"")
    except ConnectionClosed:
        pass  # the fault is what counts


def only_pings(websocket: ClientConnection) -> None:
    websocket.ping().wait(10)


def finished_with(claim: object) -> Script:
    def script(websocket: ClientConnection) -> None:
        websocket.send(b"x")
        expect_ready(websocket)
        say(websocket, finished=True, hash=claim)

    return script


FAULTS: Final[dict[str, tuple[Script, str, dict[str, object]]]] = {
    "no JSON": (text("hello"), "bad_message", {}),
    "empty text": (text(""), "bad_message", {}),
    "a list": (text("[1]"), "bad_message", {}),
    "a number": (text("1e999"), "bad_message", {}),
    "NaN": (text('{"name": "a", "size": NaN}'), "bad_message", {}),
    "a number of 5000 digits": (text('{"name":"a","size":%s}' % ("9" * 5000)), "bad_message", {}),
    "deep nesting": (text("[" * 30_000), "bad_message", {}),
    "a doubled key": (text('{"name": "a", "size": 1, "size": 2}'), "bad_message", {}),
    "a signal of 40 KB": (text(json.dumps({"name": "x" * 40_000, "size": 1})), "bad_message", {}),
    "data first": (chunk(10), "bad_message", {}),
    "an empty chunk first": (chunk(0), "bad_message", {}),
    "finished first": (text('{"finished": true}'), "bad_message", {}),
    "metadata twice": (after(metadata(name="b", size=1)), "bad_message", {}),
    "text that is no JSON as a chunk": (after(text("data")), "bad_message", {}),
    "a hash that is a text": (after(finished_with("abc"), 1), "bad_message", {}),
    "a hash without value": (after(finished_with({"type": "sha1"}), 1), "bad_message", {}),
    "an unknown hash": (
        after(finished_with({"type": "crc32", "value": "0"}), 1), "unsupported_hash", {},
    ),
    "a wrong hash": (
        after(finished_with({"type": "sha1", "value": "0"}), 1),
        "hash_mismatch",
        {"expected": "0", "received": "11f6ad8ec52a2984abaafd7c3b516503785c2072"},
    ),
    "no size": (metadata(name="a"), "bad_metadata", {"key": "size"}),
    "no name": (metadata(size=1), "bad_metadata", {"key": "name"}),
    "a name that is a number": (metadata(name=1, size=1), "bad_metadata", {"key": "name"}),
    "a name that is null": (metadata(name=None, size=1), "bad_metadata", {"key": "name"}),
    "a negative size": (metadata(name="a", size=-1), "bad_metadata", {"key": "size"}),
    "a broken size": (metadata(name="a", size=1.5), "bad_metadata", {"key": "size"}),
    "a size that is a text": (metadata(name="a", size="1"), "bad_metadata", {"key": "size"}),
    "a size that is true": (metadata(name="a", size=True), "bad_metadata", {"key": "size"}),
    "a size beyond 63 bits": (metadata(name="a", size=2**63), "bad_metadata", {"key": "size"}),
    "an empty name": (metadata(name="", size=1), "bad_name", {}),
    "a name of dots": (metadata(name="../..", size=1), "bad_name", {}),
    "one byte above the limit": (
        metadata(name="a", size=LIMIT + 1), "too_large", {"limit": LIMIT, "size": LIMIT + 1},
    ),
    "the largest size": (metadata(name="a", size=2**63 - 1), "too_large", {"limit": LIMIT}),
    "a chunk above its credit": (a_byte_above_the_credit, "bad_chunk", {}),
    "empty chunks without end": (after(empty_chunks), "bad_chunk", {}),
    "more than the file": (after(chunk(11), 10), "size_mismatch", {"expected": 10, "received": 11}),
    "finished too early": (
        after(metadata(finished=True)), "size_mismatch", {"expected": 5_000_000, "received": 0},
    ),
    "no metadata in time": (silence, "idle", {}),
    "only pings instead of metadata": (only_pings, "idle", {}),
    "unknown signals instead of metadata": (metadata(hello="world"), "idle", {}),
    "no chunk in time": (after(silence), "idle", {}),
}  # fmt: skip


@pytest.mark.parametrize(("script", "code", "details"), FAULTS.values(), ids=FAULTS)
def test_the_fault_says_what_is_wrong_and_the_next_upload_is_served(
    daemon: Daemon, script: Script, code: str, details: dict[str, object]
) -> None:
    before = set(daemon.visible())
    with open_websocket(daemon.url) as websocket:
        script(websocket)
        fault = expect_fault(websocket, code)
    assert details.items() <= fault.items()
    assert set(daemon.visible()) == before
    assert poll("an empty spool", lambda: not daemon.spooled())
    check_serves(daemon)


def test_a_conflict_is_told_before_any_data_is_sent(daemon: Daemon) -> None:
    client = JavaScriptClient(daemon.url, b"first")
    assert client.run().ending == "stored"
    with open_websocket(daemon.url) as websocket:
        say(websocket, name=client.name, size=1000)
        expect_fault(websocket, "conflict")
    assert (daemon.directory / client.name).read_bytes() == b"first"
    check_serves(daemon)


@pytest.mark.parametrize(
    ("name", "code"), [("", 1008), ("stored", 1000)], ids=["after a fault", "after close"]
)
def test_a_client_that_does_not_close_is_closed(daemon: Daemon, name: str, code: int) -> None:
    with open_websocket(daemon.url) as websocket:
        say(websocket, name=name and unique_name(), size=0)
        if not name:
            assert hear(websocket)["code"] == "bad_name"
        else:
            expect_ready(websocket)
            say(websocket, finished=True)
            assert hear(websocket) == {"close": True}
        with pytest.raises(ConnectionClosed):
            hear(websocket)
        assert websocket.close_code == code


def test_a_slow_peer_is_not_idle_while_bytes_come(daemon: Daemon) -> None:
    # Each answer resets the clock of timeouts.idle; only silence is counted.
    with open_websocket(daemon.url) as websocket:
        name = unique_name()
        say(websocket, name=name, size=4)
        expect_ready(websocket)
        websocket.send([b"ab", b"", b"cd"])
        expect_ready(websocket)
        say(websocket, finished=True)
        assert hear(websocket) == {"close": True}
    assert (daemon.directory / name).read_bytes() == b"abcd"
