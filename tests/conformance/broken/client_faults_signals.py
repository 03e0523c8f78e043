"""Clients with a fault in signals, metadata, errors, frames or the handshake.

The docstring of a class says what it does wrong.
"""

import json
from typing import Final

from conformance.broken.client_peer import (
    CHUNK,
    RETRY,
    FailedError,
    Signal,
    Uploader,
)
from conformance.broken.frames import EmptyFragmentEnds, EmptyPong, FragmentIsMessage, LenientText
from conformance.broken.registry import registrar
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.utils import accept_key

FAULTS: Final[dict[str, type[Uploader]]] = {}

SAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="


fault = registrar(FAULTS)


# Signals


@fault("ready-before-error")
class ReadyBeforeError(Uploader):
    """Looks for `ready` first, and overlooks an error in the same signal."""

    def kind(self, signal: Signal) -> str | None:
        return "ready" if self.truthy(signal.get("ready")) else super().kind(signal)


@fault("present-is-true")
class PresentIsTrue(Uploader):
    """Takes a key that is present for true, so `"error": null` with `ready` is an error."""

    def kind(self, signal: Signal) -> str | None:
        return next((key for key in ("error", "ready", "close") if key in signal), None)

    def is_fatal(self, signal: Signal) -> bool:
        return not signal.get("error") or super().is_fatal(signal)


@fault("empty-list-is-false")
class EmptyListIsFalse(Uploader):
    """Takes an empty list or object for false, as Python does, so `"error": {}` is no error."""

    def truthy(self, value: object) -> bool:
        return bool(value)


@fault("only-json-true")
class OnlyJsonTrue(Uploader):
    """Takes `ready` and `close` only as the boolean true, and ignores `1`."""

    def kind(self, signal: Signal) -> str | None:
        kind = super().kind(signal)
        return kind if kind in {None, "error"} or signal[str(kind)] is True else None


@fault("warning-is-fatal")
class WarningIsFatal(Uploader):
    """Fails after each error, fatal or not."""

    def is_fatal(self, signal: Signal) -> bool:
        del signal
        return True


@fault("error-needs-code")
class ErrorNeedsCode(Uploader):
    """Takes an error without `code` for a warning, and continues."""

    def is_fatal(self, signal: Signal) -> bool:
        return "code" in signal and super().is_fatal(signal)


@fault("unknown-signal-fails")
class UnknownSignalFails(Uploader):
    """Fails at a signal that has none of `error`, `ready` and `close`."""

    def kind(self, signal: Signal) -> str | None:
        kind = super().kind(signal)
        if kind is None:
            raise FailedError("the server sent an unknown signal")
        return kind


@fault("not-json-ignored")
class NotJsonIgnored(Uploader):
    """Ignores TEXT messages that are not a JSON object."""

    def parse(self, message: str | bytes) -> Signal | None:
        if isinstance(message, bytes):
            return super().parse(message)
        try:
            return super().parse(message)
        except FailedError:
            return None


@fault("binary-ignored")
class BinaryIgnored(Uploader):
    """Ignores BINARY messages from the server."""

    def parse(self, message: str | bytes) -> Signal | None:
        return None if isinstance(message, bytes) else super().parse(message)


@fault("signal-limit-4096")
class SignalLimit(Uploader):
    """Accepts signals of up to 4,096 bytes only."""

    max_signal = 4096


# Metadata


@fault("size-with-point")
class SizeWithPoint(Uploader):
    """Writes the size as a floating-point number, such as `12.0`."""

    def metadata(self) -> Signal:
        return {**super().metadata(), "size": float(self.size)}


@fault("finished-in-metadata")
class FinishedInMetadata(Uploader):
    """Fills all keys that it knows into each signal: `"finished": false` in the metadata."""

    def metadata(self) -> Signal:
        return {**super().metadata(), "finished": False}


@fault("name-not-escaped")
class NameNotEscaped(Uploader):
    """Puts the name between quotation marks without escaping those in it."""

    def send(self, message: Signal | bytes) -> None:
        if isinstance(message, dict) and "name" in message:
            rest = json.dumps({key: value for key, value in message.items() if key != "name"})
            text = '{"name": "' + message["name"] + '", ' + rest[1:]
            self.connection.send(text.encode(errors="replace"), text=True)
        else:
            super().send(message)


@fault("metadata-again")
class MetadataAgain(Uploader):
    """Sends the metadata again after an error that is not fatal."""

    def on_error(self, signal: Signal) -> None:
        super().on_error(signal)
        self.send(self.metadata())


# Errors


@fault("chunk-after-error")
class ChunkAfterError(Uploader):
    """Sends one more chunk after a fatal error, which it notices too late."""

    def on_error(self, signal: Signal) -> None:
        if self.is_fatal(signal) and self.begun and self.offset < self.size:
            self.send_chunk(CHUNK)
        super().on_error(signal)


@fault("abandon-always")
class AbandonAlways(Uploader):
    """Sends `abandon` if an upload fails, also to a server that has not agreed to an extension."""

    def on_error(self, signal: Signal) -> None:
        try:
            super().on_error(signal)
        except FailedError:
            self.send({"abandon": True})
            raise


@fault("classic-retry")
class ClassicRetry(Uploader):
    """Tries again after `idle` also where `resume` is not agreed."""

    retry = RETRY | {"idle", "too_slow"}


# Frames and the handshake


class EmptyPongProtocol(EmptyPong, ClientProtocol):
    pass


class FragmentIsMessageProtocol(FragmentIsMessage, ClientProtocol):
    pass


class EmptyFragmentProtocol(EmptyFragmentEnds, ClientProtocol):
    pass


class LenientTextProtocol(LenientText, ClientProtocol):
    pass


class SampleKeyProtocol(ClientProtocol):
    def connect(self) -> Request:
        self.key = SAMPLE_KEY
        return super().connect()


class AnyAcceptProtocol(ClientProtocol):
    def process_response(self, response: Response) -> None:
        headers = Headers(response.headers.raw_items())
        if "Sec-WebSocket-Accept" in headers:
            del headers["Sec-WebSocket-Accept"]
        headers["Sec-WebSocket-Accept"] = accept_key(self.key)
        super().process_response(
            Response(response.status_code, response.reason_phrase, headers, response.body)
        )


@fault("empty-pong")
class EmptyPongClient(Uploader):
    """Answers each Ping with a Pong without payload."""

    protocol = EmptyPongProtocol


@fault("fragment-is-signal")
class FragmentIsSignal(Uploader):
    """Takes each fragment of a signal for a signal of its own."""

    protocol = FragmentIsMessageProtocol


@fault("empty-fragment-ends")
class EmptyFragmentEndsClient(Uploader):
    """Takes an empty fragment for the end of its message."""

    protocol = EmptyFragmentProtocol


@fault("text-not-checked")
class TextNotChecked(Uploader):
    """Replaces what is not UTF-8 in a TEXT message, and continues."""

    protocol = LenientTextProtocol


@fault("sample-handshake-key")
class SampleHandshakeKey(Uploader):
    """Uses the same `Sec-WebSocket-Key` for each connection."""

    protocol = SampleKeyProtocol


@fault("accept-unchecked")
class AcceptUnchecked(Uploader):
    """Does not look at `Sec-WebSocket-Accept`."""

    protocol = AnyAcceptProtocol
