"""TLS on TCP listeners: the server's context from PEM files, and a stream with half-close."""

import ssl
from typing import Final

import trio

from .http11 import Refused, RequestAbandoned, Response
from .settings import Tls

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Cipher suites of TLS 1.2, all with forward secrecy and AEAD (RFC 9325); TLS 1.3 has its own."""

READ: Final = 64 * 1024
"""Bytes read from the socket at a time, and the limit of what is held before it is decrypted."""

_PLAIN_TEXT: Final = "HTTP_REQUEST"
"""OpenSSL's reason for a peer that sends plain HTTP."""


class CertificateError(Exception):
    """A certificate or private key cannot be used; the text has the setting, the file and why."""


class HandshakeError(Refused):
    """The TLS handshake failed; the text says why. A peer that sent plain HTTP gets `response`."""


def load_context(settings: Tls) -> ssl.SSLContext | None:
    """The TLS context of the server; None if `settings` name no certificate.

    Reads the files. Raises CertificateError if they cannot be used.
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
                pass  # OpenSSL does not say which of the two files it could not read
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
        # A file is a directory, or was removed after it was opened above.
        raise CertificateError(f"tls.certificate: {certificate}: {error.strerror}") from None
    return context


class TlsStream(trio.abc.HalfCloseableStream):
    """The server's side of TLS over a socket. `accept_tls` makes one, with the handshake done."""

    def __init__(self, socket: trio.abc.HalfCloseableStream, context: ssl.SSLContext) -> None:
        self._socket = socket
        self.tls = trio.SSLStream(_OpenEnded(socket), context, server_side=True)
        self._ended = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As SSLStream does it."""
        await self.tls.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As SSLStream does it."""
        await self.tls.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Decrypted bytes; after `send_eof` undecrypted ones, up to the end of the stream."""
        if self._ended:
            return bytes(await self._socket.receive_some(max_bytes))
        try:
            return bytes(await self.tls.receive_some(max_bytes))
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, ssl.SSLEOFError):
                return b""  # an end without close_notify; WebSocket detects a truncation by itself
            raise

    async def send_eof(self) -> None:
        """Send close_notify, and half-close the socket."""
        self._ended = True
        await self.tls.aclose()

    async def aclose(self) -> None:
        """Close the socket."""
        await self._socket.aclose()


async def accept_tls(
    socket: trio.abc.HalfCloseableStream, context: ssl.SSLContext, timeout: float
) -> TlsStream:
    """Do the TLS handshake within `timeout` seconds.

    Raises HandshakeError, and RequestAbandoned if the peer closed the connection.
    """
    stream = TlsStream(socket, context)
    try:
        with trio.fail_after(timeout):
            await stream.tls.do_handshake()
    except trio.TooSlowError:
        raise HandshakeError(None, "the TLS handshake was not done in time") from None
    except trio.BrokenResourceError as error:
        cause = error.__cause__
        if not isinstance(cause, ssl.SSLError) or isinstance(cause, ssl.SSLEOFError):
            raise RequestAbandoned("the peer left within the TLS handshake") from None
        if cause.reason == _PLAIN_TEXT:
            response = Response(400, "This port speaks TLS: https and wss.")
            raise HandshakeError(response) from None
        reason = (cause.reason or "not TLS").replace("_", " ").lower()
        raise HandshakeError(None, f"the TLS handshake failed: {reason}") from None
    return stream


class _OpenEnded(trio.abc.Stream):
    """A socket whose `aclose` is a half-close, so that what the peer still sends can be read."""

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
