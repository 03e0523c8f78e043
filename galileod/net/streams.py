"""Byte streams: ending one so that the last words arrive."""

import trio

DISCARD = 64 * 1024
"""Bytes read and dropped at a time."""


QUIET = 0.5
"""Seconds without a byte after which a peer is taken to have sent what it was sending."""


async def drop_until_quiet(stream: trio.abc.ReceiveStream, seconds: float) -> None:
    """Drop what the peer still sends, until it pauses or closes. Takes `seconds` at the most.

    A proxy in between drops both sides when one ends, and with them what the client was told. Many
    a client listens only when it has sent what it began.
    """
    try:
        with trio.move_on_after(seconds), trio.move_on_after(QUIET) as pause:
            while await stream.receive_some(DISCARD):
                pause.deadline = trio.current_time() + QUIET
    except trio.BrokenResourceError:
        pass  # the peer is gone, and hears nothing more


async def close_in_order(stream: trio.abc.HalfCloseableStream, seconds: float) -> None:
    """Half-close, drop what the peer still sends until it closes too, then close.

    A socket that is closed with unread data in it resets the connection, and the reset can
    overtake the answer that we sent last. Takes `seconds` at the most.
    """
    try:
        with trio.move_on_after(seconds):
            await stream.send_eof()
            while await stream.receive_some(DISCARD):
                pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the peer was faster: there is nobody left to be orderly with
    finally:
        await trio.aclose_forcefully(stream)
