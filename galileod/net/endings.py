"""Why nothing more can be received on a connection."""

from typing import Final

LOST: Final = 1006
"""The close code of a connection that ended without a Close frame (RFC 6455, section 7.1.5)."""


class TransportClosed(Exception):  # noqa: N818  the usual end of a connection, not an error
    """The connection has ended; `code` is the WebSocket close code (RFC 6455, section 7.4)."""

    def __init__(self, reason: str, code: int = LOST) -> None:
        super().__init__(reason)
        self.code = code

    @classmethod
    def by_peer(cls, code: int) -> "TransportClosed":
        """The peer has sent a Close frame with `code`."""
        return cls(f"closed by the peer (code {code})", code)


class FrameError(Exception):
    """The peer violated RFC 6455. `code` is the close code for the violation."""

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code
