"""Closes byte streams such that the peer receives the last data that was sent."""

import trio

DISCARD = 64 * 1024
"""Maximum bytes that are read and discarded at a time."""

QUIET = 0.5
"""Seconds without a byte after which the peer is assumed to have finished sending."""


async def drop_until_quiet(stream: trio.abc.ReceiveStream, seconds: float) -> None:
    """Discard what the peer still sends, until it pauses or closes, for at most `seconds`.

    A proxy closes both of its connections when one ends, and loses data that the client has not
    received yet. Many clients do not receive before they have sent a whole message.
    """
    try:
        with trio.move_on_after(seconds), trio.move_on_after(QUIET) as pause:
            while await stream.receive_some(DISCARD):
                pause.deadline = trio.current_time() + QUIET
    except trio.BrokenResourceError:
        pass  # the connection is lost: nothing more can arrive


async def close_in_order(stream: trio.abc.HalfCloseableStream, seconds: float) -> None:
    """Half-close the stream, discard what the peer sends until it closes too, then close it.

    Closing a socket with unread data resets the connection, and the peer's kernel may discard the
    last response because of it. Takes at most `seconds`.
    """
    try:
        with trio.move_on_after(seconds):
            await stream.send_eof()
            while await stream.receive_some(DISCARD):
                pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the peer has closed already, or the connection is lost
    finally:
        await trio.aclose_forcefully(stream)
