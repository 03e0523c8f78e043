"""Who may do what: one check of credentials, whichever way they come."""

import time

import jwt
import pytest
import trio
from attrs import evolve
from helpers.memory_store import MemoryStore
from helpers.wire import UPGRADE, Wire, serving, text_frame
from trio.testing import MockClock

from galileod.auth.authenticator import Authenticator
from galileod.auth.tickets import MAX_EXPIRED, TicketKey
from galileod.config.model import Config
from galileod.net.peer import Peer
from galileod.policy.settings import Resume
from galileod.units import Duration

pytestmark = pytest.mark.timeout(20)

WRONG = UPGRADE.replace(b"Host:", b"Authorization: Bearer wrong\r\nHost:")


NO_RESUMING = evolve(Config(), resume=Resume(keep=Duration(0)))


def with_ticket(seconds: float, secret: bytes = b"0" * 32) -> bytes:
    """A handshake with a ticket that expires in so many seconds."""
    claims = {"sub": "anna", "aud": "uploads", "exp": time.time() + seconds}
    text = jwt.encode(claims, secret, "HS256")
    return UPGRADE.replace(b"Host:", f"Authorization: Bearer {text}\r\nHost:".encode())


def with_tickets(wire: Wire) -> None:
    wire.context.authenticator = Authenticator(ticket_key=TicketKey("HS256", b"0" * 32, "uploads"))


async def refused_in_handshake(wire: Wire, peer: Peer) -> float:
    """Seconds until the response to a wrong credential in the request."""
    began = trio.current_time()
    assert (await wire.request(WRONG, peer)).startswith(b"HTTP/1.1 401 ")
    return trio.current_time() - began


async def refused_in_metadata(wire: Wire, peer: Peer) -> float:
    """Seconds until the fault for a wrong credential in the metadata."""
    raw = await wire.open_raw(peer=peer)
    began = trio.current_time()
    await raw.send(text_frame({"name": "a", "size": 1, "token": "wrong"}))
    assert (await raw.receive())["code"] == "unauthorized"
    seconds = trio.current_time() - began
    await raw.stream.aclose()
    return seconds


@pytest.mark.parametrize(
    "peer",
    [
        Peer("unix", "unix", "unix"),
        Peer("192.0.2.1:4711", "192.0.2.1", "192.0.2.1"),
        Peer("[2001:db8::1]:4711", "2001:db8::1", "2001:db8::/64"),
    ],
    ids=lambda peer: peer.name,
)
async def test_failures_of_one_client_count_together_in_handshake_and_metadata(
    autojump_clock: MockClock, peer: Peer
) -> None:
    async with serving(MemoryStore()) as wire:
        with_tickets(wire)
        delays = [
            await attempt(wire, peer)
            for attempt in (refused_in_handshake, refused_in_metadata, refused_in_handshake)
        ]
    assert delays == pytest.approx([0.25, 0.5, 1.0])


async def test_an_expired_ticket_is_refused_with_the_metadata_of_a_client_that_cannot_resume(
    autojump_clock: MockClock,
) -> None:
    async with serving(MemoryStore()) as wire:
        with_tickets(wire)
        raw = wire.connect()
        await raw.send(with_ticket(-60))
        assert (await raw.receive_head()).startswith(b"HTTP/1.1 101 ")
        await raw.send(text_frame({"name": "a", "size": 1}))
        assert (await raw.receive())["code"] == "unauthorized"
        await raw.stream.aclose()


@pytest.mark.parametrize(
    ("config", "request_head"),
    [
        (NO_RESUMING, with_ticket(-60)),
        (Config(), with_ticket(-MAX_EXPIRED - 1)),
        (Config(), with_ticket(-60, b"1" * 32)),
    ],
    ids=["nothing is kept", "long ago", "of another key"],
)
async def test_an_expired_ticket_that_can_resume_nothing_is_refused_in_the_handshake(
    autojump_clock: MockClock, config: Config, request_head: bytes
) -> None:
    async with serving(MemoryStore(), config) as wire:
        with_tickets(wire)
        assert (await wire.request(request_head)).startswith(b"HTTP/1.1 401 ")
        count = wire.context.metrics.registry.get_sample_value("galileod_credentials_refused_total")
        assert count == 1
