"""`galileo-send --recursive` with galileod: trees arrive as they are, and are not sent twice."""

import os
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from helpers.credentials import Office
from helpers.daemon import Daemon, Daemons, log_time, poll
from helpers.rounds import rounds
from helpers.sending import Command, objects

from galileod.client.command.jobs import Job, collect
from galileod.policy.folders import MAX_DEPTH, place_of

ASKED: Final = {"storage": {"ask": "everybody", "durability": "none"}}

FOLDERS: Final = 60
IN_EACH: Final = rounds(10, 50)

ODD: Final = [
    b"caf\xe9", b"caf\xe8", "café".encode(), "cafe\u0301".encode(), b"a\\b", b"a*b", b"a?b", b"a|b",
    b" ", b" x", b"x ", b"x.", b"...", b".. ", b"con", b"COM1.txt", b".galileod", b"%2e%2e",
    b"new\nline", "\u202egpj".encode(), "\u200b".encode(), "🚀".encode(), b"n" * 255, b"n" * 254,
    "é".encode() * 127,
]  # fmt: skip
"""Names whose bytes are no text, that are equal once they are made safe, or mean something."""

REFUSED: Final = {b" ", b"...", b".. ", "\u200b".encode()}
"""Those that a file cannot have at the server, since nothing of them is visible."""

TOTAL: Final = FOLDERS * IN_EACH + 2 * len(ODD) - len(REFUSED) + 2
"""The files of `tree`."""


