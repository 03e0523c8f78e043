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
HELD: Final = "held"
"""The server has the file already."""

FLAT: Final = "flat"
"""It is stored without its folder, in the place of those with the same name."""

Plan = float | Mapping[str, object] | str | None
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
TREE: Final = "Holiday"

PICTURE: Final = 1_200_000
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
    "folders": {
        f"{TREE}/cover.jpg": HELD,
        f"{TREE}/day 1/IMG_0001.jpg": HELD,
        f"{TREE}/day 1/IMG_0002.jpg": STORE,
        f"{TREE}/day 1/title.jpg": FLAT,
        f"{TREE}/day 2/IMG_0001.jpg": STORE,
        f"{TREE}/day 2/IMG_0002.jpg": HELD,
        f"{TREE}/day 2/title.jpg": FLAT,
        f"{TREE}/day 3, from the harbour up to the lighthouse and back/IMG_0001.jpg": 0.4,
    },
}
"""What becomes of each file; a path is that in a folder that is chosen."""

FIRST: Final = {"ready": True, "chunksize": CHUNK, "can": ["resume"], "offset": 0, "keep": 86_400}
"""The first signal of a server that keeps what it has of an interrupted upload."""

MANY: Final = {**FIRST, "can": ["resume", "next", "ask"], "next": 1, "whole": 0, "room": 0}
"""That of one that also takes further files, and says which it has."""

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
        path, size, received, number = "", 0, 0, -1
        self._sockets.append(socket)

        def say(signal: Mapping[str, object]) -> None:
            socket.send(json.dumps({**signal, "file": number} if number else signal))

        def answer() -> None:
            plan = self._plans[path]
            if isinstance(plan, Mapping):
                say({**plan, "fatal": True})
            elif plan in (STORE, HELD, FLAT) or (
                isinstance(plan, float) and received < plan * size
            ):
                first = MANY if "/" in path else FIRST
                say({"ready": True, "chunksize": CHUNK} if received else first)
                return
            self._settled.add(path)

        def hear(message: str | bytes) -> None:
            nonlocal received, path, size, number
            if isinstance(message, bytes):
                received += len(message)
                answer()
                return
            signal: dict[str, Any] = json.loads(message)
            if "ask" in signal:
                asked = [_path(entry) for entry in signal["ask"]]
                held = [index for index, each in enumerate(asked) if self._plans[each] == HELD]
                self._settled.update(asked[index] for index in held)
                socket.send(json.dumps({"held": held, "n": signal["n"]}))
            elif "abandon" in signal:
                say({**ABANDONED, "next": "/" in path})
            elif "finished" in signal:
                place = Path(path).name if self._plans[path] == FLAT else path
                say({"close": True, "path": place})
                self._settled.add(path)
            else:
                path, size, received, number = _path(signal), signal["size"], 0, number + 1
                answer()

        socket.on_message(hear)


def _path(signal: Mapping[str, Any]) -> str:
    """The name of a file, behind its folder."""
    return "/".join(filter(None, (signal.get("folder"), str(signal["name"]))))


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
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(SIZES.get(path.name, PICTURE))
    if scene == "unfinished":
        tab.page.evaluate(PICK, {"name": ARCHIVE, "size": SIZES[ARCHIVE]})
        page.page.get_by_text("Choose files").click()
        paths.remove(folder / ARCHIVE)
    if scene == "folders":
        tab.page.set_input_files("#folder", folder / TREE)
        server.wait()
    elif paths:
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
