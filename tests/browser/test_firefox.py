"""The upload page and the JavaScript client in Firefox: whether they work at all."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser.files import Write, check_stored
from browser.firefox import Firefox, find_firefox
from browser.tab import http
from helpers.clients import unique_name
from helpers.daemon import Daemon

SIZES = (0, 1, 300_000, 5_000_000)
"""The last one is read and hashed in a Worker."""


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with Firefox(find_firefox(), tmp_path_factory.mktemp("firefox")) as firefox:
        yield firefox


@pytest.fixture
def files(write: Write) -> list[Path]:
    return [write(size, f"é {unique_name()}") for size in SIZES]


def test_the_page_stores_the_chosen_files(
    firefox: Firefox, host: Daemon, files: list[Path]
) -> None:
    firefox.start("page", http(host), files)
    assert firefox.answer() == {
        "result": [[path.name, "Stored, verified"] for path in files],
        "complaints": [],
    }
    check_stored(host, files)


def test_the_module_stores_the_files_and_gives_receipts(
    firefox: Firefox, host: Daemon, files: list[Path]
) -> None:
    firefox.start("client", http(host), files)
    answer = firefox.answer()
    assert not answer["complaints"]
    for path, receipt in zip(files, answer["result"], strict=True):
        content = path.read_bytes()
        sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        assert receipt.pop("seconds") >= 0, receipt
        assert receipt == {
            "outcome": "stored",
            "name": path.name,
            "path": path.name,
            "size": len(content),
            "hash": {"type": "sha1", "value": sha1},
        }
    check_stored(host, files)
