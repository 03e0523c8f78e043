"""TLS without I/O: encrypts and decrypts the records of one connection in memory."""

import ssl
from typing import Final

RECORD: Final = 16 * 1024
"""Maximum bytes of data in a record (RFC 8446, section 5.1)."""

SLICE: Final = 64 * 1024
"""Bytes that OpenSSL gets at a time. It keeps a buffer of this size for the connection. It is also
the limit on the messages of TLS itself, such as KeyUpdate, that are processed in a turn."""

RECORDS_AT_ONCE: Final = 256
"""Maximum records that are decrypted before other tasks run. One takes some microseconds, and as
many again for its data."""

ANSWERS: Final = 16 * 1024
"""Bytes of TLS's own answers, such as those to KeyUpdate, that wait for something to be sent."""


class Records:
    """The server's side of TLS on one connection."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._fed = memoryview(b"")
        self._failure: ssl.SSLError | None = None
        self.drained = True
        """Whether `feed` has to be called before `decrypt`."""

    @property
    def version(self) -> str | None:
        """The version of the protocol, such as "TLSv1.3"; None before it is agreed on."""
        return self._tls.version()

    @property
    def owes(self) -> bool:
        """Whether more than ANSWERS bytes are to be sent to the peer."""
        return self._outgoing.pending > ANSWERS

    def take_unsent(self) -> bytes:
        """Remove the bytes that are to be sent to the peer, which are whole records."""
        return self._outgoing.read()

    def feed(self, received: bytes) -> None:
        """Add bytes of the peer; none at the end of the connection."""
        self._fed = memoryview(received)
        if not received:
            self._incoming.write_eof()
        self.drained = False

    def shake_hands(self) -> bool:
        """Continue the handshake with what was fed; returns whether it is complete.

        Raises ssl.SSLError if it fails.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                if not self._feed_slice():
                    return False
            else:
                return True

    def encrypt(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt `data`, which is then to be sent. Raises ssl.SSLError."""
        if data:
            self._tls.write(data)

    def decrypt(self, max_bytes: int) -> bytes | None:
        """The data of the next records; empty at the end, None if no record is complete.

        An end without close_notify is an end, too: WebSocket detects a truncation itself. Raises
        ssl.SSLError, when the data before has been returned.
        """
        if self._failure:
            raise self._failure
        parts, left = list[bytes](), max_bytes
        for _ in range(RECORDS_AT_ONCE):
            try:
                part = self._tls.read(min(left, RECORD))
            except ssl.SSLWantReadError:
                if self.owes or not self._feed_slice():
                    break
                continue
            except ssl.SSLEOFError:
                part = b""
            except ssl.SSLError as failure:
                self._failure = failure
                if not parts:
                    raise
                break
            if not part:
                return b"".join(parts)
            parts.append(part)
            left -= len(part)
            if not left:
                break
        return b"".join(parts) if parts else None

    def end(self) -> None:
        """Add close_notify to what is to be sent."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # most often: the peer's own has not come yet, and nothing waits for it

    def _feed_slice(self) -> bool:
        """Let OpenSSL have the next SLICE bytes; returns whether there were any."""
        part, self._fed = self._fed[:SLICE], self._fed[SLICE:]
        if part:
            self._incoming.write(part)
        self.drained = not part
        return not self.drained
