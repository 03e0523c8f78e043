"""Section 4, judging a client: the end of an upload."""

from typing import Final

from galileod.conformance.case import client_case
from galileod.conformance.cases._client_uploads import (
    expect_failure,
    expect_success,
    is_chunk,
    some_content,
    until_end,
)
from galileod.conformance.client import Client
from galileod.conformance.client_connection import ClientConnection
from galileod.conformance.events import Close, Message
from galileod.conformance.judge import Judge
from galileod.conformance.peer import as_signal, describe

SIZE: Final = 3000
CREDITS: Final = 3
"""Of 1000 bytes each: as many as the file has."""


@client_case(
    "4.2.1",
    "A client reports success after close, and then closes the connection with a Close frame.",
    requirements=("C4.1", "C4.4", "C4.6"),
)
async def plain_upload(client: Client, judge: Judge) -> None:
    """Chunks of 1000 bytes, one at a time; the first ready behind them asks for finished."""
    async with client.send(some_content(SIZE)) as run:
        connection = await run.accept()
        await connection.metadata()
        await _content(connection)
        await connection.ready()
        event = await connection.message()
        signal = as_signal(event)
        finished = signal is not None and signal.get("finished")
        sentence = f"expected finished as the answer to ready, {describe(event)}"
        if not judge.check("C4.1", finished, sentence) and is_chunk(event):
            await connection.receive_content(0)
        await connection.close_signal()
        _, event = await until_end(connection)
        expected = "expected a Close frame after close"
        judge.check("C4.6", isinstance(event, Close), f"{expected}, {describe(event)}")
        expect_success(judge, "C4.4", await run.outcome())


async def _content(connection: ClientConnection) -> None:
    """Take the chunks up to the last byte of a file of SIZE bytes, one `ready` for each."""
    missing = SIZE
    while missing > 0:
        await connection.ready(min(1000, missing))
        missing -= len(await connection.chunk())


@client_case(
    "4.2.2",
    "A ready that came before the last byte was sent is answered with finished behind it.",
    requirements=("C4.1",),
)
async def finished_in_advance(client: Client, judge: Judge) -> None:
    """All credits at once, and one more for `finished`."""
    async with client.send(some_content(SIZE)) as run:
        connection = await run.accept()
        await connection.metadata()
        for _ in range(CREDITS):
            await connection.ready(1000)
        await connection.ready()
        missing, answers = SIZE, 0
        while missing > 0:
            missing -= len(await connection.chunk("C4.1"))
            answers += 1
            if answers > CREDITS:  # it has sent less than its credits permit
                await connection.ready(max(1, missing))
        await connection.finished("C4.1")
        await connection.close_signal()
        expect_success(judge, "C4.1", await run.outcome())


@client_case(
    "4.2.3",
    "The hash in finished is that of the whole file, in hexadecimal.",
    requirements=("C4.2",),
)
async def hash_of_file(client: Client, judge: Judge) -> None:
    """A file of several chunks. A client need not send a hash."""
    async with client.send(some_content(10_007)) as run:
        connection = await run.accept()
        received = await connection.receive_file(chunksize=1000)
        if received.finished.get("hash") is None:
            judge.info("the client sends no hash")
        await connection.close_signal()
        await run.outcome()


@client_case(
    "4.2.4",
    "A client sends no byte of the file after finished, and waits for the answer.",
    requirements=("C4.3", "C4.4", "C4.8"),
)
async def after_finished(client: Client, judge: Judge) -> None:
    """Further ready signals come, and `close` a second later."""
    async with client.send(some_content(SIZE)) as run:
        connection = await run.accept()
        await connection.receive_file(chunksize=1000)
        for _ in range(3):
            await connection.ready(1000)
        event = await connection.silent()
        while isinstance(event, Message):
            event = await connection.silent()
        judge.check("C4.8", event is None, f"expected the client to wait, {describe(event)}")
        await connection.close_signal()
        expect_success(judge, "C4.4", await run.outcome())


