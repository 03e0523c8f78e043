"""Section 1, judging a client: signals in both directions."""

from typing import Any, Final

from galileod.conformance.case import client_case
from galileod.conformance.cases._client_uploads import (
    MOMENT,
    complete,
    expect_failure,
    expect_success,
    fails_after,
    padded,
    send_all,
    some_content,
    succeeds_with,
)
from galileod.conformance.client import Client
from galileod.conformance.judge import Judge

KIB: Final = 1024


@client_case(
    "1.2.1",
    "Metadata and finished are each one TEXT message with one JSON object in UTF-8.",
    requirements=("C1.1",),
)
async def text_messages(client: Client, judge: Judge) -> None:
    """The file's name is not ASCII."""
    del judge
    async with client.send(some_content(2000), name="größe-日本.bin") as run:
        connection = await run.accept()
        await connection.receive_file(chunksize=1000, requirement="C1.1")
        await connection.close_signal()
        await run.outcome()


@client_case(
    "1.2.2",
    "A client sends metadata once, finished, and no other signal.",
    requirements=("C1.8", "C2.3"),
)
async def no_other_signals(client: Client, judge: Judge) -> None:
    """One upload with warnings and unknown signals, and one that fails in the middle."""
    del judge
    async with client.send(some_content(5000), name="stored.bin") as run:
        connection = await run.accept()
        await connection.metadata()
        await connection.error("a warning", fatal=False)
        missing = 5000
        while missing > 0:
            await send_all(connection, {"ready": True, "chunksize": 1000}, {"unknown": True})
            missing -= len(await connection.chunk())
        await connection.receive_content(0)
        await connection.error("another warning", fatal=False)
        await connection.close_signal()
        await run.outcome()
    async with client.send(some_content(5000), name="refused.bin") as run:
        connection = await run.accept()
        await connection.metadata()
        await connection.ready(1000)
        await connection.chunk()
        await connection.error()
        await run.outcome()


@client_case(
    "1.2.3",
    "A client ignores keys that it does not know, whatever their value.",
    requirements=("C1.2",),
)
async def unknown_keys(client: Client, judge: Judge) -> None:
    """In every signal of an upload: ready, warning and close."""
    unknown: dict[str, Any] = {
        "x-null": None,
        "x-false": False,
        "x-number": -1.5e3,
        "x-large": 2**70,
        "x-text": 'é日\u0000"\\',
        "x-list": [[], {}, [1, [2, [3]]]],
        "x-object": {"ready": False, "error": "no error", "close": True, "chunksize": 1},
        "größe": 1,
        "": "",
        "finished": True,
        "hash": None,
        "Error": "no error",
    }
    warning = {"error": "a warning", **unknown}
    close = {"close": True, **unknown}
    await succeeds_with(client, judge, "C1.2", warning, last=close, **unknown)


@client_case("1.2.4", "A client takes the number 1 for true.", requirements=("C1.3",))
async def one_for_true(client: Client, judge: Judge) -> None:
    """In `ready` and `close`, and in `fatal` of an upload that fails."""
    await succeeds_with(client, judge, "C1.3", ready=1, last={"close": 1})
    async with client.send(some_content(3000), name="refused.bin") as run:
        connection = await run.accept()
        await connection.metadata()
        await connection.send({"error": "refused", "fatal": 1})
        await complete(connection)
        expect_failure(judge, "C1.3", await run.outcome(), 'an error with "fatal": 1')


@client_case("1.2.5", "A TEXT message that is not JSON is a failure.", requirements=("C1.4",))
async def no_json(client: Client, judge: Judge) -> None:
    """Text, JSON that is cut off, and nothing, each between two chunks."""
    for text in ("ready", '{"ready": true', ""):
        await fails_after(client, judge, "C1.4", text, f"the message {text!r}")


@client_case("1.2.6", "JSON that is not an object is a failure.", requirements=("C1.4",))
async def no_object(client: Client, judge: Judge) -> None:
    """An array, a string, and null, each between two chunks."""
    for text in ('[{"ready": true}]', '"ready"', "null"):
        await fails_after(client, judge, "C1.4", text, f"the message {text}")


