"""Section 8, judging a server: the key of an upload."""

import secrets
from typing import Any, Final

from galileod.conformance.case import server_case
from galileod.conformance.cases._server_resume import (
    MODIFIED,
    PART,
    SIZE,
    SMALL,
    Upload,
    announce,
    begin,
    check_stored_once,
    complete,
    dumped,
    keep,
    need_resume,
    new_upload,
    resume,
    send_bytes,
)
from galileod.conformance.judge import Judge
from galileod.conformance.peer import Signal
from galileod.conformance.server import Server


@server_case(
    "8.1.6",
    "A key that is not 32 hexadecimal digits gets a fatal error.",
    requirements=("S8.4",),
    profile="resume",
)
async def bad_key(server: Server, judge: Judge) -> None:
    """Among them what some functions take for a hexadecimal number."""
    await need_resume(server)
    key = secrets.token_hex(16)
    keys: tuple[object, ...] = (
        "",
        key[1:],
        f"{key}0",
        f"g{key[1:]}",
        f" {key[1:]}",
        f"0x{key[2:]}",
        f"{key[:4]}_{key[5:]}",
        f"{key}\n",
        "\u0663" * 32,
        12345678901234567890123456789012,
        [key],
    )
    for bad in keys:
        async with server.connect() as connection:
            signal = await announce(connection, new_upload(server, SMALL), upload=bad)
            judge.check(
                "S8.4",
                signal.get("error") and signal.get("fatal"),
                f"expected a fatal error for the key {bad!r}, but {signal} came",
            )


@server_case(
    "8.1.7",
    "A key is the same in upper and in lower case.",
    requirements=("S8.5",),
    profile="resume",
)
async def case_of_key(server: Server, judge: Judge) -> None:
    """For an upload that was stored, where a server cannot have discarded it."""
    upload = new_upload(server, SMALL)
    async with server.connect() as connection:
        await complete(connection, upload, await begin(connection, upload), 0)
    for key in (upload.key.upper(), upload.key[:16].upper() + upload.key[16:]):
        async with server.connect() as connection:
            signal = await announce(connection, upload, upload=key)
            judge.check(
                "S8.5",
                signal.get("close"),
                f"expected close for the key of a stored upload in upper case, but {signal} came",
            )


@server_case(
    "8.1.8",
    "No signal of a server has the key.",
    requirements=("S8.5",),
    profile="resume",
)
async def key_is_secret(server: Server, judge: Judge) -> None:
    """Neither `ready` and `close` nor the errors about a key."""
    upload = new_upload(server, SMALL)
    signals = list[Signal]()
    async with server.connect() as connection:
        signals.append(await begin(connection, upload))
        async with server.connect() as other:
            signals.append(await announce(other, upload, size=SMALL + 1))
        await send_bytes(connection, upload, signals[0], 0, SMALL)
        signals.append(await connection.expect_ready())
        await connection.send_finished(upload.content)
        signals.append(await connection.expect_close())
    others: tuple[dict[str, Any], ...] = (
        {},
        {"size": SMALL + 1},
        {"abandon": True},
        {"upload": f"{upload.key}0"},
    )
    for more in others:
        async with server.connect() as connection:
            signals.append(await announce(connection, upload, **more))
    for signal in signals:
        judge.check("S8.5", upload.key not in dumped(signal), f"expected no key, but {signal} came")


OTHERS: Final[tuple[dict[str, Any], ...]] = (
    {"size": SIZE + 1},
    {"name": "conformance-other.bin"},
    {"folder": "june"},
    {"modified": MODIFIED + 1},
    {"modified": str(MODIFIED)},
    {"size": SIZE + 1, "abandon": True},
)
"""What may not differ where the key is the same. A string as time counts as none."""


async def _refuses_others(server: Server, upload: Upload) -> None:
    for other in OTHERS:
        async with server.connect() as connection:
            signal = await announce(connection, upload, **other)
            server.trial.judge.check(
                "S8.6",
                signal.get("error") and signal.get("fatal"),
                f"expected a fatal error for the key of another file ({other}), but {signal} came",
            )


@server_case(
    "8.1.9",
    "The key of a running upload with another name, size, folder or time is refused.",
    requirements=("S8.6",),
    profile="resume",
)
async def key_of_running(server: Server, judge: Judge) -> None:
    """The upload that runs is not affected."""
    del judge
    upload = new_upload(server)
    async with server.connect() as connection:
        ready = await begin(connection, upload)
        await _refuses_others(server, upload)
        await send_bytes(connection, upload, ready, 0, PART, "S8.6")
        await _refuses_others(server, upload)
        ready = await connection.expect_ready("S8.6")
        close = await complete(connection, upload, ready, PART, "S8.6")
        await check_stored_once(server, upload, close, "S8.6")


@server_case(
    "8.1.10",
    "The key of a kept or stored upload with another name, size, folder or time is refused.",
    requirements=("S8.6",),
    profile="resume",
)
async def key_of_kept(server: Server, judge: Judge) -> None:
    """What is kept is not affected."""
    upload = new_upload(server)
    before = await keep(server, upload)
    await _refuses_others(server, upload)
    async with server.connect() as connection:
        ready, offset = await resume(connection, upload, "S8.6")
        judge.check(
            "S8.6",
            offset >= before,
            f"expected the {before} bytes that were kept, but {offset} came as offset",
        )
        close = await complete(connection, upload, ready, offset, "S8.6")
    await _refuses_others(server, upload)
    async with server.connect() as connection:
        signal = await announce(connection, upload, folder=5)
        judge.check(
            "S8.6",
            signal.get("close"),
            f"expected that a number as folder counts as none, but {signal} came",
        )
    await check_stored_once(server, upload, close, "S8.6")


@server_case(
    "8.1.11",
    "The key of another user's upload is not known.",
    requirements=("S8.7",),
    profile="resume",
    needs=("token", "other_token"),
)
async def key_of_other_user(server: Server, judge: Judge) -> None:
    """While it runs, and after it was stored. An error is not judged: the name may be taken."""
    upload = new_upload(server)
    async with server.connect() as connection:
        ready = await begin(connection, upload)
        await send_bytes(connection, upload, ready, 0, PART)
        async with server.connect() as other:
            signal = await announce(other, upload, token=server.other_token)
            judge.check(
                "S8.7",
                not signal.get("ready") or signal.get("offset") == 0,
                f"expected the offset 0 for another user, but {signal} came",
            )
        ready = await connection.expect_ready("S8.7")
        await complete(connection, upload, ready, PART, "S8.7")
    async with server.connect() as other:
        signal = await announce(other, upload, token=server.other_token)
        judge.check(
            "S8.7",
            not signal.get("close") and signal.get("offset", 0) == 0,
            f"expected a new upload for another user, but {signal} came",
        )
