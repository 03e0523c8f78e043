"""The last uses of tokens, and the file that keeps them."""

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from galileod.auth.uses import TokenUses, load_uses, save_uses
from galileod.secretfile import SecretFileError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def test_a_file_that_does_not_exist_has_no_uses(tmp_path: Path) -> None:
    assert load_uses(str(tmp_path / "uses")) == {}


def test_saved_uses_are_added_to_those_in_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "uses")
    save_uses(path, {"a": NOW, "b": NOW}, {"a", "b"})
    save_uses(path, {"b": LATER, "c": NOW}, {"a", "b", "c"})
    assert load_uses(path) == {"a": NOW, "b": LATER, "c": NOW}
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(tmp_path) == ["uses"]


def test_tokens_that_are_gone_leave_the_file(tmp_path: Path) -> None:
    path = str(tmp_path / "uses")
    save_uses(path, {"a": NOW, "b": NOW}, {"a", "b"})
    save_uses(path, {"b": LATER, "c": NOW}, {"b"})
    assert load_uses(path) == {"b": LATER}


DAMAGED = [b"", b"{", b"[]", b'{"a": 1}', b'{"a": "now"}', b"\xff", b"[" * 100_000, b"null"]


def test_a_pipe_in_the_place_of_the_new_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "uses.new")
    with pytest.raises(OSError, match="No such device"):
        save_uses(str(tmp_path / "uses"), {"a": NOW}, {"a"})


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_reported_and_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "uses"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SecretFileError, match=rf"^{path}: is damaged$"):
        load_uses(str(path))
    save_uses(str(path), {"a": NOW}, {"a"})
    assert load_uses(str(path)) == {"a": NOW}


@given(content=st.binary(max_size=40))
def test_any_content_is_uses_or_damaged(content: bytes) -> None:
    path = Path(f"/tmp/uses-{os.getpid()}")  # noqa: S108  a fixture lives as long as all examples
    path.write_bytes(content)
    path.chmod(0o600)
    try:
        load_uses(str(path))
    except SecretFileError:
        pass
    finally:
        path.unlink()


def test_a_link_in_the_place_of_the_new_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("a file that must stay")
    (tmp_path / "uses.new").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        save_uses(str(tmp_path / "uses"), {"a": NOW}, {"a"})
    assert target.read_text() == "a file that must stay"


async def test_each_use_is_taken_once() -> None:
    uses = TokenUses()
    uses.note("a", NOW)
    uses.note("a", LATER)
    uses.note("b", NOW)
    await uses.wait()
    assert uses.take() == {"a": LATER, "b": NOW}
    assert uses.take() == {}
    with trio.move_on_after(0) as scope:
        await uses.wait()
    assert scope.cancelled_caught


async def test_what_is_put_back_is_taken_again_unless_there_is_a_later_use() -> None:
    uses = TokenUses()
    uses.note("a", NOW)
    uses.note("b", NOW)
    taken = uses.take()
    uses.note("b", LATER)
    uses.put_back(taken)
    await uses.wait()
    assert uses.take() == {"a": NOW, "b": LATER}
