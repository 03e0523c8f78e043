"""What a command is to send."""

import os
from pathlib import Path

import pytest

from galileod.client import SourceError
from galileod.client.command.jobs import Job, Skipped, collect, duplicate_places


def listed(found: list[Job | Skipped]) -> list[tuple[str, str]]:
    return [
        (entry.label, entry.why) if isinstance(entry, Skipped) else (entry.label, entry.name)
        for entry in found
    ]


def test_files_become_jobs_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"123")
    first, second = collect([str(tmp_path / "b"), "none/a"], None, recursive=False)
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    assert (first.name, first.size) == ("b", 3)
    assert (second.name, second.size) == ("a", None)


async def test_a_job_opens_as_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    (job,) = collect([str(path)], "name", recursive=False)
    assert isinstance(job, Job)
    assert job.name == "name"
    assert await job.open() == str(path)


async def test_a_folder_and_a_fifo_say_what_the_command_can_do_with_them(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    folder, fifo = collect([str(tmp_path), str(tmp_path / "fifo")], None, recursive=False)
    assert isinstance(folder, Job)
    assert isinstance(fifo, Job)
    with pytest.raises(SourceError, match=r"is a directory. Use --recursive to send its files.$"):
        await folder.open()
    with pytest.raises(SourceError, match=r"is not a regular file. Pipe its content to - instead"):
        await fifo.open()


def test_what_is_named_twice_is_sent_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("a", "sub/b"):
        (tmp_path / name).touch()
    paths = [".", "sub", str(tmp_path / "sub" / "b"), "a", "sub/../a"]
    assert [name for _, name in listed(collect(paths, None, recursive=True))] == ["a", "b"]


def test_a_folder_without_files_is_passed_over_with_a_word(tmp_path: Path) -> None:
    (tmp_path / "empty" / "too").mkdir(parents=True)
    found = listed(collect([str(tmp_path)], None, recursive=True))
    assert found == [(str(tmp_path), "it contains no files")]


def test_a_folder_gives_its_files_at_any_depth_in_order(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a/deep/er/x", "0", ".hidden"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "0")
    (tmp_path / "a" / "broken").symlink_to("nowhere")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "b" / "fifo")
    found = listed(collect([str(tmp_path)], None, recursive=True))
    folder = f"{tmp_path}/"
    assert [(path.removeprefix(folder), rest) for path, rest in found] == [
        (".hidden", ".hidden"),
        ("0", "0"),
        ("a/broken", "broken"),
        ("a/link", "link"),
        ("a/loop", "a link to a directory"),
        ("a/deep/er/x", "x"),
        ("b/1", "1"),
        ("b/2", "2"),
        ("b/fifo", "not a regular file"),
    ]


def test_folders_may_be_deeper_than_pythons_stack(tmp_path: Path) -> None:
    deepest = str(tmp_path) + "/d" * 1200
    os.makedirs(deepest[: len(str(tmp_path)) + 1000])
    os.makedirs(deepest)
    with open(f"{deepest}/x", "w"):
        pass
    found = listed(collect([str(tmp_path)], None, recursive=True))
    assert found == [(f"{deepest}/x", "x")]
    while deepest != str(tmp_path):  # pytest would call itself as often
        for name in os.listdir(deepest):
            (os.rmdir if name == "d" else os.unlink)(f"{deepest}/{name}")
        deepest = os.path.dirname(deepest)


def test_names_that_occur_twice_are_found() -> None:
    found = [Job(path, _none, path[-1]) for path in ("a/x", "b/x", "c/y")]
    assert duplicate_places(found) == ["x"]
    found = [Job(path, _none, path[-1], folder=path[0]) for path in ("a/x", "b/x", "b/x")]
    assert duplicate_places(found) == ["b/x"]


@pytest.mark.parametrize(
    ("chosen", "folder", "below"),
    [
        ("photos", "photos", "photos/june"),
        ("photos/", "photos", "photos/june"),
        ("photos//", "photos", "photos/june"),
        ("./photos", "photos", "photos/june"),
        ("{tmp}/photos", "photos", "photos/june"),
        ("here", "here", "here/june"),
        ("photos/.", None, "june"),
        ("photos/june/..", None, "june"),
        ("photos/june", "june", None),
        (".", None, "photos/june"),
    ],
)
def test_the_folder_begins_with_the_chosen_directory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chosen: str,
    folder: str | None,
    below: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "june").mkdir(parents=True)
    (tmp_path / "here").symlink_to("photos")
    (tmp_path / "photos" / "june" / "a").touch()
    if chosen not in (".", "photos/june"):
        (tmp_path / "photos" / "b").touch()
    found = collect([chosen.format(tmp=tmp_path)], None, recursive=True)
    folders = {job.name: job.folder for job in found if isinstance(job, Job)}
    if chosen == ".":
        assert folders == {"a": below}
    elif below is None:
        assert folders == {"a": folder}
    else:
        assert folders == {"a": below, "b": folder}
    flat = collect([chosen.format(tmp=tmp_path)], None, recursive=True, flat=True)
    assert {job.folder for job in flat if isinstance(job, Job)} == {None}


def test_a_named_file_has_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a").touch()
    for recursive in (False, True):
        (job,) = collect(["photos/a"], None, recursive=recursive)
        assert isinstance(job, Job)
        assert job.folder is None


def test_bytes_that_are_no_text_are_kept_in_a_folder(tmp_path: Path) -> None:
    odd = [b"caf\xe9", "cafe\u0301".encode(), b"a\\b", b" ", b"new\nline", "\u202e".encode()]
    place = os.path.join(os.fsencode(tmp_path), b"top", *odd)
    os.makedirs(place)
    with open(place + b"/\xff", "wb"):
        pass
    (job,) = collect([str(tmp_path / "top")], None, recursive=True)
    assert isinstance(job, Job)
    assert job.name == "\udcff"
    assert job.folder == "top/caf\udce9/cafe\u0301/a\\b/ /new\nline/\u202e"


async def _none() -> bytes:
    return b""
