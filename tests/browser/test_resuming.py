"""Uploads over a line that breaks, to a daemon that stops and dies: they go on by themselves."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from browser.line import BUFFER, ROOM, Line
from browser.resuming import (
    RECONNECTING,
    START,
    UNTROUBLED,
    check_stored_once,
    choose,
    large_file,
    logged,
    run_until_reconnected,
)
from browser.tab import OpenPage, Tab, http
from helpers.clients import some_bytes, unique_name
from helpers.daemon import Daemon, Daemons, Settings
from helpers.rounds import report, rounds
from playwright.sync_api import Page, expect

MIB: Final = 1 << 20
SIZE: Final = rounds(48 * MIB, 1 << 30)
ROUNDS: Final = rounds(1, 3)
IN_FLIGHT: Final = 4
CHUNK: Final = rounds(256 * 1024, 8 * MIB)

LOSS: Final = 2 * ROOM + BUFFER
"""Bytes in the line's own buffers: a cut loses them, whatever the client does."""

WINDOW: Final = 2 * IN_FLIGHT * CHUNK + 4 * MIB
"""Bytes that the daemon has read, or could read, and does not have on disk."""

PHOTOS: Final = rounds(120, 3000)
SETTINGS: Final[Settings] = {
    "server": {"drain_timeout": 0.2},
    "timeouts": {"close": 1},
    "chunks": {"max": CHUNK, "max_in_flight": IN_FLIGHT},
}

SECONDS: Final = rounds(60, 900)

pytestmark = pytest.mark.timeout(SECONDS + 60)


@pytest.fixture
def frail(daemon: Daemons) -> Daemon:
    """A daemon that stops at once."""
    return daemon(SETTINGS)


@pytest.fixture
def line(frail: Daemon) -> Iterator[Line]:
    with Line(frail) as line:
        yield line


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return large_file(tmp_path / unique_name(), SIZE)


def cut(host: Daemon, line: Line, page: Page) -> None:
    line.cut()


def refuse(host: Daemon, line: Line, page: Page) -> None:
    line.refuse()
    line.cut()
    line.wait_until_refused(2)
    line.accept()


def stall(host: Daemon, line: Line, page: Page) -> None:
    opened = line.opened
    line.stall()
    run_until_reconnected(page, line, opened)


def stop(host: Daemon, line: Line, page: Page) -> None:
    host.stop()
    host.start()


def kill(host: Daemon, line: Line, page: Page) -> None:
    host.kill()
    host.start()


FAULTS: Final = (cut, stop, stall, kill, refuse) * ROUNDS


def disturb(host: Daemon, line: Line, page: Page) -> None:
    """Let each connection carry a part of the file, and end it by one fault after the other."""
    line.hold(SIZE // (len(FAULTS) + 2))
    for fault in FAULTS:
        line.wait_until_held()
        fault(host, line, page)
    line.wait_until_held()
    line.release()


def check_economy(host: Daemon, line: Line, path: Path) -> None:
    """Each fault was one continuation, and hardly a byte was carried twice."""
    assert len(logged(host, "upload.resumed", name=path.name)) == len(FAULTS)
    assert len(logged(host, "upload.started", name=path.name)) == 1
    report(f"carried {line.carried / SIZE:.4f} x the size, over {len(FAULTS)} faults")
    assert line.carried <= SIZE + len(FAULTS) * LOSS + 2 * ROUNDS * WINDOW
    assert line.carried <= 1.02 * SIZE or SIZE < 1 << 30


@pytest.mark.parametrize("name", ["upload", "uploadAll"])
def test_a_large_file_goes_on_after_each_fault_of_line_and_daemon(
    frail: Daemon, line: Line, blank: Callable[[str], Tab], large: Path, name: str
) -> None:
    tab = blank(http(frail, line.port))
    tab.allow_complaint(RECONNECTING)
    tab.page.clock.install()
    choose(tab, large)
    tab.page.evaluate(START, {"name": name})
    disturb(frail, line, tab.page)
    assert tab.page.evaluate("outcome") == UNTROUBLED
    check_stored_once(frail, large)
    check_economy(frail, line, large)


def test_the_page_goes_on_with_a_large_file_after_each_fault(
    frail: Daemon, line: Line, upload_page: OpenPage, large: Path
) -> None:
    page = upload_page(frail, port=line.port)
    page.tab.allow_complaint(RECONNECTING)
    page.page.clock.install()
    page.choose(large)
    disturb(frail, line, page.page)
    page.expect_states(["stored"])
    expect(page.status()).to_have_text("Stored, verified")
    check_stored_once(frail, large)
    check_economy(frail, line, large)


def photos(folder: Path) -> list[Path]:
    """Files of mixed sizes: most are sent in one go, some are kept when they are interrupted."""
    sizes = random.Random(1)
    paths = []
    for number in range(PHOTOS):
        size = sizes.choice((0, 1, 4_000, 90_000, 262_144, 262_145, 400_000, 1_100_000))
        path = folder / f"{unique_name()}-{number}.jpg"
        path.write_bytes(some_bytes(size, number))
        paths.append(path)
    return paths


def test_the_page_stores_many_photos_over_a_line_that_breaks(
    frail: Daemon, line: Line, upload_page: OpenPage, tmp_path: Path
) -> None:
    paths = photos(tmp_path)
    size = sum(path.stat().st_size for path in paths)
    page = upload_page(frail, port=line.port)
    page.tab.allow_complaint(RECONNECTING)
    page.page.clock.install()
    moments = random.Random(2)
    line.cut_after(lambda: moments.randint(1 * MIB, 8 * MIB))
    began = time.monotonic()
    page.choose(*paths)
    faults = (stop, stall, kill, refuse)
    for number, fault in enumerate(faults):
        line.wait_until_carried(size * (number + 1) // (len(faults) + 2))
        fault(frail, line, page.page)
    expect(page.page.locator("#overall")).to_be_hidden(timeout=1000 * SECONDS)
    expect(page.page.locator("#total")).to_contain_text(f"{PHOTOS:,} of {PHOTOS:,} stored")
    seconds = time.monotonic() - began
    report(
        f"{PHOTOS} photos, {size} bytes, {line.carried} carried, {line.cuts} cuts, {seconds:.1f} s"
    )
    assert line.cuts
    names = {path.name for path in paths}
    assert frail.visible().keys() == names
    for path in paths:
        check_stored_once(frail, path)
