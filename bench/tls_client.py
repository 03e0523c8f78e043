"""A connection with TLS, for the exchanges in clients.py."""

import os
import ssl

from connection import Connection, Exchange

PIECE = 1 << 20
"""Bytes that are read from the source and encrypted at a time."""


def client_context() -> ssl.SSLContext:
    """A context for TLS 1.3 that trusts every certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class TlsConnection(Connection):
    """A connection over TLS 1.3 with AES-GCM, on a blocking socket.

    Raises ssl.SSLError, an OSError, if the handshake fails, and RuntimeError if the server has
    chosen another cipher.
    """

    socket: ssl.SSLSocket

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address)
        self.socket = client_context().wrap_socket(self.socket)
        name, version, _ = self.socket.cipher() or ("none", "none", 0)
        if version != "TLSv1.3" or "GCM" not in name:
            raise RuntimeError(f"the cipher is {name}, with {version}")
        self._piece = bytearray(PIECE)
        self._delayed = b""

    def send(self, data: bytes, *, more: bool = False) -> Exchange:
        """Send `data`; with `more` together with the data that is sent next."""
        self._delayed += data
        if not more:
            data, self._delayed = self._delayed, b""
            self.socket.sendall(data)
        yield from ()

    def send_file(self, source: int, offset: int, size: int) -> Exchange:
        """Send `size` bytes at `offset` of a file, and add them to `sent`."""
        end = offset + size
        while offset < end:
            ahead = len(self._delayed)
            self._piece[:ahead], self._delayed = self._delayed, b""
            with memoryview(self._piece) as piece:
                count = os.preadv(source, [piece[ahead : min(PIECE, ahead + end - offset)]], offset)
                if not count:
                    raise RuntimeError("the source file has been truncated")
                self.socket.sendall(piece[: ahead + count])
            offset += count
            self.sent += count
        yield from ()
