"""Which run of the machine this is: what was written in an earlier one may not be on the disk."""

import secrets
from typing import Final

BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
"""Where Linux has a string that is another one after each start of the machine."""


def read_boot_id(path: str = BOOT_ID) -> str:
    """The string of this run of the machine. Blocks.

    If it cannot be read, a random one: then each start of galileod counts as one of the machine.
    """
    try:
        with open(path, encoding="ascii") as file:
            boot = file.read().strip()
    except (OSError, UnicodeError):
        boot = ""  # as in a container without /proc
    return boot or secrets.token_hex(16)
