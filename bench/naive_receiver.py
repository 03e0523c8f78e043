"""A naive GalileoSend receiver: trio-websocket with its defaults, one chunk at a time.

    python bench/naive_receiver.py DIRECTORY PORT

It requests each chunk after the previous one is written, without a chunk size.
"""

import hashlib
import json
import os
import sys
from functools import partial

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket


async def receive(request: WebSocketRequest, directory: str) -> None:
    """Serve one connection."""
    socket = await request.accept()
    try:
        await take_file(socket, directory)
        await socket.get_message()
    except ConnectionClosed:
        pass  # the client closes after its upload


async def take_file(socket: WebSocketConnection, directory: str) -> None:
    """Receive one upload."""
    metadata = json.loads(await socket.get_message())
    left, sha1 = metadata["size"], hashlib.sha1()  # noqa: S324
    path = os.path.join(directory, os.path.basename(metadata["name"]))
    with open(path, "wb") as file:  # noqa: ASYNC230  blocking, as naive code does
        while left:
            await socket.send_message(json.dumps({"ready": True}))
            chunk = await socket.get_message()
            assert isinstance(chunk, bytes)
            sha1.update(chunk)
            file.write(chunk)
            left -= len(chunk)
    await socket.send_message(json.dumps({"ready": True}))
    finished = json.loads(await socket.get_message())
    if finished["hash"]["value"] == sha1.hexdigest():
        await socket.send_message(json.dumps({"close": True}))
    else:
        await socket.send_message(json.dumps({"error": "wrong hash", "fatal": True}))


if __name__ == "__main__":
    trio.run(
        serve_websocket,
        partial(receive, directory=sys.argv[1]),
        "127.0.0.1",
        int(sys.argv[2]),
        None,
    )
