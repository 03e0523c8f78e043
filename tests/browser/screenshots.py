"""Write docs/screenshots/: the page in its states, in both colour schemes and two widths."""

import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

from browser.chromium import MISSING, find_browser, running_browser
from browser.scenes import play
from browser.tab import Tab, http
from helpers.daemon import Daemon

FOLDER: Final = Path(__file__).parents[2] / "docs" / "screenshots"
WIDTHS: Final = {"": 900, "-360": 360}
HEIGHT: Final = 640
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")


def main() -> None:
    program = find_browser()
    if program is None:
        sys.exit(MISSING)
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Daemon(Path(folder) / "daemon") as daemon,
        running_browser(program) as browser,
    ):
        daemon.start()
        for scene in ("empty", "running", "done", "failed", "outage", "unfinished", "folders"):
            tab = Tab(browser, reduced_motion="reduce")
            page = play(tab, http(daemon), scene, Path(folder)).page
            for suffix, width in WIDTHS.items():
                page.set_viewport_size({"width": width, "height": HEIGHT})
                for scheme in SCHEMES:
                    page.emulate_media(color_scheme=scheme)
                    path = FOLDER / f"{scene}-{scheme}{suffix}.png"
                    page.screenshot(path=path, full_page=True, animations="disabled")
            tab.close()


if __name__ == "__main__":
    main()
