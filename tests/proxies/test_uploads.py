"""Uploads through nginx and Caddy, configured by the files in docs/."""

import contextlib
import hashlib
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from helpers.clients import (
    HashClaim,
    expect_fault,
    expect_ready,
    hear,
    open_websocket,
    say,
    some_bytes,
    unique_name,
)
from helpers.daemon import Daemons, Settings, poll, write_config
from helpers.sending import run_process
from proxies.conftest import TRUSTED, OpenFront
from proxies.fronts import Caddy, Front, Nginx
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

MIB: Final = 1024 * 1024

ELSEWHERE: Final = "127.0.0.2"
"""A client that is not the proxy."""


@contextmanager
def websocket_through(
    front: Front, *, headers: dict[str, str] | None = None, source: str = ELSEWHERE
) -> Iterator[ClientConnection]:
    try:
        with open_websocket(
            front.url,
            sock=front.dial(source),
            ssl=front.tls,
            additional_headers=headers,
        ) as websocket:
            yield websocket
    except TimeoutError as error:
        error.add_note(front.stderr.read_text()[-4000:])  # what the proxy says about it
        raise


def store(websocket: ClientConnection, data: bytes, name: str) -> None:
    """Send a file that fits into the first chunk, and hear that it is stored."""
    say(websocket, name=name, size=len(data))
    assert expect_ready(websocket) >= len(data)
    websocket.send(data)
    expect_ready(websocket)
    say(websocket, finished=True)
    assert hear(websocket)["close"]


def hear_out(websocket: ClientConnection) -> None:
    """Listen until the connection ends, which is raised."""
    while True:
        hear(websocket)


def test_a_file_is_stored_and_verified(daemon: Daemons, front: OpenFront, tmp_path: Path) -> None:
    host = daemon(TRUSTED)
    proxy = front(host)
    path = tmp_path / "large.bin"
    path.write_bytes(some_bytes(20_000_000))
    ended = run_process("--ca", proxy.certificate.authority, proxy.url, path)
    assert (ended.returncode, ended.stderr) == (0, b"")
    stored = host.wait_for("upload.stored", name=path.name)
    assert stored["hash_verified"]
    assert stored["sha1"] == hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
    assert host.visible()[path.name].read_bytes() == path.read_bytes()


def test_many_files_are_stored_at_once(daemon: Daemons, front: OpenFront, tmp_path: Path) -> None:
    host = daemon(TRUSTED)
    proxy = front(host)
    paths = [tmp_path / f"{number}.bin" for number in range(64)]
    for number, path in enumerate(paths):
        path.write_bytes(some_bytes(100_000, seed=number))
    ended = run_process("--parallel", "64", "--ca", proxy.certificate.authority, proxy.url, *paths)
    assert ended.returncode == 0, ended.stderr
    assert {name: path.read_bytes() for name, path in host.visible().items()} == {
        path.name: path.read_bytes() for path in paths
    }


FORGED: Final[list[dict[str, str]]] = [
    {},
    {"X-Forwarded-For": "192.0.2.7"},
    {"X-Forwarded-For": "192.0.2.7, 127.0.0.1"},
    {"x-forwarded-for": "not an address"},
    {"Forwarded": "for=192.0.2.7", "X-Real-IP": "192.0.2.7"},
    {"Forwarded": "for=192.0.2.7;proto=http;host=evil.example"},
    {"X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example"},
]


# 127.0.0.1 is the proxy's own address, beyond which galileod would read on.
@pytest.mark.parametrize("source", [ELSEWHERE, "127.0.0.1"])
def test_the_user_is_the_address_that_the_proxy_sees(
    daemon: Daemons, front: OpenFront, source: str
) -> None:
    host = daemon(TRUSTED)
    proxy = front(host)
    for forged in FORGED:
        name = unique_name()
        with websocket_through(proxy, headers=forged, source=source) as websocket:
            store(websocket, b"content", name)
        assert host.wait_for("upload.stored", name=name)["user"] == source, forged


