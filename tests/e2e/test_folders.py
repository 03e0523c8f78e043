"""Trees of files: what is on the disk is the tree, and hostile folders lead nowhere."""

import os
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import time_ns
from typing import Final

import pytest
from e2e.test_names import snapshot
from helpers.bursts import Burst, key_of
from helpers.clients import check_serves, some_bytes
from helpers.daemon import Daemon, Daemons
from helpers.frames import BINARY, frame, signal_frame
from helpers.reloading import reload
from helpers.resuming import ResumingClient
from helpers.sending import run_process

from galileod.policy.folders import MAX_DEPTH
from galileod.policy.newfolders import MAX_NEW

THEN: Final = 1_234_567_890_123

LONG: Final = "\u00e9" * 127

ODD: Final = {
    "a.jpg": b"top",
    "june/a.jpg": b"1",
    "june/b.jpg": b"2",
    "july/a.jpg": b"3",
    "/".join("abcdefghijklmnopqrstuvwxyz01234") + "/deep": b"4",
    "two words/\U0001f600/\u4e2d\u6587.txt": b"5",
    "tr\u00e9s/long " + "x" * 200 + "/" + "y" * 230 + ".bin": b"6",
    "archive.tar.gz/a": b"7",
    "empty/file": b"",
}
"""Names that are safe already, so that a tree of them is stored as it is."""

HOSTILE: Final = {
    "../../escaped": "_/_/escaped",
    "/etc/cron.d": "etc/cron.d",
    "..\\..\\escaped": "_/_/escaped",
    ".galileod": "_galileod",
    ".galileod/spool": "_galileod/spool",
    "a/../.galileod": "a/_/_galileod",
    "./.git/hooks": "_git/hooks",
    "-rf": "_rf",
    "con/aux.d/LPT1": "_con/_aux.d/_LPT1",
    "a\0b\n/\u202ec": "a_b_/_c",
    "\ud800": "_",
    "e\u0301": "\u00e9",
    "C:\\Windows": "C_/Windows",
    "x" * 300: "x" * 240,
    LONG: "\u00e9" * 120,
    " / . /...": "_/_/_",
    "\u200d/\u200d": "_/_",
    "$(touch escaped)/`id`": "$(touch escaped)/`id`",
    "///": "",
}