@client_case(
    "4.2.5",
    "An empty file is sent with finished, behind at most one empty chunk.",
    requirements=("C4.7", "C2.2"),
)
async def empty_file(client: Client, judge: Judge) -> None:
    """One `ready` at a time, the first one after a while."""
    async with client.send(b"", name="empty.bin") as run:
        connection = await run.accept()
        metadata = await connection.metadata()
        size = metadata["size"]
        judge.check("C2.2", size == 0, f"expected the size 0, but {size!r} came")
        early = await connection.silent()
        judge.require(None, early is None, f"expected nothing before ready, {describe(early)}")
        await connection.ready()
        event = await connection.message()
        if isinstance(event, Message) and is_chunk(event):
            empty = not event.data
            judge.require("C4.7", empty, f"expected finished or an empty chunk, {describe(event)}")
            await connection.ready()
            event = await connection.message()
        signal = as_signal(event)
        finished = signal is not None and signal.get("finished")
        judge.require("C4.7", finished, f"expected finished, {describe(event)}")
        await connection.close_signal()
        expect_success(judge, "C4.7", await run.outcome())


@client_case("4.2.6", "close as the answer to the metadata is a failure.", requirements=("C4.5",))
async def close_at_once(client: Client, judge: Judge) -> None:
    """No extension is agreed."""
    async with client.send(some_content(SIZE)) as run:
        connection = await run.accept()
        await connection.metadata()
        await _close_and_end(connection)
        expect_failure(judge, "C4.5", await run.outcome(), "close before the first ready")


@client_case("4.2.7", "close in the middle of the file is a failure.", requirements=("C4.5",))
async def close_in_the_middle(client: Client, judge: Judge) -> None:
    """After the first chunk."""
    async with client.send(some_content(SIZE)) as run:
        connection = await run.accept()
        await connection.metadata()
        await connection.ready(1000)
        await connection.chunk()
        await _close_and_end(connection)
        expect_failure(judge, "C4.5", await run.outcome(), "close in the middle of the file")


@client_case(
    "4.2.8", "close between the last byte and finished is a failure.", requirements=("C4.5",)
)
async def close_before_finished(client: Client, judge: Judge) -> None:
    """No `ready` asks for finished."""
    async with client.send(some_content(SIZE)) as run:
        connection = await run.accept()
        await connection.metadata()
        await _content(connection)
        await _close_and_end(connection)
        expect_failure(judge, "C4.5", await run.outcome(), "close before finished was sent")


async def _close_and_end(connection: ClientConnection) -> None:
    await connection.close_signal()
    await connection.websocket.send_close()


@client_case(
    "4.2.9",
    "A Close frame without close, in the middle of the file, is a failure.",
    requirements=("C4.5",),
)
async def close_frame_in_the_middle(client: Client, judge: Judge) -> None:
    """With the code 1000."""
    async with client.send(some_content(SIZE)) as run:
        connection = await run.accept()
        await connection.metadata()
        await connection.ready(1000)
        await connection.chunk()
        await connection.websocket.send_close(1000)
        expect_failure(judge, "C4.5", await run.outcome(), "a Close frame with the code 1000")


@client_case(
    "4.2.10",
    "A Close frame without close, after finished, is a failure.",
    requirements=("C4.5",),
)
async def close_frame_after_finished(client: Client, judge: Judge) -> None:
    """With the code 1000."""
    async with client.send(some_content(SIZE)) as run:
        connection = await run.accept()
        await connection.receive_file(chunksize=1000)
        await connection.websocket.send_close(1000)
        expect_failure(judge, "C4.5", await run.outcome(), "a Close frame with the code 1000")


@client_case(
    "4.2.11",
    "The end of the connection before finished is a failure.",
    requirements=("C4.5",),
)
async def end_before_finished(client: Client, judge: Judge) -> None:
    """All bytes have arrived, and no Close frame is sent."""
    async with client.send(some_content(SIZE)) as run:
        connection = await run.accept()
        await connection.metadata()
        await _content(connection)
        await connection.websocket.aclose()
        expect_failure(judge, "C4.5", await run.outcome(), "the end of the connection")


@client_case(
    "4.2.12",
    "The end of the connection between finished and close is a failure.",
    requirements=("C4.5",),
)
async def end_after_finished(client: Client, judge: Judge) -> None:
    """No Close frame is sent."""
    async with client.send(some_content(SIZE)) as run:
        connection = await run.accept()
        await connection.receive_file(chunksize=1000)
        await connection.websocket.aclose()
        expect_failure(judge, "C4.5", await run.outcome(), "the end of the connection")


@client_case(
    "4.2.13",
    "A reset of the connection between finished and close is a failure.",
    requirements=("C4.5",),
)
async def reset_after_finished(client: Client, judge: Judge) -> None:
    """RST."""
    async with client.send(some_content(SIZE)) as run:
        connection = await run.accept()
        await connection.receive_file(chunksize=1000)
        await connection.websocket.abort()
        expect_failure(judge, "C4.5", await run.outcome(), "a reset of the connection")
