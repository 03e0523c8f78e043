"""The page behind a proxy that ends TLS."""

from collections.abc import Callable
from pathlib import Path

import pytest
from browser.tab import Tab, UploadPage
from helpers.clients import some_bytes
from helpers.daemon import Daemons
from playwright.sync_api import expect
from proxies.fronts import FRONTS, Front, make_certificate, require


@pytest.mark.parametrize("kind", FRONTS, ids=lambda kind: kind.program)
def test_the_page_uploads_over_tls(
    kind: type[Front],
    daemon: Daemons,
    new_tab: Callable[..., Tab],
    tmp_path: Path,
    run_folder: Path,
) -> None:
    require(kind)
    # The proxy's port has to be known before the daemon starts, so that has none.
    socket = run_folder / "galileod.sock"
    certificate = make_certificate(tmp_path)
    path = tmp_path / "chosen.bin"
    path.write_bytes(some_bytes(3_000_000))
    with kind(tmp_path / "proxy", certificate, kind.unix_upstream(socket)) as proxy:
        server = {"listen": [f"unix:{socket}"], "allowed_origins": [proxy.origin]}
        host = daemon({"server": server})
        page = UploadPage(new_tab(ignore_https_errors=True), proxy.origin)
        with page.page.expect_websocket() as opened:
            page.choose(path)
        assert opened.value.url == f"wss://localhost:{proxy.port}/"
        page.expect_states(["stored"])
        expect(page.status()).to_have_text("Stored, verified")
        assert host.wait_for("upload.stored", name=path.name)["hash_verified"]
        assert host.visible()[path.name].read_bytes() == path.read_bytes()
