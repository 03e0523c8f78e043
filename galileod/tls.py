"""TLS on TCP listeners: contexts from PEM files, and a stream that can be half-closed."""

import ssl
from typing import Final

import trio

from . import front

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: with forward secrecy and authenticated encryption (RFC 9325); TLS 1.3 has its own."""

_PLAIN_TEXT: Final = "HTTP_REQUEST"
"""How OpenSSL calls it when HTTP is spoken where TLS should be."""


class CertificateError(Exception):
    """A certificate or key is of no use; the text names the file, and says why."""


class HandshakeError(Exception):
    """The peer and we do not come to speak TLS; the text says why."""


def load_context(certificate: str, key: str) -> ssl.SSLContext:
    """The context of a server with this chain and key, both in PEM. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    for path in (certificate, key):
        try:
            with open(path, "rb"):
                pass  # OpenSSL does not say which of the two it could not read
        except OSError as error:
            raise CertificateError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        # Without a password an encrypted key would make OpenSSL ask at the terminal.
        context.load_cert_chain(certificate, key, password=_no_password)
    except _EncryptedKeyError:
        raise CertificateError(f"{key}: is encrypted: expected a key without a password") from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CertificateError(f"{key}: is not the key of {certificate}") from None
        raise CertificateError(
            f"{certificate}: expected a chain of certificates in PEM, and their key in {key}"
        ) from None
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
    """Do the handshake, within `timeout` seconds. Raises HandshakeError.

    Whoever speaks plain HTTP is told so in plain HTTP.
    """
    stream = TlsStream(socket, context)
    try:
        with trio.fail_after(timeout):
            await stream.tls.do_handshake()
    except trio.TooSlowError:
        raise HandshakeError("the TLS handshake was not done in time") from None
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        cause = error.__cause__
        reason = cause.reason if isinstance(cause, ssl.SSLError) else None
        if reason == _PLAIN_TEXT:
            told = front.Response(400, "This port speaks TLS: https and wss.")
            await front.send_response(socket, told, timeout)
        said = (reason or "the connection was lost").replace("_", " ").lower()
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
        return bytes(await self._socket.receive_some(max_bytes))

    async def aclose(self) -> None:
        await self._socket.send_eof()


class _EncryptedKeyError(Exception):
    pass


def _no_password() -> str:
    raise _EncryptedKeyError
