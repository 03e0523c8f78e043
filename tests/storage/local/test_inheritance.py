"""A stored file is as one that is created in its folder: its group, its ACL, its permissions."""

import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from helpers.local_store import put, spool
from helpers.mounts import tmpfs
from helpers.unprivileged import USER_NAMESPACE, put_unprivileged
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.storage.local import LocalStore, inheritance, target
from galileod.storage.local.acl import ACCESS, DEFAULT, inherited
from galileod.storage.local.makefolder import make_folder

OpenStore = Callable[..., LocalStore]

GROUP: Final = 12345
UNDEFINED: Final = 0xFFFFFFFF


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *one) for one in entries)


def with_users(users: dict[int, int], groups: dict[int, int], modes: list[int]) -> bytes:
    """An ACL with the given permissions; the modes are of owner, group, mask and others."""
    owner, group, mask, others = modes
    named = [*((0x02, users[one], one) for one in sorted(users))]
    named_groups = [*((0x08, groups[one], one) for one in sorted(groups))]
    masked = [(0x10, mask, UNDEFINED)] if named or named_groups or mask != group else []
    return acl(
        (0x01, owner, UNDEFINED),
        *named,
        (0x04, group, UNDEFINED),
        *named_groups,
        *masked,
        (0x20, others, UNDEFINED),
    )


permissions = st.integers(0, 7)
named = st.dictionaries(st.integers(1, 2000), permissions, max_size=4)
acls = st.builds(with_users, named, named, st.lists(permissions, min_size=4, max_size=4))
EXAMPLE: Final = with_users({1000: 6}, {2000: 7}, [7, 5, 7, 5])


def permissions_of(path: Path | int) -> tuple[int, bytes | None]:
    try:
        access = os.getxattr(path, ACCESS)
    except OSError:
        access = None
    return stat.S_IMODE(os.stat(path).st_mode), access