@client_case("1.2.7", "A fatal error that also has close is a failure.", requirements=("C1.5",))
async def error_before_close(client: Client, judge: Judge) -> None:
    """Where `close` would come."""
    async with client.send(some_content(3000)) as run:
        connection = await run.accept()
        await connection.receive_file(chunksize=1000)
        await connection.error("refused", fatal=True, close=True)
        expect_failure(judge, "C1.5", await run.outcome(), "a fatal error that also has close")


@client_case(
    "1.2.8",
    "A client tests for error first, then for ready, then for close.",
    requirements=("C1.5",),
)
async def order_of_keys(client: Client, judge: Judge) -> None:
    """A `ready` that also has `close`, and a warning that also has both."""
    content = some_content(5000)
    async with client.send(content) as run:
        connection = await run.accept()
        await connection.metadata()
        await connection.ready(1000, close=True)
        missing = len(content) - len(await connection.chunk("C1.5"))
        await connection.error("a warning", fatal=False, ready=True, close=True, chunksize=1000)
        sentence = "expected no answer to a warning that also has ready and close"
        await connection.expect_nothing("C1.5", sentence, MOMENT)
        await connection.receive_content(missing, chunksize=1000, requirement="C1.5")
        await connection.close_signal()
        expect_success(judge, "C1.5", await run.outcome())


@client_case(
    "1.2.9",
    "error, ready and close count as absent if their value is falsy.",
    requirements=("C1.6",),
)
async def falsy_values(client: Client, judge: Judge) -> None:
    """Beside a key that is truthy, and alone."""
    falsy: tuple[Any, ...] = (None, False, 0, "")
    content = some_content(8000)
    missing = len(content)
    async with client.send(content) as run:
        connection = await run.accept()
        await connection.metadata()
        for value in falsy:
            await connection.ready(1000, error=value, fatal=True, close=value)
            missing -= len(await connection.chunk("C1.6"))
        for value in falsy:
            signal = {"error": value, "fatal": True, "ready": value, "close": value}
            await connection.send({**signal, "chunksize": 1000})
        await connection.expect_nothing(
            "C1.6", "expected no answer to signals in which every value is falsy", MOMENT
        )
        await connection.receive_content(missing, chunksize=1000, requirement="C1.6")
        await connection.error("a warning", fatal=False, ready=False, close=None)
        await connection.close_signal(error=None, fatal=True, ready=False)
        expect_success(judge, "C1.6", await run.outcome())


@client_case(
    "1.2.10",
    "A client ignores a signal without error, ready and close.",
    requirements=("C1.7",),
)
async def unknown_signals(client: Client, judge: Judge) -> None:
    """At each stage of an upload."""
    signals: tuple[dict[str, Any], ...] = (
        {},
        {"progress": 0.5},
        {"finished": True},
        {"fatal": True, "code": "conflict"},
        {"name": "other.bin", "size": 1},
    )
    await succeeds_with(client, judge, "C1.7", *signals)


@client_case("1.2.11", "A client accepts signals of 16 KiB.", requirements=("C1.9",))
async def signals_of_16_kib(client: Client, judge: Judge) -> None:
    """Warnings, unknown signals, and `close`."""
    await _long_signals(client, judge, "C1.9", 16 * KIB)


@client_case("1.2.12", "A client accepts signals of 64 KiB.", requirements=("C1.11",))
async def signals_of_64_kib(client: Client, judge: Judge) -> None:
    """Warnings, unknown signals, and `close`."""
    await _long_signals(client, judge, "C1.11", 64 * KIB)


async def _long_signals(client: Client, judge: Judge, requirement: str, length: int) -> None:
    warning = padded({"error": "a warning"}, length)
    unknown = padded({}, length)
    close = padded({"close": True}, length)
    await succeeds_with(client, judge, requirement, warning, unknown, last=close)


@client_case("1.2.13", "A BINARY message of the server is a failure.", requirements=("C1.10",))
async def binary_message(client: Client, judge: Judge) -> None:
    """One that would be a signal in a TEXT message, between two chunks."""
    await fails_after(client, judge, "C1.10", b'{"ready": true}', "a BINARY message")
