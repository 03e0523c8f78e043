"""Unix sockets of `server.listen`: whose file is removed at the end."""

import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from galileod.daemon.listeners import open_listeners
from galileod.net.addresses import UnixAddress

pytestmark = pytest.mark.timeout(20)


@pytest.mark.parametrize(
    ("meanwhile", "is_there", "events"),
    [
        ("nothing", False, []),
        ("removed", False, ["server.leftover"]),
        ("replaced", True, []),
    ],
)
async def test_its_own_file_is_removed_and_no_other(
    run_folder: Path, meanwhile: str, is_there: bool, events: list[str]
) -> None:
    path = run_folder / "galileod.sock"
    with socket.socket(socket.AF_UNIX) as other, capture_logs() as logs:
        listeners = await open_listeners([UnixAddress(str(path))])
        if meanwhile != "nothing":
            path.unlink()
        if meanwhile == "replaced":
            other.bind(str(path))
        listeners.remove()
        for listener in listeners.own:
            await listener.socket.aclose()
    assert path.exists() is is_there
    assert [line["event"] for line in logs] == events
