"""The page behind a proxy that ends TLS."""

from collections.abc import Callable
from pathlib import Path

import pytest
from browser.tab import Tab, UploadPage
from helpers.certificates import make_certificate
from helpers.clients import some_bytes
from helpers.daemon import Daemons
from playwright.sync_api import expect
from proxies.conftest import TRUSTED
from proxies.fronts import FRONTS, Front, require


@pytest.mark.parametrize("kind", FRONTS, ids=lambda kind: kind.program)
def test_the_page_uploads_over_tls(
    kind: type[Front],
    daemon: Daemons,
    new_tab: Callable[..., Tab],
    tmp_path: Path,
) -> None:
    require(kind)
    # No allowed_origins: what the proxy tells of scheme and host makes the page our own.
    host = daemon(TRUSTED)
    upstream = "{}:{}".format(*host.address)
    path = tmp_path / "chosen.bin"
    path.write_bytes(some_bytes(3_000_000))
    with kind(tmp_path / "proxy", make_certificate(tmp_path), upstream) as proxy:
        page = UploadPage(new_tab(ignore_https_errors=True), proxy.origin)
        with page.page.expect_websocket() as opened:
            page.choose(path)
        assert opened.value.url == f"wss://localhost:{proxy.port}/"
        page.expect_states(["stored"])
        expect(page.status()).to_have_text("Stored, verified")
        assert host.wait_for("upload.stored", name=path.name)["hash_verified"]
        assert host.visible()[path.name].read_bytes() == path.read_bytes()
