"""The page over TLS that galileod itself speaks."""

from collections.abc import Callable
from pathlib import Path

from browser.tab import Tab, UploadPage
from helpers.certificates import make_certificate
from helpers.clients import some_bytes
from helpers.daemon import Daemons
from playwright.sync_api import expect


def test_the_page_uploads_over_tls(
    daemon: Daemons, new_tab: Callable[..., Tab], tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    tls = {"certificate": str(certificate.chain), "key": str(certificate.key)}
    host = daemon({"tls": tls})
    port = host.address[1]
    path = tmp_path / "chosen.bin"
    path.write_bytes(some_bytes(3_000_000))
    page = UploadPage(new_tab(ignore_https_errors=True), f"https://localhost:{port}")
    with page.page.expect_websocket() as opened:
        page.choose(path)
    assert opened.value.url == f"wss://localhost:{port}/"
    page.expect_states(["stored"])
    expect(page.status()).to_have_text("Stored, verified")
    assert host.wait_for("upload.stored", name=path.name)["hash_verified"]
    assert host.visible()[path.name].read_bytes() == path.read_bytes()
