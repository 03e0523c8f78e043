"""Names that a client may send: none of them leads out of the directory."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from helpers.clients import JavaScriptClient, Outcome
from helpers.daemon import Daemon

Snapshot = dict[str, tuple[int, str | bytes]]

NEW_EMOJI: Final = "\U0001fae9"
FLAG: Final = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
KEPT: Final = {"\u200d", NEW_EMOJI, *FLAG}

STORED: Final = {
    "slash": "a/b/c.txt",
    "parent": "../escaped.txt",
    "parents": "../../../../../../../../../../tmp/escaped.txt",
    "absolute": "/etc/cron.d/escaped",
    "backslash": "..\\..\\escaped.txt",
    "drive": "C:\\Windows\\escaped.txt",
    "share": "\\\\server\\share\\escaped.txt",
    "stream": "file.txt:stream",
    "state": ".galileod",
    "ledger": ".galileod/ledger.sqlite3",
    "hidden": ".bashrc",
    "option": "-rf",
    "nul": "a\0b.txt",
    "nul and parent": "a.txt\0/../../escaped",
    "control": "a\x01\x1b[31m\x7f\x9b.txt",
    "newline": "a\nb\r\n.txt",
    "bidi": "a\u202etxt.exe",
    "invisible": "a\u200b\ufeffb.txt",
    "line separator": "a\u2028b\u2029.txt",
    "tags": "a\U000e0074\U000e0078.txt",
    "noncharacter": "a\uffff.txt",
    "new emoji": f"{NEW_EMOJI}.txt",
    "flag": f"{FLAG}.txt",
    "lone surrogate": "a\ud800b.txt",
    "lone low surrogate": "\udcff.txt",
    "undecodable byte": "a\udc80.txt",
    "slash look-alike": "..\u2215escaped\uff0f..\u2044a",
    "decomposed": "e\u0301.txt",
    "long ascii": "x" * 296 + ".txt",
    "long utf-8": "\u00e9" * 148 + ".txt",
    "long emoji": "\U0001f600" * 75,
    "long extension": "a." + "e" * 300,
    "device": "CON",
    "device with extension": "nul.txt",
    "numbered device": "COM1.tar.gz",
    "device with space": "aux .txt",
    "trailing dots": "name.txt...",
    "trailing space": " name.txt ",
    "reserved characters": 'a<b>c"d|e?f*g',
    "percent": "..%2f..%2fescaped",
    "tilde": "~root",
    "shell": "$(touch escaped);`id`",
}

REFUSED: Final = {
    "empty": "",
    "dot": ".",
    "dots": "..",
    "parent of parent": "../..",
    "only slashes": "///",
    "directory": "directory/",
    "only spaces": "   ",
    "dots and spaces": ". . .",
}


def snapshot(folder: Path) -> Snapshot:
    """Everything in a folder, by path: what it is, and what it holds."""
    found: Snapshot = {}
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(root, name)
            content: str | bytes = b""
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = path.read_bytes()
            found[str(path)] = path.lstat().st_mode, content
    return found


@pytest.fixture(scope="module", params=["rename", "reject", "replace"])
def on_conflict(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cage(
    on_conflict: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Daemon, Path]]:
    """A daemon whose directory stands alone in a folder, beside what must never change."""
    folder = tmp_path_factory.mktemp(on_conflict)
    outside = folder / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"untouched")
    storage = {"directory": str(outside / "files"), "on_conflict": on_conflict}
    with Daemon(folder, {"storage": storage}) as daemon:
        yield daemon.start(), outside


def around(outside: Path) -> Snapshot:
    """What stands around the directory, and the daemon's own state in it, but for the ledger."""
    inside = f"{outside}/files/"
    state = f"{inside}.galileod"
    return {
        path: what
        for path, what in snapshot(outside).items()
        if not path.startswith(inside)
        or (path.startswith(state) and not path.startswith(f"{state}/ledger.sqlite3"))
    }


def clear(daemon: Daemon) -> None:
    for path in daemon.visible().values():
        path.unlink()


def send(daemon: Daemon, name: str, content: bytes = b"content") -> Outcome:
    return JavaScriptClient(daemon.url, content, name).run()


def stored_as(daemon: Daemon, outcome: Outcome) -> Path:
    """Where an upload landed: plainly in the directory, as a file."""
    assert outcome.ending == "stored", outcome
    path = Path(daemon.wait_for("upload.stored", since=outcome.began, peer=outcome.peer)["path"])
    assert path.parent == daemon.directory
    assert not path.is_symlink()
    assert path.is_file()
    return path


@pytest.mark.parametrize("name", STORED.values(), ids=STORED)
def test_a_nasty_name_becomes_a_plain_one_in_the_directory(
    cage: tuple[Daemon, Path], name: str
) -> None:
    daemon, outside = cage
    clear(daemon)
    before = around(outside)
    content = uuid.uuid4().bytes
    outcome = send(daemon, name, content)
    path = stored_as(daemon, outcome)
    assert outcome.close == {"close": True} | ({"name": path.name} if path.name != name else {})
    assert daemon.visible() == {path.name: path}
    assert path.read_bytes() == content
    assert around(outside) == before
    assert all(character.isprintable() or character in KEPT for character in path.name)
    assert not path.name.startswith((".", "-"))
    assert not set(path.name) & set('/\\<>:"|?*')
    assert len(path.name.encode()) <= 240


@pytest.mark.parametrize("name", REFUSED.values(), ids=REFUSED)
def test_a_name_with_nothing_left_is_refused(cage: tuple[Daemon, Path], name: str) -> None:
    daemon, outside = cage
    clear(daemon)
    before = snapshot(outside)
    outcome = send(daemon, name)
    assert (outcome.ending, outcome.code) == ("failed", "bad_name")
    assert snapshot(outside) == before


@pytest.mark.parametrize("target", ["victim", "missing"])
@pytest.mark.parametrize("name", STORED.values(), ids=STORED)
def test_a_symlink_under_the_name_is_never_followed(
    cage: tuple[Daemon, Path], on_conflict: str, name: str, target: str
) -> None:
    daemon, outside = cage
    clear(daemon)
    link = stored_as(daemon, send(daemon, name))
    link.unlink()
    link.symlink_to(outside / target)
    before = around(outside)
    outcome = send(daemon, name, b"hostile")
    assert around(outside) == before
    if on_conflict == "replace":
        assert stored_as(daemon, outcome) == link
        assert link.read_bytes() == b"hostile"
        return
    assert link.is_symlink()
    assert link.readlink() == outside / target
    if on_conflict == "reject":
        assert (outcome.ending, outcome.code) == ("failed", "conflict")
        assert list(daemon.visible()) == [link.name]
    else:
        path = stored_as(daemon, outcome)
        assert path != link
        assert path.read_bytes() == b"hostile"


def test_a_directory_under_the_name_stays(cage: tuple[Daemon, Path], on_conflict: str) -> None:
    daemon, _ = cage
    name = uuid.uuid4().hex
    taken = daemon.directory / name
    taken.mkdir()
    try:
        outcome = send(daemon, name)
        assert taken.is_dir()
        if on_conflict == "rename":
            assert stored_as(daemon, outcome).name == f"{name} (1)"
        else:
            assert (outcome.ending, outcome.code) == ("failed", "conflict")
    finally:
        taken.rmdir()
