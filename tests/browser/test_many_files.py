"""Many files by the JavaScript client, on a few connections."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from browser.files import Write, check_stored
from browser.line import Line
from browser.tab import Tab, http
from helpers.daemon import Daemon

BlankPage = Callable[[str], Tab]

START: Final = """\
async (options) => {
  const { uploadAll } = await import("/galileo.js");
  const files = document.querySelector("#files").files;
  globalThis.uploads = uploadAll({ url: "/upload", files, ...options });
}
"""

RESULTS: Final = """\
uploads.done.then((results) => results.map(({ name, code, hash }) => ({ name, code, hash })))
"""

SIZES: Final = (0, 1, 10_000, 262_144, 262_145, 1_000_000, 5_000_000, 0, 300)


def choose(tab: Tab, paths: list[Path]) -> None:
    tab.page.set_input_files("#files", paths)


def stored(host: Daemon) -> list[dict[str, Any]]:
    """The log's entries of stored files."""
    return [entry for entry in host.log() if entry["event"] == "upload.stored"]


def results(tab: Tab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tab.page.evaluate(RESULTS)
    return found


@pytest.mark.parametrize("connections", [1, 3])
def test_files_of_all_sizes_are_stored_on_few_connections(
    daemon: Callable[..., Daemon], blank: BlankPage, write: Write, connections: int
) -> None:
    host = daemon()
    tab = blank(http(host))
    paths = [write(size, seed=seed) for seed, size in enumerate(SIZES * 10)]
    choose(tab, paths)
    tab.page.evaluate(START, {"connections": connections})
    found = results(tab)
    assert [each["name"] for each in found] == [path.name for path in paths]
    assert all(each["hash"]["type"] == "sha1" for each in found)
    check_stored(host, paths)
    entries = stored(host)
    assert len(entries) == len(paths)
    assert all(each["hash_verified"] for each in entries)
    assert len({each["connection"] for each in entries}) == connections


def test_without_the_extension_each_file_has_its_connection(
    daemon: Callable[..., Daemon], blank: BlankPage, write: Write
) -> None:
    host = daemon({"chunks": {"next": 0}})
    tab = blank(http(host))
    paths = [write(1000, seed=seed) for seed in range(10)]
    choose(tab, paths)
    tab.page.evaluate(START)
    assert [each["name"] for each in results(tab)] == [path.name for path in paths]
    check_stored(host, paths)
    assert len({each["connection"] for each in stored(host)}) == len(paths)


def test_a_refused_file_fails_alone(
    daemon: Callable[..., Daemon], blank: BlankPage, write: Write
) -> None:
    host = daemon({"limits": {"max_file_size": 1_000_000}})
    tab = blank(http(host))
    sizes = (10, 2_000_000, 20, 300_000, 1_000_001, 30)
    paths = [write(size, seed=seed) for seed, size in enumerate(sizes)]
    choose(tab, paths)
    tab.page.evaluate(START, {"connections": 1})
    codes = [each.get("code") for each in results(tab)]
    assert codes == [None, "too_large", None, None, "too_large", None]
    check_stored(host, [path for path, code in zip(paths, codes, strict=True) if code is None])


def test_a_file_is_cancelled_in_the_middle_and_the_others_are_stored(
    host: Daemon, line: Line, blank: BlankPage, write: Write
) -> None:
    tab = blank(http(host, line.port))
    paths = [write(1000), write(30_000_000, seed=1), write(300_000, seed=2), write(10, seed=3)]
    choose(tab, paths)
    line.hold(3_000_000)
    tab.page.evaluate(START, {"connections": 1})
    line.wait_until_held()
    tab.page.evaluate("uploads.files[1].abort()")
    line.release()
    codes = [each.get("code") for each in results(tab)]
    assert codes == [None, "aborted", None, None]
    check_stored(host, [paths[0], *paths[2:]])
    host.wait_for("upload.abandoned", name=paths[1].name)
    assert paths[1].name not in host.visible()
