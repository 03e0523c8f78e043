"""Who may do what: one check of credentials, whichever way they come."""

import pytest
import trio
from helpers.memory_store import MemoryStore
from helpers.wire import UPGRADE, Wire, serving, text_frame
from trio.testing import MockClock

from galileod.auth.authenticator import Authenticator
from galileod.auth.tickets import TicketKey
from galileod.net.peer import Peer

pytestmark = pytest.mark.timeout(20)

WRONG = UPGRADE.replace(b"Host:", b"Authorization: Bearer wrong\r\nHost:")


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
