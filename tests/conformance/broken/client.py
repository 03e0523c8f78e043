"""A client that is correct, or has one fault.

    python client.py [--fault NAME] URL FILE
    python client.py --list

The exit status is 0 if the file is stored, else 1. Where `resume` is agreed, the client tries again
by itself after a lost connection: five attempts in all, 50 ms apart.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from conformance.broken.client_faults import FAULTS
from conformance.broken.client_peer import FailedError, Uploader


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("url", nargs="?")
    parser.add_argument("file", nargs="?")
    parser.add_argument("--fault", choices=sorted(FAULTS))
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    if options.list:
        for name, peer in FAULTS.items():
            sys.stdout.write(f"{name}: {peer.__doc__}\n")
        return 0
    if options.url is None or options.file is None:
        parser.error("URL or FILE is missing")
    # What a peer does wrong becomes the reason of the failure.
    logging.getLogger("websockets.client").setLevel(logging.CRITICAL)
    peer = FAULTS[options.fault] if options.fault else Uploader
    try:
        name = peer(options.url, options.file).run()
    except FailedError as failed:
        sys.stderr.write(f"failed: {failed}\n")
        return 1
    sys.stdout.write(f"stored: {name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
