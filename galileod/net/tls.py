"""TLS on TCP listeners: loads the server's context, and provides a stream with half-close."""

import ssl
from typing import Final

import trio

from .http11 import Refused, RequestAbandoned, Response
from .records import RECORD, Records
from .settings import Tls
from .streams import DirectStream

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Cipher suites of TLS 1.2, all with forward secrecy and AEAD (RFC 9325). Those of TLS 1.3 are
OpenSSL's defaults."""

READ: Final = 64 * 1024
"""Maximum bytes of a read without a limit of its own."""

_PLAIN_TEXT: Final = "HTTP_REQUEST"
"""OpenSSL's reason code if the peer sent plain HTTP."""


class CertificateError(Exception):
    """The certificate or the private key cannot be used, or both.

    Each of the `reasons` has the key of the configuration, the file and why.
    """

    def __init__(self, *reasons: str) -> None:
        super().__init__("\n".join(reasons))
        self.reasons = reasons


class HandshakeError(Refused):
    """The TLS handshake failed; the message says why. `response` is for peers with plain HTTP."""


def load_context(settings: Tls) -> ssl.SSLContext | None:
    """The TLS context of the server; None if no certificate is configured.

    Reads the files, which blocks. Raises CertificateError if they cannot be used.
    """
    certificate, key = settings.certificate, settings.key
    if certificate is None or key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    unreadable = []
    for name, path in (("certificate", certificate), ("key", key)):
        try:
            with open(path, "rb"):
                pass  # only a check: OpenSSL does not say which of the two files it cannot read
        except OSError as error:
            unreadable.append(f"tls.{name}: {path}: cannot be read: {error.strerror}")
    if unreadable:
        raise CertificateError(*unreadable)
    try:
        # Without a callback OpenSSL would ask at the terminal for the password of an encrypted key.
        context.load_cert_chain(certificate, key, password=_no_password)
    except _EncryptedKeyError:
        reason = f"tls.key: {key}: is encrypted: expected a key without a password"
        raise CertificateError(reason) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateError(f"tls.key: {key}: is not the key of {certificate}") from None
        raise CertificateError(
            f"tls.certificate: {certificate}: expected a chain of certificates in PEM,"
            f" and their key in {key}"
        ) from None
    except OSError as error:
        # The path is a directory, or the file was removed after it was opened above.
        raise CertificateError(f"tls.certificate: {certificate}: {error.strerror}") from None
    return context


class TlsStream(DirectStream):
    """The server's side of TLS over a socket. `accept_tls` creates it and does the handshake."""

    def __init__(self, socket: DirectStream, context: ssl.SSLContext) -> None:
        self._socket = socket
        self._records = Records(context)
        self._sending = False  # whether the socket has not taken all at once
        self._ended = False

    async def shake_hands(self) -> None:
        """Do the handshake. Raises ssl.SSLError, and trio.BrokenResourceError."""
        while True:
            done = self._records.shake_hands()
            # The session tickets of TLS 1.3 wait for the first answer. A peer that leaves without
            # reading them would reset the connection, and its last data could be lost.
            if not (done and self._records.version == "TLSv1.3"):
                self._send_records()
                await self.flush()
            if done:
                return
            self._records.feed(bytes(await self._socket.receive_some(RECORD)))

    def send_nowait(self, data: bytes | bytearray | memoryview) -> bool:
        """See DirectStream."""
        try:
            self._records.encrypt(data)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError from error
        return self._send_records()

    async def flush(self) -> None:
        """See DirectStream."""
        while self._sending:
            await self._socket.flush()
            self._sending = False
            self._send_records()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio.abc.SendStream."""
        await trio.lowlevel.checkpoint()
        if not self.send_nowait(data):
            await self.flush()

    async def wait_send_all_might_not_block(self) -> None:
        """See trio.abc.SendStream."""
        await self._socket.wait_send_all_might_not_block()

    async def wait_received(self) -> None:
        """See DirectStream."""
        if self._ended or self._records.drained:
            await self._socket.wait_received()
        else:
            await trio.lowlevel.checkpoint()

    def receive_nowait(self, max_bytes: int) -> bytes | None:
        """See DirectStream; after the end of sending, encrypted bytes as the peer sends them."""
        while not (self._ended or self._records.drained):
            if (data := self._decrypt(max_bytes)) is not None:
                return data
        received = self._socket.receive_nowait(max_bytes)
        if self._ended or received is None:
            return received
        self._records.feed(received)
        return self._decrypt(max_bytes)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio.abc.ReceiveStream and `receive_nowait`."""
        max_bytes = max_bytes or READ
        while True:
            if self._ended or self._records.drained:
                received = bytes(await self._socket.receive_some(max_bytes))
                if self._ended:
                    return received
                self._records.feed(received)
            else:
                await trio.lowlevel.checkpoint()
            if (data := self._decrypt(max_bytes)) is not None:
                return data

    async def send_eof(self) -> None:
        """Send close_notify and half-close the socket."""
        self._end()
        await self.flush()
        await self._socket.send_eof()

    def end_nowait(self) -> None:
        """See DirectStream."""
        self._end()
        if not self._sending:
            self._socket.end_nowait()

    async def aclose(self) -> None:
        """Close the socket."""
        await self._socket.aclose()

    def close(self) -> None:
        """See DirectStream."""
        self._socket.close()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._records.end()
            self._send_records()

    def _send_records(self) -> bool:
        """Send what is encrypted without waiting; returns whether `flush` has nothing to send."""
        if not self._sending and (data := self._records.take_unsent()):
            self._sending = not self._socket.send_nowait(data)
        return not self._sending

    def _decrypt(self, max_bytes: int) -> bytes | None:
        try:
            data = self._records.decrypt(max_bytes)
        except ssl.SSLError as error:
            raise trio.BrokenResourceError from error
        if self._records.owes:
            self._send_records()
            if self._records.owes:
                raise trio.BrokenResourceError("the peer does not read")
        return data


async def accept_tls(
    socket: trio.abc.HalfCloseableStream, context: ssl.SSLContext, timeout: float
) -> TlsStream:
    """Do the TLS handshake within `timeout` seconds. `socket` must be a DirectStream.

    Raises HandshakeError if it fails or takes longer, and RequestAbandoned if the peer closed the
    connection.
    """
    if not isinstance(socket, DirectStream):
        raise TypeError("TLS requires a stream that can send without waiting")
    stream = TlsStream(socket, context)
    try:
        with trio.fail_after(timeout):
            await stream.shake_hands()
    except trio.TooSlowError:
        raise HandshakeError(None, "the TLS handshake was not completed in time") from None
    except (trio.BrokenResourceError, ssl.SSLEOFError):
        reason = "the peer closed the connection within the TLS handshake"
        raise RequestAbandoned(reason) from None
    except ssl.SSLError as error:
        if error.reason == _PLAIN_TEXT:
            response = Response(400, "This port requires TLS: use https or wss.")
            raise HandshakeError(response) from None
        reason = (error.reason or "not TLS").replace("_", " ").lower()
        raise HandshakeError(None, f"the TLS handshake failed: {reason}") from None
    return stream


class _EncryptedKeyError(Exception):
    pass


def _no_password() -> str:
    raise _EncryptedKeyError
