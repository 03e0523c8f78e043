"""Section 8, judging a server: two connections for one upload, and abandoning."""

from galileod.conformance.case import server_case
from galileod.conformance.cases._server_resume import (
    PART,
    SIZE,
    SMALL,
    Upload,
    announce,
    begin,
    check_not_stored,
    check_stored_once,
    complete,
    keep,
    need_resume,
    new_upload,
    resume,
    send_bytes,
    wait_received,
)
from galileod.conformance.judge import Judge
from galileod.conformance.server import Server
from galileod.conformance.server_connection import ServerConnection


async def _expect_code(
    connection: ServerConnection, code: str, requirement: str, sentence: str
) -> None:
    error = await connection.expect_error(requirement, sentence)
    connection.trial.judge.check(
        requirement,
        error.get("code") == code,
        f"expected an error with the code {code}, but {error} came",
    )


@server_case(
    "8.1.24",
    "A newer connection takes over the upload, before data and within it.",
    requirements=("S8.19",),
    profile="resume",
)
async def newer_wins(server: Server, judge: Judge) -> None:
    """Three connections; the first has sent nothing, the second a part."""
    del judge
    upload = new_upload(server)
    async with server.connect() as first:
        await begin(first, upload)
        async with server.connect() as second:
            ready, offset = await resume(second, upload, "S8.19")
            await _expect_taken_over(first)
            await send_bytes(second, upload, ready, offset, PART)
            await wait_received(second)
            async with server.connect() as third:
                ready, offset = await resume(third, upload, "S8.19")
                await _expect_taken_over(second)
                close = await complete(third, upload, ready, offset, "S8.19")
    await check_stored_once(server, upload, close, "S8.19")


async def _expect_taken_over(connection: ServerConnection) -> None:
    await _expect_code(
        connection, "taken_over", "S8.19", "expected taken_over on the older connection"
    )


@server_case(
    "8.1.25",
    "A newer connection takes over an upload that only waits for finished.",
    requirements=("S8.19",),
    profile="resume",
)
async def newer_wins_at_the_end(server: Server, judge: Judge) -> None:
    """What the older one sends then has no effect."""
    del judge
    upload = new_upload(server)
    async with server.connect() as older:
        await send_bytes(older, upload, await begin(older, upload), 0, SIZE)
        await older.expect_ready()
        async with server.connect() as newer:
            ready, offset = await resume(newer, upload, "S8.19")
            await older.send_finished(upload.content)
            await _expect_taken_over(older)
            await check_not_stored(server, upload, "S8.19", "by the connection taken over")
            close = await complete(newer, upload, ready, offset, "S8.19")
    await check_stored_once(server, upload, close, "S8.19")


@server_case(
    "8.1.26",
    "Metadata that arrive behind finished get its result, and nothing is stored twice.",
    requirements=("S8.20",),
    profile="resume",
)
async def behind_finished(server: Server, judge: Judge) -> None:
    """Both are sent at the same time; the server may also see the metadata first."""
    upload = new_upload(server)
    async with server.connect() as newer, server.connect() as older:
        await send_bytes(older, upload, await begin(older, upload), 0, SIZE)
        await older.expect_ready()
        await older.send_finished(upload.content)
        signal = await announce(newer, upload)
        if signal.get("ready"):
            error = await older.expect_error(
                "S8.20", "expected taken_over where the newer connection gets ready"
            )
            judge.check("S8.20", error.get("code") == "taken_over", f"{error} came")
            close = await complete(newer, upload, signal, int(signal.get("offset", 0)), "S8.20")
        else:
            close = await older.expect_close("S8.20", "expected close on the older connection")
            judge.check(
                "S8.20",
                signal.get("close") or signal.get("code") == "busy",
                f"expected close or busy on the newer connection, but {signal} came",
            )
            name = close.get("name", upload.name)
            judge.check(
                "S8.20",
                not signal.get("close") or signal.get("name", upload.name) == name,
                f"expected the name {name} on the newer connection too, but {signal} came",
            )
    await check_stored_once(server, upload, close, "S8.20")


