"""A server that is correct, or has one fault.

    python server.py --port PORT --directory DIR [--fault NAME] [--state DIR]
    python server.py --list

Files are stored in DIR. Kept uploads are in the state directory, by default `.DIR.state` beside
DIR; it must be on the same filesystem. The server prints "listening" once it accepts connections.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from conformance.broken.server_faults import FAULTS
from conformance.broken.server_peer import Session
from websockets.sync.server import ServerConnection, serve

MAX_MESSAGE = 16 * 1024 * 1024  # bytes; a larger message gets a Close frame instead of an error


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--fault", choices=sorted(FAULTS))
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        for name, peer in FAULTS.items():
            sys.stdout.write(f"{name}: {peer.__doc__}\n")
        return
    if options.directory is None or options.port is None:
        parser.error("--directory or --port is missing")
    directory = options.directory.resolve()
    state = options.state or directory.parent / f".{directory.name}.state"
    run(FAULTS[options.fault] if options.fault else Session, options.port, directory, state)


def run(peer: type[Session], port: int, directory: Path, state: Path) -> None:
    store = peer.store_class(directory, state)

    class Connection(ServerConnection):
        def recv_events(self) -> None:
            # The library makes the protocol itself, so its class is set before the first byte.
            self.protocol.__class__ = peer.protocol
            super().recv_events()

    def handle(connection: ServerConnection) -> None:
        peer(connection, store).run()

    # What a peer does wrong is not the server's concern.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    with serve(
        handle,
        "127.0.0.1",
        port,
        create_connection=Connection,
        compression=None,
        max_size=MAX_MESSAGE,
        ping_timeout=None,
        close_timeout=2,
    ) as server:
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
