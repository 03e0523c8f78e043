"""The upload page in each of its states, always the same to the pixel.

A made-up server answers the page's WebSockets, and the page's clock stands still but for the steps
that it is given: so bars, rates and times left do not depend on the machine.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from browser.tab import PICK, Tab, UploadPage
from helpers.daemon import poll
from playwright.sync_api import Page, WebSocketRoute

MIB: Final = 1024 * 1024
CHUNK: Final = 256 * 1024
NOON: Final = 1_780_000_000
SENDING: Final = 3_000
"""Milliseconds for which the page of a scene has been sending."""

PAINTING: Final = 300
"""Milliseconds after which the page shows what has changed."""

STORE: Final = -1.0
CHECK: Final = 1.0
NEVER_SENT: Final = None

Plan = float | Mapping[str, object] | None
"""The part of a file that is sent before the server falls silent, or the fault that it tells."""

NO_SPACE: Final = {"error": "There is not enough room on the server's disk.", "code": "no_space"}
ABANDONED: Final = {"error": "The upload was discarded.", "fatal": True, "code": "abandoned"}
MISMATCH: Final = {
    "error": "The sha1 of what arrived is not the one that was sent.",
    "code": "hash_mismatch",
}

VIDEO: Final = "Harbour at dawn, second take.mov"
PHOTO: Final = "Пляж, 2026.jpg"
LONG: Final = (
    "Minutes_of_the_general_meeting_of_the_allotment_association_2026-05-17_final_signed.pdf"
)
EMPTY: Final = "notes.txt"
ARCHIVE: Final = "measurements.tar.gz"
TABLE: Final = "survey.csv"
IMAGE: Final = "whole disk.img"

SIZES: Final = {
    VIDEO: 6 * MIB,
    PHOTO: 1_481_600,
    LONG: 2 * MIB,
    EMPTY: 0,
    ARCHIVE: 4 * MIB,
    TABLE: 700_000,
    IMAGE: 12 * 1024 * MIB,  # above the limit; there is nothing in it
}

SCENES: Final[Mapping[str, Mapping[str, Plan]]] = {
    "empty": {},
    "running": {
        PHOTO: STORE,
        EMPTY: STORE,
        VIDEO: 0.6,
        LONG: CHECK,
        ARCHIVE: 0.25,
        TABLE: NEVER_SENT,
    },
    "done": {PHOTO: STORE, EMPTY: STORE, VIDEO: STORE, LONG: STORE},
    "failed": {PHOTO: STORE, IMAGE: NEVER_SENT, LONG: MISMATCH, ARCHIVE: NO_SPACE},
    "cancelled": {PHOTO: STORE, VIDEO: 0.3, LONG: CHECK},
    "paused": {PHOTO: STORE, VIDEO: 0.6, LONG: MISMATCH, ARCHIVE: 0.25, TABLE: NEVER_SENT},
    "outage": {PHOTO: STORE, VIDEO: 0.6, ARCHIVE: 0.25, LONG: 0.8, TABLE: NEVER_SENT},
    "unfinished": {VIDEO: 0.6, LONG: 0.8, ARCHIVE: 0.25},
}

FIRST: Final = {"ready": True, "chunksize": CHUNK, "can": ["resume"], "offset": 0, "keep": 86_400}
"""The first signal of a server that keeps what it has of an interrupted upload."""

LONGEST_WAIT: Final = "Math.random = () => 1"
"""Without it how long the page waits before it connects again is a matter of chance."""


class Server:
    """The daemon's side of a page's WebSockets, as the plan for each name says."""

    def __init__(self, page: Page, plans: Mapping[str, Plan]) -> None:
        self._page = page
        self._plans = plans
        self._settled: set[str] = set()
        self._sockets: list[WebSocketRoute] = []
        page.route_web_socket(re.compile("^ws:"), self._converse)

    def wait(self) -> None:
        """Until it has come as far with each file as it shall."""
        expected = {name for name, plan in self._plans.items() if plan is not NEVER_SENT}

        def reached() -> bool:
            self._page.evaluate("0")  # messages arrive while Playwright waits for something
            return self._settled >= expected

        poll("all files to be where they shall", reached, lambda: str(self._settled))

    def hang_up(self) -> None:
        """Close all connections."""
        for socket in self._sockets:
            socket.close()
        self._page.evaluate("0")  # whatever is on its way arrives before the answer

    def _converse(self, socket: WebSocketRoute) -> None:
        name, size, received = "", 0, 0
        self._sockets.append(socket)

        def answer() -> None:
            plan = self._plans[name]
            if isinstance(plan, Mapping):
                socket.send(json.dumps({**plan, "fatal": True}))
            elif plan is not None and (plan == STORE or received < plan * size):
                socket.send(json.dumps({"ready": True, "chunksize": CHUNK} if received else FIRST))
                return
            self._settled.add(name)

        def hear(message: str | bytes) -> None:
            nonlocal received, name, size
            if isinstance(message, bytes):
                received += len(message)
                answer()
                return
            signal: dict[str, Any] = json.loads(message)
            if "abandon" in signal:
                socket.send(json.dumps(ABANDONED))
            elif "finished" in signal:
                socket.send(json.dumps({"close": True}))
                self._settled.add(name)
            else:
                name, size = signal["name"], signal["size"]
                answer()

        socket.on_message(hear)


def play(tab: Tab, base: str, scene: str, folder: Path) -> UploadPage:
    """The page at `base` in this scene; `folder` is for the files that are chosen."""
    plans = SCENES[scene]
    server = Server(tab.page, plans)
    tab.page.add_init_script(LONGEST_WAIT)
    tab.page.clock.install(time=NOON)
    page = UploadPage(tab, base)
    tab.page.clock.pause_at(NOON + 60)
    paths = [folder / name for name in plans]
    for path in paths:
        with path.open("wb") as file:
            file.truncate(SIZES[path.name])
    if scene == "unfinished":
        tab.page.evaluate(PICK, {"name": ARCHIVE, "size": SIZES[ARCHIVE]})
        page.page.get_by_text("Choose files").click()
        paths.remove(folder / ARCHIVE)
    if paths:
        page.choose(*paths)
        server.wait()
    tab.page.clock.run_for(SENDING)
    if scene == "cancelled":
        for number in (1, 2):
            page.button("cancel", number).click()
            tab.page.clock.run_for(SENDING)
    if scene == "paused":
        tab.page.get_by_role("button", name="Pause all").click()
        tab.page.clock.run_for(SENDING)
    if scene == "unfinished":
        tab.page.clock.run_for(SENDING)
        poll("all to be remembered", lambda: len([n for n in page.remembered() if n]) == len(plans))
        tab.page.reload()
    if scene == "outage":
        server.hang_up()
        tab.page.clock.run_for(PAINTING)
    return page
