"""Names of files, as the upload page shows them and the daemon stores them."""

import filecmp
from pathlib import Path

from browser.files import Write, check_stored
from browser.tab import UploadPage
from helpers.clients import unique_name
from helpers.daemon import Daemon
from playwright.sync_api import expect


def test_names_stay_as_they_are(host: Daemon, page: UploadPage, write: Write) -> None:
    names = ["Отчёт за май, последний.txt", "пляж 🏖️ 👩‍👩‍👧.jpg", "50% &lt;b&gt; 'it'.txt"]
    paths = [write(1000, name, seed=seed) for seed, name in enumerate(names)]
    page.choose(*paths)
    page.expect_states(["stored"] * 3)
    for number, name in enumerate(names):
        expect(page.row(number).locator(".name")).to_have_text(name)
        expect(page.status(number)).to_have_text("Stored, verified")
    check_stored(host, paths)


def test_markup_in_a_name_is_text(host: Daemon, page: UploadPage, write: Write) -> None:
    path = write(1000, "<img src=x onerror=alert(1)>.png")
    page.choose(path)
    page.expect_states(["stored"])
    expect(page.row().locator(".name")).to_contain_text(path.name)
    expect(page.page.locator("img")).to_have_count(0)
    stored = host.wait_for("upload.stored", name=path.name)["path"]
    expect(page.status()).to_have_text(f"Stored, verified, as {Path(stored).name}")
    assert filecmp.cmp(path, stored, shallow=False)


def test_of_two_files_of_one_name_the_second_says_its_new_one(
    host: Daemon, page: UploadPage, write: Write
) -> None:
    name = unique_name()
    one, other = write(1000, f"one/{name}", seed=1), write(1000, f"other/{name}", seed=2)
    page.choose(one)
    page.expect_states(["stored"])
    page.choose(other)
    page.expect_states(["stored", "stored"])
    new = f"{one.stem} (1){one.suffix}"
    expect(page.status(0)).to_have_text("Stored, verified")
    expect(page.status(1)).to_have_text(f"Stored, verified, as {new}")
    assert filecmp.cmp(one, host.directory / name, shallow=False)
    assert filecmp.cmp(other, host.directory / new, shallow=False)
