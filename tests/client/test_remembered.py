"""The directory in which uploads are remembered does not grow without end."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from galileod.client.address import parse_url
from galileod.client.content import open_source
from galileod.client.remembered import MIN_SIZE, Remembered
from galileod.client.sources import PathSource
from galileod.client.state_directory import MAX_AGE, MAX_ENTRIES, State

KEY = "0123456789abcdef" * 2


def no_notice(sentence: str) -> None:
    raise AssertionError(sentence)


def make_file(path: Path) -> None:
    path.write_bytes(bytes(MIN_SIZE))


def age(path: Path) -> float:
    return time.time() - path.stat().st_mtime


async def remember(path: Path, url: str = "ws://h/upload") -> Remembered:
    make_file(path)
    async with open_source(path) as source:
        assert isinstance(source, PathSource)
        memory = Remembered(State(no_notice), parse_url(url), source)
        assert await memory.recall(source) == (None, None)
        assert await memory.remember(source, KEY)
        return memory


def entries() -> list[str]:
    return sorted(os.listdir(State(no_notice).path))


async def test_old_entries_and_remains_are_removed_with_the_next(tmp_path: Path) -> None:
    (await remember(tmp_path / "a")).close()
    (await remember(tmp_path / "b")).close()
    old, kept = (Path(State(no_notice).path, name) for name in entries())
    remains = old.with_name("tmp_remains")
    remains.touch()
    for path, seconds in ((old, MAX_AGE + 10), (kept, MAX_AGE - 1000), (remains, MAX_AGE + 10)):
        os.utime(path, (time.time() - seconds,) * 2)
    (await remember(tmp_path / "c")).close()
    assert len(entries()) == 2
    assert kept.name in entries()
    assert not old.exists()


async def test_the_oldest_of_too_many_are_removed(tmp_path: Path) -> None:
    os.makedirs(State(no_notice).path, mode=0o700)
    folder = Path(State(no_notice).path)
    for number in range(MAX_ENTRIES + 5):
        path = folder / str(number)
        path.touch()
        os.utime(path, (time.time() - number,) * 2)
    (await remember(tmp_path / "a")).close()
    assert len(entries()) == MAX_ENTRIES
    assert not (folder / str(MAX_ENTRIES)).exists()
    assert (folder / "0").exists()


async def test_an_entry_that_is_used_again_is_young_again(tmp_path: Path) -> None:
    (await remember(tmp_path / "a")).close()
    (name,) = entries()
    path = Path(State(no_notice).path, name)
    os.utime(path, (0, 0))
    async with open_source(tmp_path / "a") as source:
        assert isinstance(source, PathSource)
        memory = Remembered(State(no_notice), parse_url("ws://h/upload"), source)
        assert await memory.recall(source) == (KEY, None)
        memory.close()
    assert age(path) < MAX_AGE


async def test_a_relative_and_a_linked_path_are_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (await remember(tmp_path / "a")).close()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("a")
    for path, found in (("a", KEY), ("link", KEY), ("./a", KEY)):
        async with open_source(path, "a") as source:
            assert isinstance(source, PathSource)
            memory = Remembered(State(no_notice), parse_url("ws://h/upload"), source)
            assert await memory.recall(source) == (found, None)
            memory.close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ws://h/upload", "ws://h:80/upload?token=x", True),
        ("ws://h/upload", "http://h/upload", True),
        ("ws://h/upload", "wss://h/upload", False),
        ("ws://h/upload", "ws://h:81/upload", False),
        ("ws://h/upload", "ws://h/other", False),
        ("ws+unix:/run/a.sock:/upload", "ws+unix:/run/b.sock:/upload", False),
    ],
)
async def test_an_upload_belongs_to_a_server(
    tmp_path: Path, one: str, other: str, same: bool
) -> None:
    (await remember(tmp_path / "a", one)).close()
    async with open_source(tmp_path / "a") as source:
        assert isinstance(source, PathSource)
        memory = Remembered(State(no_notice), parse_url(other), source)
        assert await memory.recall(source) == (KEY if same else None, None)
        memory.close()


@pytest.mark.parametrize("value", ["", "relative"])
def test_without_an_absolute_state_home_it_is_that_of_the_user(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", value)
    monkeypatch.setenv("HOME", "/home/user")
    assert State(no_notice).path == "/home/user/.local/state/galileo-send"


def entry_of_an_earlier_version(path: Path, name: str) -> Path:
    """An entry as galileo-send wrote it before it sent folders."""
    place = {"url": "ws://h:80/upload", "path": str(path), "name": name}
    digest = hashlib.sha256(json.dumps(place).encode()).hexdigest()[:32]
    folder = Path(State(no_notice).path)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = path.stat()
    stamp = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    entry = folder / f"{digest}.json"
    entry.write_text(json.dumps({**place, **stamp, "key": KEY, "begun": 1}))
    return entry


async def test_an_entry_of_an_earlier_version_is_used_for_a_file_without_a_folder(
    tmp_path: Path,
) -> None:
    make_file(tmp_path / "a")
    entry = entry_of_an_earlier_version(tmp_path / "a", "a")
    for folder, stated, found in ((None, None, KEY), ("june", None, None), (None, 5.0, None)):
        async with open_source(tmp_path / "a", folder=folder, modified=stated) as source:
            assert isinstance(source, PathSource)
            memory = Remembered(State(no_notice), parse_url("ws://h/upload"), source)
            assert await memory.recall(source) == (found, None)
            memory.close()
    assert entries() == [entry.name]


async def test_an_upload_is_remembered_with_its_folder_and_the_time_that_was_stated(
    tmp_path: Path,
) -> None:
    make_file(tmp_path / "a")
    url, places = parse_url("ws://h/upload"), [(None, None), ("june", None), ("june", 5.0)]
    for number, (folder, stated) in enumerate(places):
        async with open_source(tmp_path / "a", folder=folder, modified=stated) as source:
            assert isinstance(source, PathSource)
            memory = Remembered(State(no_notice), url, source)
            assert await memory.recall(source) == (None, None)
            assert await memory.remember(source, f"{number:032x}")
            memory.close()
    assert len(entries()) == 3
    (tmp_path / "a").write_bytes(bytes(MIN_SIZE + 1))
    for number, (folder, stated) in enumerate(places):
        async with open_source(tmp_path / "a", folder=folder, modified=stated) as source:
            assert isinstance(source, PathSource)
            memory = Remembered(State(no_notice), url, source)
            key, changed = await memory.recall(source)
            assert key is None
            assert changed
            assert (changed.upload, changed.folder) == (f"{number:032x}", folder)
            assert changed.size == MIN_SIZE
            assert (changed.modified == 5000) == (stated is not None)
            memory.close()