@contextmanager
def default_acl(folder: Path, value: bytes) -> Iterator[None]:
    try:
        os.setxattr(folder, DEFAULT, value)
    except OSError:
        pytest.skip("the filesystem has no ACLs")
    yield
    os.removexattr(folder, DEFAULT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folder")


@given(default=acls, mode=st.sampled_from([0o640, 0o750, 0o600, 0o777]))
@settings(max_examples=200)
def test_the_acl_is_what_the_kernel_gives_a_new_file(
    folder: Path, default: bytes, mode: int
) -> None:
    path = folder / "file"
    with default_acl(folder, default):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        assert inherited(default, mode) == permissions_of(path)
    finally:
        path.unlink()


@pytest.fixture(params=["spooled", "unnamed", "on tmpfs"])
def store(
    request: pytest.FixtureRequest,
    open_store: OpenStore,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[LocalStore]:
    """A store with a folder `anna`, whose files are written in one of the three ways."""
    (directory / "anna").mkdir(parents=True)
    if request.param == "on tmpfs":
        with tmpfs(directory / "anna"):
            yield open_store()
        return
    if request.param == "unnamed":
        monkeypatch.setattr(target, "same_filesystem", lambda *_: False)
    yield open_store()


@pytest.mark.parametrize(
    "value",
    [EXAMPLE, with_users({}, {}, [7, 0, 0, 4]), with_users({1: 0}, {}, [6, 4, 0, 0])],
    ids=["named", "modes", "mask"],
)
async def test_a_file_gets_the_acl_of_one_created_in_its_folder(
    store: LocalStore, directory: Path, value: bytes
) -> None:
    anna = directory / "anna"
    with default_acl(anna, value):
        await put(store, "anna/a.bin")
        os.close(os.open(anna / "there", os.O_CREAT | os.O_WRONLY, 0o640))
        assert permissions_of(anna / "a.bin") == permissions_of(anna / "there")
        await put(store, "anna/new/a.bin")
        (anna / "made").mkdir(mode=0o750)
        assert permissions_of(anna / "new") == permissions_of(anna / "made")
        assert os.getxattr(anna / "new", DEFAULT) == value
        assert permissions_of(anna / "new/a.bin") == permissions_of(anna / "a.bin")
    await put(store, "anna/without.bin")
    assert permissions_of(anna / "without.bin") == (0o640, None)


async def test_an_acl_set_during_the_upload_has_its_effect(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    async with await store.create("1", "a.bin") as file:
        with default_acl(directory, EXAMPLE):
            await file.commit()
    assert permissions_of(directory / "a.bin") == inherited(EXAMPLE, 0o640)


async def test_the_spool_inherits_no_acl(open_store: OpenStore, directory: Path) -> None:
    open_store().close()
    os.rename(directory / ".galileod", directory / "removed")
    with default_acl(directory, EXAMPLE):
        async with await open_store().create("1", "anna/a.bin"):
            with pytest.raises(OSError, match="No data"):
                os.getxattr(directory / ".galileod/spool", DEFAULT)


async def test_a_file_gets_the_group_of_a_folder_with_setgid(
    store: LocalStore, directory: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving files to another group needs root")
    anna = directory / "anna"
    os.chown(anna, -1, GROUP)
    anna.chmod(0o750)
    await put(store, "anna/before.bin")
    assert (anna / "before.bin").stat().st_gid == os.getegid()
    anna.chmod(0o2750)
    await put(store, "anna/a.bin")
    await put(store, "anna/new/a.bin")
    for path in ("a.bin", "new", "new/a.bin"):
        assert (anna / path).stat().st_gid == GROUP
    assert stat.S_IMODE((anna / "a.bin").stat().st_mode) == 0o640
    assert stat.S_IMODE((anna / "new").stat().st_mode) == 0o2750


def test_who_may_not_give_files_to_that_group_creates_them_there(directory: Path) -> None:
    directory.mkdir()
    os.chown(directory, -1, GROUP)
    directory.chmod(0o2750)
    assert put_unprivileged(directory, "a.bin", "anna/a.bin") == ["a.bin", "anna/a.bin"]
    for path, mode in {"a.bin": 0o640, "anna": 0o2750, "anna/a.bin": 0o640}.items():
        state = (directory / path).stat()
        assert (state.st_gid, stat.S_IMODE(state.st_mode)) == (GROUP, mode)
    assert spool(directory) == []


def test_users_and_groups_that_a_namespace_lacks_are_inherited(directory: Path) -> None:
    directory.mkdir()
    os.chown(directory, -1, GROUP)
    directory.chmod(0o2770)
    with default_acl(directory, EXAMPLE):
        stored = put_unprivileged(directory, "a.bin", "anna/a.bin", by=USER_NAMESPACE)
    assert stored == ["a.bin", "anna/a.bin"]
    assert (directory / "a.bin").stat().st_gid == GROUP
    assert (directory / "anna/a.bin").stat().st_gid == GROUP
    assert permissions_of(directory / "a.bin") == inherited(EXAMPLE, 0o640)
    assert permissions_of(directory / "anna/a.bin") == inherited(EXAMPLE, 0o640)
    assert spool(directory) == []


async def test_who_may_not_set_the_acl_creates_files_there(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        # As in a user namespace that does not have the user of an entry.
        raise OSError(22, "Invalid argument")

    store = open_store()
    monkeypatch.setattr(inheritance, "set_acl", refuse)
    with default_acl(directory, EXAMPLE):
        await put(store)
    assert permissions_of(directory / "a.bin") == inherited(EXAMPLE, 0o640)


async def test_an_acl_that_may_not_be_set_at_the_end_gives_a_copy_that_was_created_there(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    store = open_store()
    async with await store.create("1", "a.bin") as file:
        await file.write([b"data"])
        monkeypatch.setattr(inheritance, "set_acl", refuse)
        with default_acl(directory, EXAMPLE):
            await file.commit()
    assert permissions_of(directory / "a.bin") == inherited(EXAMPLE, 0o640)
    assert (directory / "a.bin").read_bytes() == b"data"
    assert spool(directory) == []


def test_a_folder_has_its_permissions_whatever_the_umask(folder: Path) -> None:
    parent = os.open(folder, os.O_RDONLY)
    before = os.umask(0o077)
    try:
        assert make_folder(parent, "made", 0o750)
        assert not make_folder(parent, "made", 0o750)
        with pytest.raises(FileNotFoundError):
            make_folder(parent, "missing/made", 0o750)
        assert os.umask(0o077) == 0o077, "that of this thread is unchanged"
    finally:
        os.umask(before)
        os.close(parent)
    assert stat.S_IMODE((folder / "made").stat().st_mode) == 0o750