@server_case(
    "8.1.27",
    "An upload that its client abandons is discarded, at each stage before finished.",
    requirements=("S8.21",),
    profile="resume",
)
async def abandoned(server: Server, judge: Judge) -> None:
    """Before data, within them, and behind the last byte; `true` or 1, with and without `file`."""
    del judge
    for stop, signal in (
        (0, {"abandon": True}),
        (PART, {"abandon": 1}),
        (SIZE, {"abandon": True, "file": 0}),
    ):
        upload = new_upload(server)
        async with server.connect() as connection:
            ready = await begin(connection, upload)
            await send_bytes(connection, upload, ready, 0, stop)
            await connection.send(signal)
            await _expect_code(
                connection, "abandoned", "S8.21", f"expected abandoned after {stop} bytes"
            )
        await _expect_discarded(server, upload, "S8.21")
    upload = new_upload(server)
    await keep(server, upload)
    async with server.connect() as connection:
        await resume(connection, upload)
        await connection.send({"abandon": True})
        await _expect_code(
            connection, "abandoned", "S8.21", "expected abandoned for a resumed upload"
        )
    await _expect_discarded(server, upload, "S8.21")


async def _expect_discarded(server: Server, upload: Upload, requirement: str) -> None:
    await check_not_stored(server, upload, requirement, "after abandon")
    async with server.connect() as connection:
        ready = await announce(connection, upload)
        server.trial.judge.check(
            requirement,
            ready.get("ready") and ready.get("offset") == 0,
            f"expected the offset 0 for an abandoned upload, but {ready} came",
        )


@server_case(
    "8.1.28",
    "An abandon that comes behind finished has no effect.",
    requirements=("S8.21",),
    profile="resume",
)
async def abandoned_too_late(server: Server, judge: Judge) -> None:
    """Both are sent at once."""
    del judge
    upload = new_upload(server)
    async with server.connect() as connection:
        await send_bytes(connection, upload, await begin(connection, upload), 0, SIZE)
        await connection.expect_ready()
        await connection.send_finished(upload.content)
        await connection.send({"abandon": True})
        close = await connection.expect_close("S8.21", "expected close for abandon after finished")
    await check_stored_once(server, upload, close, "S8.21")


@server_case(
    "8.1.29",
    "Metadata with abandon discard what is kept.",
    requirements=("S8.22",),
    profile="resume",
)
async def abandoned_by_metadata(server: Server, judge: Judge) -> None:
    """A kept upload, twice, and a key that is not known."""
    del judge
    await need_resume(server)
    for value in (True, 1):
        unknown = new_upload(server, SMALL)
        async with server.connect() as connection:
            await _abandon(connection, unknown, value)
        await _expect_discarded(server, unknown, "S8.22")
    upload = new_upload(server)
    await keep(server, upload)
    for _ in range(2):
        async with server.connect() as connection:
            await _abandon(connection, upload, value=True)
    await _expect_discarded(server, upload, "S8.22")


@server_case(
    "8.1.30",
    "Metadata with abandon take over an upload that runs, and discard it.",
    requirements=("S8.19", "S8.22"),
    profile="resume",
)
async def abandoned_while_running(server: Server, judge: Judge) -> None:
    """A part of the file was sent."""
    del judge
    upload = new_upload(server)
    async with server.connect() as older, server.connect() as newer:
        await send_bytes(older, upload, await begin(older, upload), 0, PART)
        await _abandon(newer, upload, value=True)
        await _expect_taken_over(older)
    await _expect_discarded(server, upload, "S8.22")


async def _abandon(connection: ServerConnection, upload: Upload, value: object) -> None:
    signal = await announce(connection, upload, abandon=value)
    connection.trial.judge.check(
        "S8.22",
        signal.get("error") and signal.get("code") == "abandoned",
        f"expected an error with the code abandoned, but {signal} came",
    )


@server_case(
    "8.1.31",
    "Metadata with abandon of a stored upload are answered with close.",
    requirements=("S8.22",),
    profile="resume",
)
async def abandoned_but_stored(server: Server, judge: Judge) -> None:
    """The file stays."""
    upload = new_upload(server, SMALL)
    async with server.connect() as connection:
        close = await complete(connection, upload, await begin(connection, upload), 0)
    async with server.connect() as connection:
        signal = await announce(connection, upload, abandon=True)
        judge.check(
            "S8.22",
            signal.get("close"),
            f"expected close for abandon of a stored upload, but {signal} came",
        )
    await check_stored_once(server, upload, close, "S8.22")
