"""The command line of `galileo-send`."""

import sys


def main() -> None:
    """Say that the client is not there yet."""
    sys.exit("galileo-send: comes with a later release; the README shows a sender in Python")
