"""Section 5, judging a server: errors."""

from galileod.conformance.case import server_case
from galileod.conformance.judge import Judge
from galileod.conformance.server import Server


@server_case("5.1.1", "BINARY before the metadata gets a fatal error.", requirements=("S5.1",))
async def binary_first(server: Server, judge: Judge) -> None:
    """A chunk as the first message."""
    del judge
    async with server.connect() as connection:
        await connection.send_chunk(b"data")
        await connection.expect_error("S5.1")
