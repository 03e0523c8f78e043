"""Ports of loopback that a program is to listen on."""

import socket


def reserve() -> socket.socket:
    """A port that nobody else gets while this is open; who sets SO_REUSEADDR may listen on it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    return sock
