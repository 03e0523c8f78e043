"""Section 7, judging a client: names of files, and sizes beyond 2^32."""

import secrets
from typing import Final

from galileod.conformance.case import client_case
from galileod.conformance.client import Client
from galileod.conformance.judge import Judge

NAMES: Final = (
    'Grüße 日本語 \U0001f389 "quoted" with \\ and {braces}, %41 and \\u0041.bin',
    "-line\nbreak\ttab\x1f\x7f e\u0301 עברית.bin ",
)
"""Names that need escapes in JSON, and others in UTF-8; all can be names of files."""

BIG: Final = 2**32 + 12_345
"""Bytes of a file whose size has no exact form in 32 bits, nor in a float of 24."""


@client_case(
    "7.2.1",
    "The metadata have the file's name, escaped as JSON demands, without directories.",
    requirements=("C7.1", "C7.2"),
)
async def names(client: Client, judge: Judge) -> None:
    """Scripts, quotes, backslashes, control characters, and a letter with a combining accent."""
    for name in NAMES:
        async with client.send(secrets.token_bytes(10), name) as run:
            connection = await run.accept()
            received = await connection.receive_file(requirement="C7.1")
            came = received.metadata["name"]
            ends = isinstance(came, str) and f"/{came}".endswith((f"/{name}", f"\\{name}"))
            if judge.check("C7.1", ends, f"expected the name {name!r}, but {came!r} came"):
                plain = f"expected the name without directories, but {came!r} came"
                judge.check("C7.2", came == name, plain)
            await connection.close_signal()
            await run.outcome()


@client_case(
    "7.2.2",
    "The size of a file of more than 2^32 bytes is sent exactly.",
    requirements=("C7.3",),
    needs=("command",),
)
async def big_file(client: Client, judge: Judge) -> None:
    """A sparse file. The metadata are all that is needed; a fatal error ends the upload then."""
    async with client.send(b"", size=BIG) as run:
        connection = await run.accept()
        size = (await connection.metadata("C7.3"))["size"]
        exact = isinstance(size, int) and size == BIG
        judge.check("C7.3", exact, f"expected the size {BIG}, but {size!r} came")
        await connection.error("too large for a test", code="too_large")
        await run.outcome()
