"""What only the cases of sections 6 and 7 need: sparse files, and a look beside a directory."""

import secrets
import sys
from pathlib import Path
from typing import Final

import trio
from helpers.conformance import DEADLINE, new_trial

from galileod.conformance.client import Client
from galileod.conformance.client_command import command_starter
from galileod.conformance.target import Directory

TELL: Final = """
import os, sys
status = os.stat(sys.argv[2])
print(status.st_size, status.st_blocks * 512 < 1_000_000, open(sys.argv[2], "rb").read(4))
"""
"""A client that connects to nothing, and writes what it sees of its file."""


async def test_a_file_with_a_size_is_continued_by_zeros_that_take_no_space() -> None:
    words = (sys.executable, "-c", TELL, "{url}", "{file}")
    trial = new_trial()
    with trio.fail_after(DEADLINE):
        async with command_starter(words) as starter:
            client = Client(starter, trial)
            async with client.send(b"ab", size=5 * 2**30) as run:
                outcome = await run.outcome()
    assert outcome.output == "5368709120 True b'ab\\x00\\x00'\n"


async def test_files_above_a_directory_are_found_and_those_in_it_are_not(tmp_path: Path) -> None:
    directory = tmp_path / "above" / "stored"
    directory.mkdir(parents=True)
    mark = secrets.token_hex(8)  # what else is in the directory for temporary files is not known
    outside = {tmp_path / "above" / f"a-{mark}.bin", tmp_path / mark}
    for path in (directory / mark, *outside):
        path.write_bytes(b"")
    assert await Directory(directory).strays(mark) == {str(path) for path in outside}
