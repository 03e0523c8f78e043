"""SIGKILL while data arrives and while files are published."""

from typing import Final

from filesystems.hosts import MakeHost, check_ledger, stored
from helpers.clients import expect_ready, open_websocket, say
from helpers.crashing import Uploads
from helpers.daemon import Daemon
from helpers.reloading import rewrite

CONFIRMED: Final = 12
"""Files that are confirmed before each kill; others are on their way at that moment."""


def test_only_complete_files_survive_a_kill(make_host: MakeHost) -> None:
    check_kills(make_host(), "")


def check_kills(host: Daemon, folder: str) -> None:
    """Kill the daemon while it is busy; its files are in this folder of its directory."""
    uploads = Uploads(host)
    checked: set[str] = set()
    with uploads.running():
        # Each is published in another way.
        for on_conflict in ("rename", "replace"):
            rewrite(host, {"storage": {"on_conflict": on_conflict}})
            host.start()
            assert not host.spooled()
            check_ledger(host)
            with open_websocket(host.url) as websocket:
                say(websocket, name="half.bin", size=100_000)
                expect_ready(websocket)
                websocket.send(bytes(50_000))
                uploads.up.set()
                uploads.wait_for(CONFIRMED)
                host.kill()
            uploads.up.clear()
            uploads.check_files(host.directory / folder, checked)
    uploads.check_files(host.directory / folder, checked)
    host.start()
    assert not host.spooled()
    check_ledger(host)
    stored(host, "after.bin", b"after")
