import fcntl
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from galileod.auth.store import change_tokens, load_tokens
from galileod.auth.tokens import Token, Tokens, make_token
from galileod.secretfile import SecretFileError

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def enter(path: Path, user: str) -> Token:
    _, kept = make_token(user, NOW)
    change_tokens(str(path), lambda tokens: [*tokens.values(), kept])
    return kept


def test_tokens_are_added_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    kept = [enter(path, user) for user in ("anna", "ben")]
    assert list(load_tokens(str(path)).values()) == kept
    assert os.listdir(tmp_path) == ["tokens"]


def test_a_new_file_is_for_its_owner_and_group(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        enter(tmp_path / "tokens", "anna")
    finally:
        os.umask(before)
    assert (tmp_path / "tokens").stat().st_mode & 0o777 == 0o640


def test_a_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    path, link = tmp_path / "tokens", tmp_path / "link"
    enter(path, "anna")
    path.chmod(0o600)
    link.symlink_to(path)
    enter(link, "ben")
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(load_tokens(str(path))) == 2


def test_what_goes_wrong_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    enter(path, "anna")
    before = path.read_bytes()

    def fail(_: Tokens) -> list[Token]:
        raise LookupError

    with pytest.raises(LookupError):
        change_tokens(str(path), fail)
    assert path.read_bytes() == before
    path.write_text("[[")
    with pytest.raises(SecretFileError, match="TOML"):
        enter(path, "ben")
    assert path.read_text() == "[["
    assert os.listdir(tmp_path) == ["tokens"]


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(SecretFileError, match="cannot be written: No such file"):
        enter(tmp_path / "none" / "tokens", "anna")


def test_writers_do_not_lose_each_others_tokens(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    script = (
        "import sys; from datetime import UTC, datetime\n"
        "from galileod.auth.store import change_tokens\n"
        "from galileod.auth.tokens import make_token\n"
        "for _ in range(10):\n"
        "    kept = make_token('anna', datetime.now(UTC))[1]\n"
        "    change_tokens(sys.argv[1], lambda tokens: [*tokens.values(), kept])\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, path]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(load_tokens(str(path))) == 30


def test_a_lock_that_somebody_keeps_is_an_error_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galileod.auth.store.LOCK_SECONDS", 0)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with pytest.raises(SecretFileError, match="another process has held its lock"):
            enter(tmp_path / "tokens", "anna")
    finally:
        os.close(folder)
    enter(tmp_path / "tokens", "anna")
