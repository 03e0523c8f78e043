"""Section 8, judging a client: when it tries again, and when it does not."""

from typing import Any, Final

from galileod.conformance.case import client_case
from galileod.conformance.cases._client_resume import (
    CHUNK,
    KEEP,
    SMALL,
    Attempts,
    agreed,
    attempts,
    end_with,
    new_content,
    take,
    take_rest,
)
from galileod.conformance.client import Client
from galileod.conformance.events import Message
from galileod.conformance.judge import Judge

FINAL: Final[tuple[dict[str, Any], ...]] = (
    {"code": "conflict", "kept": KEEP},
    {"code": "hash_mismatch"},
    {"code": "size_mismatch"},
    {"code": "x-unknown", "kept": KEEP},
    {},
)
"""Errors after which a client may not try again by itself."""


@client_case(
    "8.2.11",
    "If close was lost, close as the first signal of the next attempt is success.",
    requirements=("C8.6",),
    profile="resume",
)
async def lost_close(client: Client, judge: Judge) -> None:
    """The file was stored under another name."""
    del judge
    content = new_content()
    async with attempts(client, content) as sending:
        connection, _ = await sending.begin()
        await take_rest(connection, content, agreed(0), "C8.6")
        await connection.websocket.abort()
        connection, _ = await sending.again()
        await connection.close_signal(can=["resume"], name="conformance (1).bin")
        await sending.expect_success("C8.6")


@client_case(
    "8.2.12",
    "After taken_over, a client does not try again by itself.",
    requirements=("C8.7",),
    profile="resume",
)
async def taken_over(client: Client, judge: Judge) -> None:
    """The upload is kept, for the other connection."""
    await _ends_after(client, judge, "C8.7", {"code": "taken_over", "kept": KEEP})


@client_case(
    "8.2.13",
    "After errors that do not pass, a client does not try again by itself.",
    requirements=("C8.8",),
    profile="resume",
)
async def final_errors(client: Client, judge: Judge) -> None:
    """Codes with and without `kept`, one that is not known, and none."""
    for error in FINAL:
        await _ends_after(client, judge, "C8.8", error)


async def _ends_after(
    client: Client, judge: Judge, requirement: str, error: dict[str, Any]
) -> None:
    content = new_content(SMALL)
    async with attempts(client, content) as sending:
        connection, _ = await sending.begin()
        await connection.ready(SMALL // 2, **agreed(0))
        await connection.chunk()
        await end_with(connection, **error)
        judge.check(
            requirement,
            not await _tries_again(sending),
            f"expected no further attempt after {error or 'an error without a code'},"
            " but the client tried again",
        )
        await sending.expect_failure(requirement, f"after {error or 'an error without a code'}")


async def _tries_again(sending: Attempts) -> bool:
    """Whether the client makes a further attempt; to abandon the upload is none."""
    while (connection := await sending.another()) is not None:
        metadata = await connection.metadata()
        abandons = metadata.get("abandon")
        await end_with(connection, code="abandoned" if abandons else "bad_metadata")
        if not abandons:
            return True
    return False


@client_case(
    "8.2.14",
    "After errors that pass, an attempt continues the upload.",
    requirements=("C8.2", "C8.3"),
    profile="resume",
)
async def passing_errors(client: Client, judge: Judge) -> None:
    """The client may try again by itself, or be started once more."""
    content = new_content()
    async with attempts(client, content) as sending:
        connection, first = await sending.begin()
        at = await take(connection, content, 1, agreed(0), "C8.3")
        for code in ("storage_failed", "too_slow", "shutting_down"):
            await end_with(connection, code=code, kept=KEEP)
            connection, metadata = await sending.again()
            judge.check(
                "C8.2",
                metadata.get("upload") == first.get("upload"),
                f"expected the same key after {code}, but another came",
            )
            at = await take(connection, content, 1, agreed(at), "C8.3")
        await end_with(connection, code="busy", kept=KEEP)
        connection, _ = await sending.again()
        await take_rest(connection, content, agreed(at), "C8.3")
        await connection.close_signal()
        await sending.expect_success("C8.3")


@client_case(
    "8.2.15",
    "With a kept upload, a client tries again where a first signal has no can.",
    requirements=("C8.9",),
    profile="resume",
)
async def older_server(client: Client, judge: Judge) -> None:
    """Once it meets a server of another version, then the one that has kept the upload."""
    content = new_content()
    async with attempts(client, content) as sending:
        connection, _ = await sending.begin()
        at = await take(connection, content, 3, agreed(0), "C8.9")
        await connection.websocket.abort()
        connection, _ = await sending.again()
        await connection.ready(CHUNK)
        event = await connection.message()
        judge.require(
            "C8.9",
            not isinstance(event, Message),
            "expected another attempt where the first signal has no can,"
            " but the client sent the file from its beginning",
        )
        connection, _ = await sending.again()
        await take_rest(connection, content, agreed(at), "C8.9")
        await connection.close_signal()
        await sending.expect_success("C8.9")
