"""Section 8, judging a client: how extensions are agreed, and the key of an upload."""

from typing import Any, Final

from galileod.conformance.case import client_case
from galileod.conformance.cases._client_resume import (
    KEEP,
    SMALL,
    agreed,
    attempts,
    end_with,
    new_content,
    take,
    take_rest,
)
from galileod.conformance.client import Client
from galileod.conformance.judge import Judge

NOT_AGREED: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"can": []},
    {"can": ["x-unknown"]},
    {"can": "resume"},
)
"""Keys of a first signal that state no extension."""
KEY_DIGITS: Final = 32


@client_case(
    "8.2.1",
    "If the first signal does not state resume, the whole file is sent.",
    requirements=("C8.1",),
)
async def stays_classic(client: Client, judge: Judge) -> None:
    """Whatever `offset` says, and whatever a later signal states."""
    for more in NOT_AGREED:
        content = new_content(SMALL)
        async with attempts(client, content) as sending:
            connection = await sending.first()
            await connection.metadata()
            if not more:
                await connection.expect_nothing("C8.1", "expected nothing before the first signal")
            await connection.ready(SMALL // 2, offset=1000, keep=KEEP, **more)
            got = await connection.chunk("C8.1")
            rest, _ = await connection.receive_content(
                SMALL - len(got), requirement="C8.1", **agreed(0)
            )
            judge.check(
                "C8.1",
                got + rest == content,
                f"expected the whole file after {more or 'no can'}, but other bytes came",
            )
            await connection.close_signal()
            await sending.expect_success("C8.1")


@client_case(
    "8.2.2",
    "Without resume, close as the first signal is no success.",
    requirements=("C8.1", "C4.5"),
)
async def close_without_resume(client: Client, judge: Judge) -> None:
    """Nothing was sent yet."""
    del judge
    for more in NOT_AGREED[:2]:
        async with attempts(client, new_content(SMALL)) as sending:
            connection = await sending.first()
            await connection.metadata()
            await connection.close_signal(**more)
            await sending.expect_failure("C8.1", "after close as the first signal")


@client_case(
    "8.2.3",
    "The key is 32 hexadecimal digits, and a new one for each file.",
    requirements=("C8.2",),
    profile="resume",
)
async def key_of_each_file(client: Client, judge: Judge) -> None:
    """Two files of the same size."""
    keys = []
    for name in ("one.bin", "another.bin"):
        content = new_content(SMALL)
        async with attempts(client, content, name) as sending:
            connection, metadata = await sending.begin()
            key = metadata.get("upload")
            judge.check(
                "C8.2",
                isinstance(key, str)
                and len(key) == KEY_DIGITS
                and set(key.lower()) <= set("0123456789abcdef"),
                f"expected 32 hexadecimal digits as upload, but {key!r} came",
            )
            keys.append(key)
            await take_rest(connection, content, agreed(0), "C8.2")
            await connection.close_signal()
            await sending.expect_success(None)
    judge.check(
        "C8.2", keys[0] != keys[1], f"expected another key for another file, but {keys[1]} came"
    )


@client_case(
    "8.2.4",
    "The key, the name, the size, the folder and the time are the same at each attempt.",
    requirements=("C8.2",),
    profile="resume",
)
async def same_at_each_attempt(client: Client, judge: Judge) -> None:
    """After a lost connection, and once more after `idle`."""
    content = new_content()
    async with attempts(client, content) as sending:
        connection, first = await sending.begin()
        at = await take(connection, content, 2, agreed(0), "C8.2")
        await connection.websocket.abort()
        for last in (False, True):
            connection, metadata = await sending.again()
            for key in ("upload", "name", "size", "folder", "modified"):
                judge.check(
                    "C8.2",
                    metadata.get(key) == first.get(key),
                    f"expected {key} {first.get(key)!r} as at first, but {metadata.get(key)!r}"
                    " came",
                )
            if not last:
                at = await take(connection, content, 2, agreed(at), "C8.2")
                await end_with(connection, code="idle", kept=KEEP)
        await take_rest(connection, content, agreed(at), "C8.2")
        await connection.close_signal()
        await sending.expect_success(None)
