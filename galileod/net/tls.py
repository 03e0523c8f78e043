"""TLS on TCP listeners: loads the server's context, and provides a stream with half-close."""

import ssl
from typing import Final

import trio

from .http11 import Refused, RequestAbandoned, Response
from .settings import Tls

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Cipher suites of TLS 1.2, all with forward secrecy and AEAD (RFC 9325). Those of TLS 1.3 are
OpenSSL's defaults."""

READ: Final = 64 * 1024
"""Maximum bytes of a read from the socket, and therefore of buffered encrypted data."""

_PLAIN_TEXT: Final = "HTTP_REQUEST"
"""OpenSSL's reason code if the peer sent plain HTTP."""


class CertificateError(Exception):
    """A certificate or private key cannot be used; the message has the key, the file and why."""


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
    for name, path in (("certificate", certificate), ("key", key)):
        try:
            with open(path, "rb"):
                pass  # only a check: OpenSSL does not say which of the two files it cannot read
        except OSError as error:
            reason = f"tls.{name}: {path}: cannot be read: {error.strerror}"
            raise CertificateError(reason) from None
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


class TlsStream(trio.abc.HalfCloseableStream):
    """The server's side of TLS over a socket. `accept_tls` creates it and does the handshake."""

    def __init__(self, socket: trio.abc.HalfCloseableStream, context: ssl.SSLContext) -> None:
        self._socket = socket
        self.tls = trio.SSLStream(_HalfClosingStream(socket), context, server_side=True)
        self._ended = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio.abc.SendStream."""
        await self.tls.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """See trio.abc.SendStream."""
        await self.tls.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive decrypted bytes; after `send_eof`, the encrypted bytes as the peer sends them."""
        if self._ended:
            return bytes(await self._socket.receive_some(max_bytes))
        try:
            return bytes(await self.tls.receive_some(max_bytes))
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, ssl.SSLEOFError):
                return b""  # the peer sent no close_notify; WebSocket detects a truncation itself
            raise

    async def send_eof(self) -> None:
        """Send close_notify and half-close the socket."""
        self._ended = True
        await self.tls.aclose()

    async def aclose(self) -> None:
        """Close the socket."""
        await self._socket.aclose()


async def accept_tls(
    socket: trio.abc.HalfCloseableStream, context: ssl.SSLContext, timeout: float
) -> TlsStream:
    """Do the TLS handshake within `timeout` seconds.

    Raises HandshakeError if it fails or takes longer, and RequestAbandoned if the peer closed the
    connection.
    """
    stream = TlsStream(socket, context)
    try:
        with trio.fail_after(timeout):
            await stream.tls.do_handshake()
    except trio.TooSlowError:
        raise HandshakeError(None, "the TLS handshake was not completed in time") from None
    except trio.BrokenResourceError as error:
        cause = error.__cause__
        if not isinstance(cause, ssl.SSLError) or isinstance(cause, ssl.SSLEOFError):
            reason = "the peer closed the connection within the TLS handshake"
            raise RequestAbandoned(reason) from None
        if cause.reason == _PLAIN_TEXT:
            response = Response(400, "This port requires TLS: use https or wss.")
            raise HandshakeError(response) from None
        reason = (cause.reason or "not TLS").replace("_", " ").lower()
        raise HandshakeError(None, f"the TLS handshake failed: {reason}") from None
    return stream


class _HalfClosingStream(trio.abc.Stream):
    """A socket whose `aclose` only half-closes it, so that it can still be read."""

    def __init__(self, socket: trio.abc.HalfCloseableStream) -> None:
        self._socket = socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._socket.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._socket.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._socket.receive_some(max_bytes or READ))

    async def aclose(self) -> None:
        await self._socket.send_eof()


class _EncryptedKeyError(Exception):
    pass


def _no_password() -> str:
    raise _EncryptedKeyError
