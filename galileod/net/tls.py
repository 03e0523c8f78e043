"""TLS on TCP listeners: contexts from PEM files, and a stream that can be half-closed."""

import ssl
from typing import Final

import trio

from . import http11
from .settings import Tls

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: with forward secrecy and authenticated encryption (RFC 9325); TLS 1.3 has its own."""

READ: Final = 64 * 1024
"""Bytes of the socket read at a time; so many are held undeciphered at the most."""

_PLAIN_TEXT: Final = "HTTP_REQUEST"
"""How OpenSSL calls it when HTTP is spoken where TLS should be."""


class CertificateError(Exception):
    """A certificate or key cannot be used; the text names the key and the file, and says why."""


class HandshakeError(Exception):
    """No TLS comes about; the text says why, and a peer that has no TLS gets `response`."""

    def __init__(self, reason: str, response: http11.Response | None = None) -> None:
        super().__init__(reason)
        self.response = response


def load_context(settings: Tls) -> ssl.SSLContext | None:
    """The context of a server with the chain and key of `settings`, or None where it has none.

    Reads the files, and raises CertificateError where they are of no use.
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
                pass  # OpenSSL does not say which of the two it could not read
        except OSError as error:
            reason = f"tls.{name}: {path}: cannot be read: {error.strerror}"
            raise CertificateError(reason) from None
    try:
        # Without a password an encrypted key would make OpenSSL ask at the terminal.
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
        # Between the two reads one of them went away, or is a directory.
        raise CertificateError(f"tls.certificate: {certificate}: {error.strerror}") from None
    return context


class TlsStream(trio.abc.HalfCloseableStream):
    """TLS over a socket, from the server's side. The handshake is done by `accept_tls`."""

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
        """What the peer says; after our end only whether it still says anything, undeciphered."""
        if self._ended:
            return bytes(await self._socket.receive_some(max_bytes))
        try:
            return bytes(await self.tls.receive_some(max_bytes))
        except trio.BrokenResourceError as error:
            if isinstance(error.__cause__, ssl.SSLEOFError):
                return b""  # an end without the goodbye of TLS; WebSocket has its own
            raise

    async def send_eof(self) -> None:
        """Say the goodbye of TLS, and half-close the socket."""
        self._ended = True
        await self.tls.aclose()

    async def aclose(self) -> None:
        """Close the socket."""
        await self._socket.aclose()


async def accept_tls(
    socket: trio.abc.HalfCloseableStream, context: ssl.SSLContext, timeout: float
) -> TlsStream:
    """Do the handshake, within `timeout` seconds.

    Raises HandshakeError, with an answer in plain HTTP for whoever speaks that, and
    RequestAbandoned where the peer went away.
    """
    stream = TlsStream(socket, context)
    try:
        with trio.fail_after(timeout):
            await stream.tls.do_handshake()
    except trio.TooSlowError:
        raise HandshakeError("the TLS handshake was not done in time") from None
    except trio.BrokenResourceError as error:
        cause = error.__cause__
        if not isinstance(cause, ssl.SSLError) or isinstance(cause, ssl.SSLEOFError):
            raise http11.RequestAbandoned("the peer left within the TLS handshake") from None
        reason = cause.reason or "it is none"
        if reason == _PLAIN_TEXT:
            told = http11.Response(400, "This port speaks TLS: https and wss.")
            raise HandshakeError(told.text, told) from None
        said = reason.replace("_", " ").lower()
        raise HandshakeError(f"no TLS came about: {said}") from None
    return stream


class _OpenEnded(trio.abc.Stream):
    """A socket whose closing is a half-close: what the peer still sends is read before the end."""

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
