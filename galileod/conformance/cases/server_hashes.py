"""Section 4, judging a server: the hash in `finished`."""

import json

from galileod.conformance.case import server_case
from galileod.conformance.cases._server_uploads import (
    SEVERAL,
    check_absent,
    check_refused,
    check_stored,
    check_upload,
    make_content,
    send_until_finished,
)
from galileod.conformance.judge import Judge
from galileod.conformance.peer import Signal
from galileod.conformance.server import Server
from galileod.conformance.server_connection import digest


@server_case(
    "4.1.5",
    "A hash of other data gets a fatal error, and the file is not stored.",
    requirements=("S4.5", "S4.9"),
)
async def wrong_hash(server: Server, judge: Judge) -> None:
    """For an empty file, a short one, and one of several chunks."""
    names: dict[str, str] = {}
    for size in (0, 1001, SEVERAL):
        content = make_content(size)
        for what, value in _wrong_values(content).items():
            name = server.name()
            names[name] = f"a hash {what}"
            async with server.connect(content=content) as connection:
                await send_until_finished(connection, name, content)
                await connection.send({"finished": True, "hash": {"type": "sha1", "value": value}})
                await check_refused(
                    connection, judge, "S4.5", f"a hash {what}, of {size} bytes", passing_ready=True
                )
    await check_absent(server, judge, "S4.9", names)


def _wrong_values(content: bytes) -> dict[str, str]:
    """Values that are not the sha1 of `content`; for a large one, only those of other data."""
    right = digest(content)["value"]
    wrong = {"of another file": digest(make_content(len(content) + 1, which=1))["value"]}
    if content:
        wrong["of the file without its last byte"] = digest(content[:-1])["value"]
    if len(content) < SEVERAL:
        wrong["of another file, in upper case"] = digest(b"another")["value"].upper()
        wrong["with another last digit"] = right[:-1] + ("1" if right[-1] == "0" else "0")
        wrong["without the last digit"] = right[:-1]
        wrong["with one more digit"] = right + "0"
        wrong["without a digit"] = ""
    return wrong


@server_case(
    "4.1.6",
    "The type of a hash and its digits may be in upper case.",
    requirements=("S4.6",),
)
async def upper_case(server: Server, judge: Judge) -> None:
    """Each of them, and both, and a mixture."""
    content = make_content(1001)
    value = digest(content)["value"]
    mixed = "".join(digit.upper() if at % 2 else digit for at, digit in enumerate(value))
    for kind, digits in (
        ("sha1", value.upper()),
        ("SHA1", value),
        ("SHA1", value.upper()),
        ("Sha1", mixed),
    ):
        name = server.name()
        async with server.connect(content=content) as connection:
            await send_until_finished(connection, name, content)
            await connection.send({"finished": True, "hash": {"type": kind, "value": digits}})
            close = await connection.expect_close("S4.6", f"expected close for {kind} {digits}")
            await check_stored(server, judge, "S4.6", close.get("name", name), content)


@server_case(
    "4.1.7",
    "A hash of a type that no server knows gets a fatal error.",
    requirements=("S4.7",),
)
async def unknown_hash(server: Server, judge: Judge) -> None:
    """Its value is that of the sha1, which a server might compare nevertheless."""
    for content in (b"", make_content(1001)):
        for kind in ("conformance", "sha1-conformance", ""):
            async with server.connect(content=content) as connection:
                await send_until_finished(connection, server.name(), content)
                value = {"type": kind, "value": digest(content)["value"]}
                await connection.send({"finished": True, "hash": value})
                await check_refused(
                    connection, judge, "S4.7", f"a hash of the type {kind!r}", passing_ready=True
                )


@server_case(
    "4.1.8",
    "Finished without a hash is accepted, unless the server requires one.",
    requirements=("S4.8",),
)
async def no_hash(server: Server, judge: Judge) -> None:
    """`hash` absent, and `null`."""
    finishes: tuple[Signal, ...] = ({"finished": True}, {"finished": True, "hash": None})
    for content in (b"", make_content(1001)):
        for finished in finishes:
            name = server.name()
            async with server.connect(content=content) as connection:
                await send_until_finished(connection, name, content)
                await connection.send(finished)
                signal = await connection.signal() or {}
                if signal.get("error") and signal.get("code") == "hash_required":
                    judge.info("the server requires a hash")
                    return
                judge.require(
                    "S4.8",
                    signal.get("close"),
                    f"expected close for {json.dumps(finished)}, but {signal or 'nothing'} came",
                )
                await check_stored(server, judge, "S4.8", signal.get("name", name), content)


@server_case(
    "4.1.14",
    "Hashes of the types sha256, sha512 and blake2b are accepted and compared.",
    requirements=("S4.5", "S4.15"),
)
async def other_hashes(server: Server, judge: Judge) -> None:
    """The right one of each type, and a wrong one."""
    content, short = make_content(SEVERAL), make_content(1001)
    for kind in ("sha256", "sha512", "blake2b"):
        async with server.connect(content=short) as connection:
            await send_until_finished(connection, server.name(), short)
            await connection.send_finished(short[1:], kind)
            what = f"a wrong hash of the type {kind}"
            await check_refused(connection, judge, "S4.5", what, passing_ready=True)
        await check_upload(server, judge, "S4.15", content, kind=kind)