def files_below(directory: Path) -> dict[str, bytes]:
    """The contents of the files in a directory, by their paths."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and ".galileod" not in path.relative_to(directory).parts
    }


def folders_below(directory: Path) -> set[str]:
    return {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_dir() and ".galileod" not in path.relative_to(directory).parts
    }


def plant(directory: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1_300_000_000, 1_300_000_000 + len(name)))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("host")) as daemon:
        yield daemon.start()


@pytest.fixture
def burst(host: Daemon) -> Iterator[Burst]:
    """A connection to the daemon, whose directory is empty before and after."""
    with closing(Burst(host, os.urandom(8).hex())) as burst:
        assert burst.begin()
        empty(host)
        yield burst
    check_serves(host)
    empty(host)


def empty(host: Daemon) -> None:
    for path in host.visible().values():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_a_tree_is_stored_as_it_is(host: Daemon, tmp_path: Path, large: bool) -> None:
    empty(host)
    files = {name: content + some_bytes(1 << 20) * large for name, content in ODD.items()}
    plant(tmp_path / "photos", files)
    done = run_process(host.url, tmp_path / "photos", "--recursive")
    assert done.returncode == 0, done.stderr
    stored = host.directory / "photos"
    assert files_below(stored) == files
    for name in files:
        assert (stored / name).stat().st_mtime == 1_300_000_000 + len(name)
    empty(host)


def test_sixty_folders_of_fifty_files_with_equal_names(host: Daemon, burst: Burst) -> None:
    files = {
        f"{folder:02}/IMG_{file:04}.jpg": f"{folder} {file}".encode()
        for folder in range(60)
        for file in range(50)
    }
    numbers = []
    for path, content in files.items():
        folder, _, name = path.rpartition("/")
        numbers.append(burst.send_whole(name, content, folder=folder, upload=key_of(path)))
        if len(numbers) % 100 == 0:
            burst.hear_all(numbers[-100:])
    assert files_below(host.directory) == files


@pytest.mark.parametrize("folder", HOSTILE)
def test_no_folder_leads_out_of_the_directory(host: Daemon, burst: Burst, folder: str) -> None:
    before = snapshot(host.folder)
    number = burst.send_whole("a", b"content", folder=folder)
    burst.hear_all([number])
    place = f"{HOSTILE[folder]}/a" if HOSTILE[folder] else "a"
    assert burst.answers[number].get("close"), burst.answers
    assert files_below(host.directory) == {place: b"content"}
    outside = {
        path: what for path, what in snapshot(host.folder).items()
        if not Path(path).is_relative_to(host.directory) and path != str(host.stderr)
    }  # fmt: skip
    assert outside.items() <= before.items()


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [
        ("a/" * (MAX_DEPTH + 1), "The folder has 33 levels; at most 32 are accepted."),
        ("/".join(["x" * 240] * 9), "The path of the folder has 2168 bytes; at most 2048 are "),
    ],
)
def test_a_folder_beyond_the_bounds_is_refused_and_leaves_none(
    host: Daemon, burst: Burst, folder: str, sentence: str
) -> None:
    number = burst.send_whole("a", b"content", folder=folder)
    other = burst.send_whole("b", b"content", folder="june")
    burst.hear_all([number, other])
    answer = burst.answers[number]
    assert (answer["code"], answer["error"][: len(sentence)]) == ("bad_name", sentence)
    assert burst.answers[other].get("close")
    assert folders_below(host.directory) == {"june"}


def test_parts_that_fall_together_are_all_stored(host: Daemon, burst: Burst) -> None:
    folders = ["caf\u00e9", "cafe\u0301", "nul", "_nul", "a:b", "a?b", "x" * 241, "x" * 242]
    numbers = [
        burst.send_whole("a.jpg", folder.encode(), folder=folder, upload=key_of(folder))
        for folder in folders
    ]
    burst.hear_all(numbers)
    assert all(burst.answers[number].get("close") for number in numbers)
    found = files_below(host.directory)
    assert sorted(found.values()) == sorted(folder.encode() for folder in folders)
    assert set(found) == {
        f"{folder}/{name}"
        for folder in (unicodedata.normalize("NFC", "cafe\u0301"), "_nul", "a_b", "x" * 240)
        for name in ("a.jpg", "a (1).jpg")
    }


def test_a_file_and_a_folder_of_one_name(host: Daemon, burst: Burst) -> None:
    def outcome(name: str, folder: str | None) -> tuple[object, object]:
        more = {} if folder is None else {"folder": folder}
        number = burst.send_whole(name, b"x", **more)
        burst.hear_all([number])
        answer = burst.answers[number]
        return answer.get("code", "stored"), answer.get("error")

    assert outcome("june", None) == ("stored", None)
    assert outcome("a", "june") == ("conflict", "The name is taken: june is not a folder.")
    assert outcome("a", "july/first") == ("stored", None)
    assert outcome("first", "july") == ("stored", None)
    assert set(files_below(host.directory)) == {"june", "july/first/a", "july/first (1)"}


def test_a_failed_upload_leaves_no_folder(host: Daemon, burst: Burst) -> None:
    wrong = {"hash": {"type": "sha1", "value": "0" * 40}}
    burst.send(signal_frame(name="a", size=1, folder="june/first") + frame(BINARY, b"x"))
    burst.send(signal_frame(finished=True, **wrong))
    burst.hear_all([1])
    assert burst.answers[1]["code"] == "hash_mismatch"
    assert folders_below(host.directory) == set()


@pytest.mark.parametrize(
    ("layout", "place"),
    [
        ("{name}", "a"),
        ("{user}/{folder}/{name}", "127.0.0.1/june/first/a"),
        ("in/{folder}/x/{name}", "in/june/first/x/a"),
    ],
)
def test_the_layout_says_where_folders_are(
    host: Daemon, burst: Burst, layout: str, place: str
) -> None:
    reload(host, {"storage": {"layout": layout}})
    try:
        burst.hear_all([burst.send_whole("a", b"content", folder="june/first")])
        assert files_below(host.directory) == {place: b"content"}
    finally:
        reload(host, {"storage": {"layout": "{folder}/{name}"}})


@pytest.mark.parametrize("restarts", [False, True])
def test_a_resumed_upload_has_its_folder_and_its_time(daemon: Daemons, restarts: bool) -> None:
    host = daemon({})
    client = ResumingClient(host.url, some_bytes(3_000_000), "a")
    client.more |= {"folder": "june/first", "modified": THEN}
    with client.attempt() as attempt:
        attempt.send(2_000_000)
        attempt.cut()
    host.wait_for("upload.kept")
    assert folders_below(host.directory) == set()
    if restarts:
        host.stop()
        host.start()
    with client.at(host.url).attempt() as attempt:
        assert attempt.offset > 0
        attempt.send(len(client.data))
        assert attempt.finish()["path"] == "june/first/a"
    stored = host.directory / "june/first/a"
    assert stored.read_bytes() == client.data
    assert stored.stat().st_mtime_ns == THEN * 1_000_000


def test_a_time_that_is_not_believed_is_not_taken(host: Daemon, burst: Burst) -> None:
    times = {"future": 10**15, "past": -1, "text": "yesterday", "none": None, "then": THEN}
    numbers = [burst.send_whole(name, b"x", modified=time) for name, time in times.items()]
    burst.hear_all(numbers)
    for name in times:
        modified = (host.directory / name).stat().st_mtime_ns
        assert (modified == THEN * 1_000_000) == (name == "then")
        assert modified <= time_ns()


def test_folders_without_end_are_refused(daemon: Daemons) -> None:
    host = daemon({"storage": {"durability": "none"}})
    with closing(Burst(host, "first")) as burst:
        assert burst.begin()
        refused = set[object]()
        for start in range(0, 2 * MAX_NEW // MAX_DEPTH, 50):
            numbers = [
                burst.send_whole("x", b"x", folder=f"{start + at}/" + "a/" * (MAX_DEPTH - 1))
                for at in range(50)
            ]
            burst.hear_all(numbers)
            refused |= {burst.answers[number].get("error") for number in numbers} - {None}
            if refused:
                break
        (sentence,) = refused
        assert "more new folders than there are files" in str(sentence)
        plain = burst.send_whole("y", b"x")
        burst.hear_all([plain])
        assert burst.answers[plain].get("close"), "it has no folder"
    found = files_below(host.directory)
    assert len(folders_below(host.directory)) == MAX_DEPTH * (len(found) - 2)
    assert MAX_NEW <= MAX_DEPTH * len(found) <= 2 * MAX_NEW
