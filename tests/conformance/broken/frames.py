"""Mistakes below the signals, in how a peer reads and writes frames; for both roles.

Each class is mixed into a protocol of websockets: `class P(EmptyPong, ServerProtocol)`.
"""

from websockets.frames import BINARY, CLOSE, CONT, PONG, TEXT, Frame, Opcode
from websockets.protocol import Protocol


class EmptyPong(Protocol):
    def send_frame(self, frame: Frame) -> None:
        super().send_frame(Frame(PONG, b"") if frame.opcode is PONG else frame)


class NoClose(Protocol):
    def send_frame(self, frame: Frame) -> None:
        if frame.opcode is not CLOSE:
            super().send_frame(frame)


class FragmentIsMessage(Protocol):
    _opcode: Opcode = BINARY

    def recv_frame(self, frame: Frame) -> None:
        super().recv_frame(frame)
        if frame.opcode in {TEXT, BINARY}:
            self._opcode = frame.opcode
        if frame.opcode in {TEXT, BINARY, CONT}:
            self.events[-1] = Frame(self._opcode, frame.data)


class EmptyFragmentEnds(Protocol):
    """An empty frame ends the message that it belongs to; the rest begins another one."""

    _opcode: Opcode = BINARY
    _begun = False

    def recv_frame(self, frame: Frame) -> None:
        super().recv_frame(frame)
        if frame.opcode in {TEXT, BINARY}:
            self._opcode = frame.opcode
        if frame.opcode in {TEXT, BINARY, CONT}:
            fin = frame.fin or not frame.data
            self.events[-1] = Frame(CONT if self._begun else self._opcode, frame.data, fin)
            self._begun = not fin


class LenientText(Protocol):
    _text = False

    def recv_frame(self, frame: Frame) -> None:
        super().recv_frame(frame)
        if frame.opcode in {TEXT, BINARY}:
            self._text = frame.opcode is TEXT
        if self._text and frame.opcode in {TEXT, CONT}:
            text = bytes(frame.data).decode(errors="replace")
            self.events[-1] = Frame(frame.opcode, text.encode(), frame.fin)
