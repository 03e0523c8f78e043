"""The directory in which uploads are remembered does not grow without end."""

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
