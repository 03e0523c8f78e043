"""Paths that are used only later: a directory that cannot exist, a hook that is missing."""

import os
from pathlib import Path

import pytest

from galileod.daemon.paths import PathError, check_command, check_directory, nearest_existing
from galileod.hooks.settings import Hook


def test_a_directory_that_exists_or_can_be_created_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (tmp_path, tmp_path / "new", tmp_path / "link" / "a" / "b" / "c"):
        check_directory(str(path))
    assert nearest_existing(str(tmp_path / "a" / "b")) == str(tmp_path)


def test_a_relative_directory_is_below_the_present_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    check_directory("new")
    with pytest.raises(PathError, match=rf"^{tmp_path}/file: is not a directory"):
        check_directory("file")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("file", "{0}/file: is not a directory: expected a directory"),
        ("file/a/b", "{0}/file/a/b: cannot be created, since {0}/file is not a directory"),
        ("dangling", "{0}/dangling: is a symbolic link to nothing"),
        ("dangling/a", "{0}/dangling: is a symbolic link to nothing"),
        ("loop", "{0}/loop: cannot exist: "),
        ("n" * 256, "File name too long"),
        ("n/" * 600, "1024 bytes"),
        ("nnn/" * 256, "1024 bytes"),
    ],
)
def test_a_directory_that_cannot_exist_is_refused(tmp_path: Path, path: str, told: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(PathError) as caught:
        check_directory(str(tmp_path / path))
    assert told.format(tmp_path) in str(caught.value)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a program and a file that is none; it is all of $PATH."""
    for name, mode in (("program", 0o755), ("text", 0o644)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "hook",
    [(), "http://127.0.0.1:1/", ("program",), ("{0}/program", "--x"), ("./program",)],
)
def test_a_hook_that_can_run_is_accepted(programs: Path, hook: Hook) -> None:
    if isinstance(hook, tuple):
        hook = tuple(word.format(programs) for word in hook)
    check_command(hook, str(programs))


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("missing", "no program of this name is in $PATH"),
        ("text", "no program of this name is in $PATH"),
        ("{0}/missing", "cannot be found (No such file or directory)"),
        ("./missing", "cannot be found (No such file or directory)"),
        ("{0}/text/missing", "cannot be found (Not a directory)"),
        ("/" + "n" * 5000, "cannot be found (File name too long)"),
        ("{0}/text", "is not executable"),
        ("{0}", "is not executable"),
    ],
)
def test_a_hook_that_cannot_run_is_refused_and_not_shown(
    programs: Path, program: str, told: str
) -> None:
    command = (program.format(programs), "--password=secret")
    with pytest.raises(PathError) as caught:
        check_command(command, str(programs))
    assert told in str(caught.value)
    assert command[0] not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_this_user_may_not_look_at_is_not_judged(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    tmp_path.chmod(0o755)
    os.seteuid(65534)
    try:
        check_directory(str(closed / "new"))
        check_command((str(closed / "program"),), str(tmp_path))
        assert nearest_existing(str(closed / "new")) is None
    finally:
        os.seteuid(0)
