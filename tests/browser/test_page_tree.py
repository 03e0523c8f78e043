"""A tree of folders with files of equal names, from the page to the disk, twice."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from browser.tab import Tab, UploadPage, http
from helpers.credentials import Office
from helpers.daemon import Daemon
from helpers.rounds import rounds
from playwright.sync_api import expect

FOLDERS: Final = 60
EACH: Final = rounds(10, 50)
ALL: Final = f"{FOLDERS * EACH:,}"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    office = Office(tmp_path_factory.mktemp("office"), "token")
    with office.host:
        office.host.start()
        yield office


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty folders of files with equal names, in which no two files are equal."""
    root = tmp_path_factory.mktemp("tree") / "photos"
    for folder in range(FOLDERS):
        place = root / f"2026-{folder // 5:02}" / f"day {folder % 5}"
        place.mkdir(parents=True)
        for number in range(EACH):
            (place / f"IMG_{number:04}.jpg").write_bytes(bytes([folder, number]) * (100 + number))
    return root


def files_in(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def stored(host: Daemon) -> int:
    """How many uploads were stored so far."""
    return sum(line["event"] == "upload.stored" for line in host.log())


def run(page: UploadPage, tree: Path, summary: str) -> None:
    page.page.set_input_files("#folder", tree)
    expect(page.page.locator("#count")).to_have_text(summary, timeout=60_000)


def test_a_chosen_tree_is_stored_as_it_is_and_sent_once_only(
    office: Office, new_tab: Callable[..., Tab], tree: Path
) -> None:
    place = http(office.host)
    fragment = f"#token={office.token('anna')}"
    run(UploadPage(new_tab(), place, fragment), tree, f"{ALL} of {ALL} stored")
    assert files_in(office.host.directory / "photos") == files_in(tree)
    for path in tree.rglob("*.jpg"):
        copy = office.host.directory / "photos" / path.relative_to(tree)
        assert abs(copy.stat().st_mtime - path.stat().st_mtime) < 0.001
    before = stored(office.host)
    assert before == FOLDERS * EACH
    run(UploadPage(new_tab(), place, fragment), tree, f"{ALL} already there")
    assert stored(office.host) == before
    assert files_in(office.host.directory / "photos") == files_in(tree)
