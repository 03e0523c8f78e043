"""Pages of other origins: what they may include, and when they may upload."""

import filecmp
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest
from browser.tab import Tab, http
from helpers.clients import some_bytes
from helpers.daemon import Daemon

PAGE: Final = """\
<!doctype html>
<html lang="en"><head><title>Elsewhere</title><link rel="icon" href="data:,"></head>
<body><input type="file" id="files"></body></html>
"""

UPLOAD: Final = """\
async (base) => {
  const { upload } = await import(`${base}/galileo.js`);
  const file = document.querySelector("#files").files[0];
  return upload({ url: `${base}/upload`, file }).done.then(
    ({ name, hash }) => ({ name, hash }),
    ({ code, reason }) => ({ code, reason }),
  );
}
"""


class Elsewhere(BaseHTTPRequestHandler):
    """A site that has one page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The origin of another site."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def chosen(tmp_path: Path) -> Path:
    path = tmp_path / "from elsewhere.bin"
    path.write_bytes(some_bytes(3_000_000))
    return path


@pytest.fixture
def foreign(new_tab: Callable[[], Tab], elsewhere: str, chosen: Path) -> Tab:
    """A page of the other site, where the file is chosen."""
    tab = new_tab()
    tab.page.goto(elsewhere)
    tab.page.set_input_files("#files", chosen)
    return tab


def test_a_page_of_another_origin_is_refused(
    daemon: Callable[..., Daemon], foreign: Tab, chosen: Path
) -> None:
    host = daemon()
    foreign.expect_complaint("WebSocket connection to")
    ending = foreign.page.evaluate(UPLOAD, http(host))
    assert ending["code"] == "connection_failed"
    assert "does not accept uploads from this page" in ending["reason"]
    host.wait_for("connection.refused")
    assert not host.find("upload.started")
    assert not host.visible()


def test_a_page_of_an_allowed_origin_may_upload_with_a_hash(
    daemon: Callable[..., Daemon], foreign: Tab, elsewhere: str, chosen: Path
) -> None:
    host = daemon({"server": {"allowed_origins": [elsewhere]}})
    ending = foreign.page.evaluate(UPLOAD, http(host))
    assert ending["name"] == chosen.name
    assert ending["hash"]["type"] == "sha1"
    assert host.wait_for("upload.stored", name=chosen.name)["hash_verified"]
    assert filecmp.cmp(chosen, host.directory / chosen.name, shallow=False)


def test_a_page_of_another_origin_cannot_frame_the_upload_page(
    daemon: Callable[..., Daemon], foreign: Tab
) -> None:
    foreign.expect_complaint("frame-ancestors")
    address = f"{http(daemon())}/"
    foreign.page.evaluate(
        """(address) => new Promise((resolve) => {
          const frame = document.createElement("iframe");
          frame.onload = resolve;
          frame.src = address;
          document.body.append(frame);
        })""",
        address,
    )
    (frame,) = foreign.page.main_frame.child_frames
    assert frame.locator("#files").count() == 0
