"""Asks a server to discard an upload that was begun."""

from typing import Final

import trio
from attrs import evolve

from galileod.protocol.errors import RemoteProtocolError
from galileod.protocol.messages import Metadata
from galileod.protocol.sender import UploadSender
from galileod.protocol.states import SenderState

from .address import Address
from .errors import SendError
from .options import Options
from .websocket import open_websocket

MAX_WAIT: Final = 5.0
"""Maximum seconds for the connection and the answer."""

MAX_WAIT_CANCELLED: Final = 2.0
"""The same if the upload was cancelled: a person may wait for the end of the program."""


async def abandon_cancelled(address: Address, metadata: Metadata, options: Options) -> None:
    """As `abandon`, in a task that is being cancelled."""
    with trio.move_on_after(MAX_WAIT_CANCELLED, shield=True):
        await abandon(address, metadata, options)


async def abandon(address: Address, metadata: Metadata, options: Options) -> None:
    """Ask the server to discard the upload of this metadata, on a connection of its own.

    It is not an error if that fails: the server discards the upload some time after its end.
    """
    sender = UploadSender(evolve(metadata, abandon=True))
    with trio.move_on_after(MAX_WAIT):
        try:
            async with open_websocket(address, options) as websocket:
                await websocket.send_text(sender.start())
                while sender.state is SenderState.ABANDONED:
                    sender.receive_text(await websocket.receive())
                await websocket.close()
        except (SendError, RemoteProtocolError):
            pass  # see above
