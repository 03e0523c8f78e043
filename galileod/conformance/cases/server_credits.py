"""Section 3, judging a server: each `ready` is a credit for one chunk."""

from galileod.conformance.case import server_case
from galileod.conformance.judge import Judge
from galileod.conformance.server import Server


@server_case("3.1.1", "A file of several chunks is stored as it was sent.", requirements=("S3.2",))
async def plain_upload(server: Server, judge: Judge) -> None:
    """Three chunks and a rest."""
    name, content = server.name(), bytes(range(256)) * 40
    async with server.connect(content=content) as connection:
        await connection.upload(name, content, chunk=3000, requirement="S3.2")
        stored = await server.stored(name)
        got = "nothing" if stored is None else f"{len(stored)} other bytes"
        judge.check(
            "S3.2", stored == content, f"expected the {len(content)} bytes sent, but {got} stored"
        )
