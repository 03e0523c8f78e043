"""What the folder of a file refuses is found out before any data, and without a trace."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.disk import descriptors
from helpers.local_store import DATA, put, spool, visible
from helpers.mounts import mounted
from helpers.unprivileged import put_unprivileged

from galileod.policy.publication import OnConflict
from galileod.storage.errors import BadNameError, ConflictError, StorageError
from galileod.storage.local import LocalStore, publish

OpenStore = Callable[..., LocalStore]


async def check_refused(
    store: LocalStore, path: str, kind: type[StorageError], message: str
) -> None:
    before = descriptors()
    with pytest.raises(kind, match=message) as refused:
        await store.create("1", path)
    assert type(refused.value) is kind
    assert spool(Path(store.location)) == []
    assert descriptors() == before


async def test_a_read_only_folder(open_store: OpenStore, directory: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    with mounted(directory / "anna", "--bind", "-o", "ro", str(tmp_path / "elsewhere")):
        await check_refused(open_store(), "anna/a.bin", StorageError, "anna: Read-only file system")


def test_a_folder_of_another_user(directory: Path) -> None:
    (directory / "anna").mkdir(parents=True, mode=0o755)
    os.chown(directory / "anna", 65534, 65534)
    refused, stored = put_unprivileged(directory, "anna/a.bin", "a.bin")
    assert refused == "StorageError: cannot use the folder anna: it is not writable"
    assert stored == "a.bin"


@pytest.mark.parametrize("on_conflict", ["rename", "reject", "replace"])
async def test_a_directory_of_the_name(
    open_store: OpenStore, directory: Path, on_conflict: OnConflict
) -> None:
    store = open_store(on_conflict)
    (directory / "a.bin").mkdir()
    if on_conflict == "rename":
        assert await put(store) == "a (1).bin"
    else:
        await check_refused(store, "a.bin", ConflictError, r"a\.bin")


async def test_something_else_in_the_place_of_a_folder(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    os.mkfifo(directory / "anna")
    await check_refused(store, "anna/a.bin", ConflictError, "anna is not a folder")


async def test_a_name_too_long_for_the_filesystem(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    real = os.fstatvfs

    # As of eCryptfs.
    def short(fd: int) -> SimpleNamespace:
        state = real(fd)
        free = {"f_bavail": state.f_bavail, "f_frsize": state.f_frsize}
        return SimpleNamespace(f_flag=state.f_flag, f_namemax=143, **free)

    monkeypatch.setattr(os, "fstatvfs", short)
    longest = "n" * (143 - len(" (9999)"))
    assert await put(store, longest) == longest
    assert await put(store, longest) == f"{longest} (1)"
    await check_refused(store, longest + "n", BadNameError, "does not accept the name n+")
    await check_refused(store, "\u00e4" * 70, BadNameError, "does not accept the name")


async def test_a_name_that_the_filesystem_does_not_know(
    directory: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def ascii_only(path: str, *arguments: object, **options: object) -> int:
        if not path.isascii():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", ascii_only)
    store = open_store()
    assert not store._spool.any_name
    await check_refused(store, "\u00e4.bin", BadNameError, "does not accept the name \u00e4")
    assert await put(store, "a+b.bin") == "a+b.bin"
    assert spool(directory) == []


@pytest.mark.parametrize("code", sorted(publish.REFUSED_NAME))
async def test_a_name_that_is_refused_when_it_is_published(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    store = open_store()
    monkeypatch.setattr(publish, "rename_noreplace", refuse)
    with pytest.raises(BadNameError, match=r"a\.bin"):
        await put(store)
    assert visible(directory) == {}
    assert spool(directory) == []


async def test_where_a_file_can_neither_be_renamed_nor_linked_the_start_is_refused(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(code: int) -> Callable[..., None]:
        def call(*_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code))

        return call

    for code in (errno.EINVAL, errno.ENOSYS):
        with monkeypatch.context() as patch:
            patch.setattr("galileod.storage.local.spool.rename_noreplace", unsupported(code))
            store = open_store()
            assert not store._spool.renames
            assert await put(store, f"{code}") == f"{code}"
            assert await put(store, f"{code}") == f"{code} (1)"
            assert (directory / f"{code} (1)").read_bytes() == DATA
            store.close()
            patch.setattr(os, "link", unsupported(errno.EPERM))
            with pytest.raises(StorageError, match=r"neither rename .* nor link"):
                open_store()
    assert spool(directory) == []