def make(path: bytes, number: int) -> None:
    """A file with a content, a size or a time that no other one has."""
    with open(path, "wb") as file:
        file.write(b"%d " % number * (number % 7 + 1))
    at = 1_600_000_000 + number // 2  # two have the same
    os.utime(path, (at, at))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Equal names in many directories, deep ones, and odd ones."""
    root, numbers = tmp_path / "tree", iter(range(1_000_000))
    for folder in range(FOLDERS):
        place = root / f"2026-{folder:02}"
        place.mkdir(parents=True)
        for file in range(IN_EACH):
            make(bytes(place / f"IMG_{file:04}.jpg"), next(numbers))
    deep = root.joinpath("deep", *map(str, range(MAX_DEPTH - 2)))
    deep.mkdir(parents=True)
    make(bytes(deep / "x"), next(numbers))
    for name in ODD:
        place_of_odd = os.path.join(os.fsencode(root), b"odd", name)
        os.makedirs(place_of_odd)
        for inner in (b"same", *([] if name in REFUSED else [name])):
            make(os.path.join(place_of_odd, inner), next(numbers))
    (root / "link.jpg").symlink_to("2026-00/IMG_0000.jpg")
    (root / "up").symlink_to("..")
    return root


def contents(paths: "list[str]") -> Counter[tuple[bytes, int]]:
    """Of these files, each with its modification time in seconds."""
    return Counter((Path(path).read_bytes(), int(os.stat(path).st_mtime)) for path in paths)


def visible(host: Daemon) -> dict[str, Path]:
    """What stands in the directory, at any depth, by its path there."""
    own = host.directory / ".galileod"
    found: dict[str, Path] = {}
    for place, folders, names in os.walk(host.directory):
        if place == str(own):
            folders.clear()
            continue
        for name in names:
            path = Path(place, name)
            assert path.is_file()
            assert not path.is_symlink()
            found[str(path.relative_to(host.directory))] = path
    return found


def check_equal(host: Daemon, tree: Path) -> None:
    """Each file of the tree is there once, and at its place if no other one has that."""
    jobs = [job for job in collect([str(tree)], None, recursive=True) if isinstance(job, Job)]
    assert len(jobs) == TOTAL
    there = visible(host)
    assert contents([str(path) for path in there.values()]) == contents([job.label for job in jobs])
    places = Counter(place_of(job.folder, job.name) for job in jobs)
    for job in jobs:
        place = place_of(job.folder, job.name)
        if places[place] == 1:
            assert there[place].read_bytes() == Path(job.label).read_bytes()


def test_a_tree_arrives_as_it_is_and_is_not_sent_twice(
    daemon: Daemons, command: Command, tree: Path
) -> None:
    host = daemon(ASKED)
    status, out, err = command("--json", "--skip-existing", "-r", host.url, tree)
    assert status == 0, err
    summary = objects(out)[-1]
    assert (summary["stored"], summary["skipped"], summary["replaced"]) == (TOTAL, 0, 0)
    check_equal(host, tree)
    for kind in ("modified", "hash"):
        now = log_time()
        status, out, err = command("--json", f"--skip-existing={kind}", "-r", host.url, tree)
        assert status == 0, err
        summary = objects(out)[-1]
        assert (summary["stored"], summary["skipped"], summary["bytes"]) == (0, TOTAL, 0)
        assert host.find("upload.stored", since=now) is None
    check_equal(host, tree)


def test_only_what_is_new_or_changed_is_sent_the_next_time(
    daemon: Daemons, command: Command, tmp_path: Path
) -> None:
    host = daemon(ASKED)
    root = tmp_path / "tree"
    (root / "a").mkdir(parents=True)
    for number, name in enumerate(("same", "touched", "changed", "gone")):
        make(bytes(root / "a" / name), number)
    assert command("-r", host.url, root)[0] == 0
    os.utime(root / "a" / "touched", (5, 5))
    (root / "a" / "changed").write_bytes(b"other")
    visible(host)["tree/a/gone"].unlink()
    make(bytes(root / "new"), 4)
    status, out, _ = command("--skip-existing=hash", "--dry-run", "-r", host.url, root)
    assert status == 0
    kinds = [line.rpartition(" (")[0].split(f" {root}/") for line in out.splitlines()]
    assert sorted(kinds) == [
        ["skipped", "a/same"],
        ["skipped", "a/touched"],
        ["would send", "a/changed"],
        ["would send", "a/gone"],
        ["would send", "new"],
    ]
    assert len(visible(host)) == 3
    host.wait_for("upload.abandoned")
    poll("the end of the connection", host.at_rest)
    assert host.spooled() == []
    status, _, err = command("--skip-existing", "-r", host.url, root)
    assert status == 0
    assert err.startswith("4 of 5 files stored (")
    assert ", 1 already there." in err
    assert set(visible(host)) == {
        f"tree/{name}"
        for name in (
            "a/same",
            "a/touched",
            "a/touched (1)",
            "a/changed",
            "a/changed (1)",
            "a/gone",
            "new",
        )
    }


def test_a_flat_tree_that_replaces_has_as_many_files_as_it_says(
    daemon: Daemons, command: Command, tmp_path: Path
) -> None:
    host = daemon({"storage": {"on_conflict": "replace", "durability": "none"}})
    for folder in range(20):
        place = tmp_path / "tree" / str(folder)
        place.mkdir(parents=True)
        for file in range(5):
            make(bytes(place / str(file)), 5 * folder + file)
    status, out, err = command("--json", "--flat", "-r", host.url, tmp_path / "tree")
    assert status == 1, err
    summary = objects(out)[-1]
    assert (summary["stored"], summary["replaced"]) == (5, 95)
    assert len(visible(host)) == 5
    status, out, err = command("--json", "-r", host.url, tmp_path / "tree")
    summary = objects(out)[-1]
    assert (status, summary["stored"], summary["replaced"]) == (0, 100, 0)
    assert len(visible(host)) == 105


def test_a_flat_tree_is_not_sent_twice(daemon: Daemons, command: Command, tmp_path: Path) -> None:
    host = daemon(ASKED)
    for folder in range(30):
        (tmp_path / "tree" / str(folder)).mkdir(parents=True)
        make(bytes(tmp_path / "tree" / str(folder) / "same"), folder)
    assert command("--flat", "-r", host.url, tmp_path / "tree")[0] == 0
    for kind in ("modified", "hash"):
        status, out, err = command(
            f"--skip-existing={kind}", "--flat", "-r", host.url, tmp_path / "tree"
        )
        assert status == 0, err
        assert out.count("(already there)") == 30
    assert len(visible(host)) == 30


def test_a_folder_that_the_server_refuses_fails_alone(
    daemon: Daemons, command: Command, tmp_path: Path
) -> None:
    host = daemon(ASKED)
    deep = tmp_path.joinpath("tree", *["d"] * MAX_DEPTH)
    deep.mkdir(parents=True)
    for number, place in enumerate((deep, deep.parent)):
        make(bytes(place / "x"), number)
    for flags, stored in (
        (["--skip-existing"], "1 of 2 files"),
        (["--skip-existing=hash"], "0 of 2"),
    ):
        status, _, err = command(*flags, "-r", host.url, tmp_path / "tree")
        assert status == 1
        assert f"{deep}/x: The server refused the file: The folder has 33 levels" in err
        assert stored in err
    assert len(visible(host)) == 1


@pytest.mark.parametrize(
    "settings", [{"storage": {"on_conflict": "reject"}}, {"quota": {"user_files": 3}}]
)
def test_what_is_there_is_skipped_although_nothing_could_be_stored(
    daemon: Daemons, command: Command, tmp_path: Path, settings: dict[str, dict[str, object]]
) -> None:
    host = daemon({**settings, "storage": {"ask": "everybody", **settings.get("storage", {})}})
    (tmp_path / "tree").mkdir()
    for number in range(3):
        make(bytes(tmp_path / "tree" / str(number)), number)
    assert command("-r", host.url, tmp_path / "tree")[0] == 0
    assert command("-r", host.url, tmp_path / "tree")[0] == 1
    status, out, err = command("--skip-existing", "-r", host.url, tmp_path / "tree")
    assert status == 0, err
    assert out.count("(already there)") == 3


def test_each_user_is_told_of_their_own_files(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(tmp_path / "office", "token")
    (tmp_path / "tree").mkdir()
    make(bytes(tmp_path / "tree" / "a"), 1)
    with office.host:
        host = office.host.start()
        for user, sent in (("anna", 1), ("anna", 0), ("bob", 1), ("bob", 0)):
            monkeypatch.setenv("GALILEO_TOKEN", office.token(user))
            status, out, err = command(
                "--skip-existing", "--json", "-r", host.url, tmp_path / "tree"
            )
            assert status == 0, err
            assert objects(out)[-1]["stored"] == sent
        monkeypatch.setenv("GALILEO_TOKEN", "nobody's")
        status, _, err = command("--skip-existing", "-r", host.url, tmp_path / "tree")
        assert status == 1
        assert "401" in err
