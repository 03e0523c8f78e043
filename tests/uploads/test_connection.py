"""What comes before the metadata, or in place of it."""

import pytest
import trio
from helpers.memory_store import MemoryStore
from helpers.wire import (
    BINARY,
    PING,
    UPGRADE,
    frame,
    header,
    serving,
    text_frame,
)
from trio.testing import MockClock

from galileod.auth.authenticator import Authenticator
from galileod.auth.grant import Grant, Unauthorized
from galileod.config.model import Config
from galileod.net.addresses import UNIX_PEER
from galileod.net.peer import Peer
from galileod.net.settings import Timeouts
from galileod.units import Duration

pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize("chatter", [b"", frame(PING), text_frame({"unknown": True})])
async def test_metadata_that_does_not_come_in_time_is_a_fault_whatever_else_comes(
    autojump_clock: MockClock,
    chatter: bytes,
) -> None:
    async with serving(MemoryStore()) as wire:
        raw = await wire.open_raw()
        began = trio.current_time()

        async def chat() -> None:
            while True:
                await trio.sleep(3)
                await raw.send(chatter)

        wire.nursery.start_soon(chat)
        while (received := await raw.receive_frame()) and received.opcode != 1:
            pass
        assert trio.current_time() == began + 10
        assert received
        assert received.signal["code"] == "idle"
        assert received.signal["fatal"] is True


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (frame(1, b"no JSON"), "bad_message"),
        (frame(BINARY, b"data"), "bad_message"),
        (frame(BINARY), "bad_message"),
        (text_frame({"finished": True}), "bad_message"),
        (header(1, 40_000), "bad_message"),
        (header(BINARY, 2**40), "bad_message"),
        (frame(1, b"\xff"), "bad_message"),
        (frame(3), "bad_message"),
    ],
)
async def test_what_is_no_metadata_is_refused_at_once(
    autojump_clock: MockClock, first: bytes, code: str
) -> None:
    async with serving(MemoryStore()) as wire:
        raw = await wire.open_raw()
        began = trio.current_time()
        await raw.send(first)
        assert (await raw.receive())["code"] == code
        assert trio.current_time() == began


@pytest.mark.parametrize("metadata_first", [True, False])
async def test_an_upload_that_had_not_begun_is_told_that_the_server_stops(
    autojump_clock: MockClock, *, metadata_first: bool
) -> None:
    store = MemoryStore()
    async with serving(store) as wire:
        client = await wire.open()
        if not metadata_first:
            await trio.sleep(5)
        wire.shutdown.no_new_uploads.fire()
        began = trio.current_time()
        signal = await client.receive()
        assert (signal["code"], signal["fatal"]) == ("shutting_down", True)
        assert await client.closed() == (1001, "shutting_down")
        assert trio.current_time() == began
    assert store.contents == {}


async def test_a_client_that_does_not_read_the_answer_to_its_upgrade_is_given_up(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore()) as wire:
        raw = wire.connect(lockstep=True)
        with trio.fail_after(600):
            await raw.send(UPGRADE)
            await wire.all_ended()


async def test_the_configured_times_are_the_ones_that_hold(autojump_clock: MockClock) -> None:
    config = Config(timeouts=Timeouts(metadata=Duration(3), close=Duration(2)))
    async with serving(MemoryStore(), config) as wire:
        client = await wire.open()
        assert (await client.receive())["code"] == "idle"
        assert trio.current_time() == 3
        assert await client.closed() == (1008, "idle")
        assert trio.current_time() == 5


async def test_failures_of_a_peer_on_a_unix_socket_are_counted_under_its_name(
    autojump_clock: MockClock,
) -> None:
    clients = list[str]()

    class Refusing(Authenticator):
        @property
        def is_open(self) -> bool:
            return False

        async def check(
            self, credential: str, client: str, *, allow_expired: bool = False
        ) -> Grant:
            del credential, allow_expired
            clients.append(client)
            await trio.lowlevel.checkpoint()
            raise Unauthorized("a test")

    handshake = UPGRADE.replace(b"Host: test", b"Host: test\r\nAuthorization: Bearer wrong")
    async with serving(MemoryStore()) as wire:
        wire.context.authenticator = Refusing()
        peer = Peer(UNIX_PEER, UNIX_PEER, UNIX_PEER)
        assert (await wire.request(handshake, peer)).startswith(b"HTTP/1.1 401 ")
        raw = await wire.open_raw(peer=peer)
        await raw.send(text_frame({"name": "a", "size": 1, "token": "wrong"}))
        assert (await raw.receive())["code"] == "unauthorized"
    assert clients == ["unix", "unix"]