def test_the_page_behind_the_proxy_is_our_own(daemon: Daemons, front: OpenFront) -> None:
    host = daemon(TRUSTED)
    proxy = front(host)
    with websocket_through(proxy, headers={"Origin": proxy.origin}) as websocket:
        store(websocket, b"content", unique_name())
    plain = proxy.origin.replace("https:", "http:")
    forged = {"X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example"}
    for headers in (
        {"Origin": plain},
        {"Origin": plain, **forged},
        {"Origin": "http://evil.example", **forged},
        {"Origin": "https://localhost"},
        {"Origin": "https://localhost", "X-Forwarded-Port": "443"},
    ):
        with (
            pytest.raises(InvalidStatus) as refused,
            websocket_through(proxy, headers=headers),
        ):
            pass
        assert refused.value.response.status_code == 403, headers


def test_only_pages_of_origins_that_are_named_may_upload(daemon: Daemons, front: OpenFront) -> None:
    friend = "https://uploads.example.org"
    server = {**TRUSTED["server"], "allowed_origins": [friend]}
    host = daemon({"server": server})
    proxy = front(host)
    with websocket_through(proxy, headers={"Origin": friend}) as websocket:
        store(websocket, b"content", unique_name())
    with (
        pytest.raises(InvalidStatus) as refused,
        websocket_through(proxy, headers={"Origin": "https://evil.example"}),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_a_client_that_falls_silent_hears_so_from_galileod(
    daemon: Daemons, front: OpenFront
) -> None:
    host = daemon({**TRUSTED, "timeouts": {"idle": "200ms"}})
    with websocket_through(front(host)) as websocket:
        say(websocket, name=unique_name(), size=1000)
        expect_fault(websocket, "idle")


def test_a_client_in_mid_upload_hears_that_galileod_stops(
    daemon: Daemons, front: OpenFront
) -> None:
    host = daemon({"server": {**TRUSTED["server"], "drain_timeout": 0}})
    with websocket_through(front(host)) as websocket:
        say(websocket, name=unique_name(), size=32 * MIB)
        websocket.send(bytes(expect_ready(websocket)))
        host.send_signal(signal.SIGTERM)
        while (signal_heard := hear(websocket)).get("ready"):
            pass
        assert signal_heard["code"] == "shutting_down"
    assert host.wait() == 0


def test_a_client_in_mid_chunk_hears_that_it_broke_the_rules(
    daemon: Daemons, front: OpenFront
) -> None:
    host = daemon(TRUSTED)
    with websocket_through(front(host)) as websocket:
        say(websocket, name=unique_name(), size=64 * MIB)
        websocket.send(bytes(expect_ready(websocket) + 32 * MIB))
        expect_fault(websocket, "bad_chunk")


def test_a_client_in_mid_chunk_hears_that_galileod_stops(daemon: Daemons, front: OpenFront) -> None:
    chunks = {"min": "32MiB", "max": "32MiB", "max_in_flight": 1}
    host = daemon({"server": {**TRUSTED["server"], "drain_timeout": 0}, "chunks": chunks})
    with websocket_through(front(host)) as websocket:
        say(websocket, name=unique_name(), size=64 * MIB)

        def pieces() -> Iterator[bytes]:
            for number in range(expect_ready(websocket) // MIB):
                if number == 1:
                    host.send_signal(signal.SIGTERM)
                    host.wait_for("upload.failed", code="shutting_down")
                yield bytes(MIB)

        with contextlib.suppress(ConnectionClosed):
            websocket.send(pieces())  # what came before the end is still to be heard
        expect_fault(websocket, "shutting_down")
    assert host.wait() == 0


def test_a_galileod_that_was_restarted_is_found_again(daemon: Daemons, front: OpenFront) -> None:
    host = daemon(TRUSTED)
    proxy = front(host)
    name = "{}:{}".format(*host.address)
    with websocket_through(proxy) as websocket:
        store(websocket, b"content", unique_name())
    assert host.stop() == 0
    with pytest.raises(InvalidStatus) as refused, websocket_through(proxy):
        pass
    assert refused.value.response.status_code == 502
    settings: Settings = {
        "server": {**TRUSTED["server"], "listen": [name]},
        "storage": {"directory": str(host.directory), "min_free": 0},
        "log": {"format": "json"},
    }
    write_config(host.config, settings)
    host.start()
    with websocket_through(proxy) as websocket:
        store(websocket, b"content", unique_name())


def test_over_a_unix_socket_all_clients_are_one_user(
    daemon: Daemons, kind: type[Front], front: OpenFront, run_folder: Path
) -> None:
    path = run_folder / "galileod.sock"
    host = daemon({"server": {"listen": [f"unix:{path}"]}})
    name = unique_name()
    with websocket_through(front(kind.unix_upstream(path))) as websocket:
        store(websocket, b"content", name)
    assert host.wait_for("upload.stored", name=name)["user"] == "unix"


STALLED: Final = 200
"""Looks, `helpers.daemon.POLL` apart, that find nothing new: nothing moves."""


def test_the_proxy_holds_little_of_an_upload_that_galileod_does_not_take(
    daemon: Daemons, front: OpenFront
) -> None:
    size, name = 200 * MIB, unique_name()
    chunks = {"min": "256MiB", "max": "256MiB", "memory": "1GiB"}
    host = daemon({**TRUSTED, "chunks": chunks})
    proxy = front(host)
    with websocket_through(proxy) as websocket:
        say(websocket, name=name, size=size)
        assert expect_ready(websocket) == size
        before = proxy.peak_memory()
        sent = 0

        def pieces() -> Iterator[bytes]:
            nonlocal sent
            for _ in range(size // MIB):
                yield bytes(MIB)
                sent += MIB

        sending = threading.Thread(target=lambda: websocket.send(pieces()))
        # A disk that takes nothing ends in a galileod that reads nothing.
        host.send_signal(signal.SIGSTOP)
        try:
            sending.start()
            looks = deque[int](maxlen=STALLED)

            def stalled() -> bool:
                looks.append(sent)
                return len(looks) == STALLED and looks[0] == sent

            poll("the client to be held up", stalled)
            # What the kernel holds for four sockets is in this, too.
            assert sent <= 64 * MIB
            assert proxy.bytes_on_disk() < MIB
        finally:
            host.send_signal(signal.SIGCONT)
        sending.join()
        expect_ready(websocket)
        say(websocket, finished=True)
        assert hear(websocket)["close"]
    assert host.visible()[name].stat().st_size == size
    assert proxy.peak_memory() - before < 32 * MIB


@pytest.mark.parametrize("kind", [Nginx], indirect=True)
def test_nginx_lets_an_upload_end_when_it_is_reloaded(daemon: Daemons, front: OpenFront) -> None:
    host = daemon(TRUSTED)
    proxy = front(host)
    data = some_bytes(1_000_000)
    with websocket_through(proxy) as websocket:
        say(websocket, name="running.bin", size=len(data))
        first = expect_ready(websocket)
        websocket.send(data[:first])
        proxy.reload()
        with websocket_through(proxy) as other:
            store(other, b"content", "new.bin")
        websocket.send(data[first:])
        while hear(websocket).get("chunksize"):
            pass
        sha1 = HashClaim.of(data, "sha1").value
        say(websocket, finished=True, hash={"type": "sha1", "value": sha1})
        assert hear(websocket)["close"]
    assert host.visible().keys() == {"running.bin", "new.bin"}


@pytest.mark.parametrize("kind", [Caddy], indirect=True)
def test_caddy_cuts_an_upload_off_when_it_is_reloaded(daemon: Daemons, front: OpenFront) -> None:
    """So its file says, and how a newer Caddy is kept from it."""
    host = daemon(TRUSTED)
    proxy = front(host)
    with websocket_through(proxy) as websocket:
        say(websocket, name="running.bin", size=MIB)
        expect_ready(websocket)
        proxy.reload()
        with pytest.raises(ConnectionClosed):
            hear_out(websocket)
    # bad_message: Caddy 2.6 says goodbye in a frame that lacks its mask, more often than not.
    failed = host.wait_for("upload.failed", name="running.bin")
    assert failed["code"] in ("disconnected", "bad_message")
    with websocket_through(proxy) as websocket:
        store(websocket, b"content", "again.bin")
