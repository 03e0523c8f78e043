"""How a peer is named, and which network it is counted under."""

import socket
from types import SimpleNamespace
from typing import cast

import pytest

from galileod.net.peer import Peer


def peer(host: str) -> Peer:
    """The peer of a socket that is connected to `host`; a unix socket where it is empty."""
    address: object = (host, 4711, 0, 0) if host else ""
    connected = SimpleNamespace(getpeername=lambda: address)
    return Peer.of(cast("socket.socket", connected))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.1", Peer("192.0.2.1:4711", "192.0.2.1", "192.0.2.1")),
        ("::ffff:192.0.2.1", Peer("192.0.2.1:4711", "192.0.2.1", "192.0.2.1")),
        ("2001:db8::1", Peer("[2001:db8::1]:4711", "2001:db8::1", "2001:db8::/64")),
        ("fe80::1%eth0", Peer("[fe80::1%eth0]:4711", "fe80::1%eth0", "fe80::/64")),
        ("", Peer("unix", "unix", "unix")),
    ],
)
def test_a_peer_is_named_by_its_address(host: str, expected: Peer) -> None:
    assert peer(host) == expected


def test_a_client_that_a_proxy_names_has_no_port() -> None:
    assert Peer.behind_proxy("2001:db8::1") == Peer("2001:db8::1", "2001:db8::1", "2001:db8::/64")
