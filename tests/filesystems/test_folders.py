"""Trees with folders that are hard for some filesystem: nothing is lost, and nothing astray."""

import os
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from typing import Final

import pytest
from filesystems.hosts import check_ledger, configured
from helpers.bursts import Burst, key_of
from helpers.daemon import Daemon

from galileod.policy.folders import MAX_DEPTH
from galileod.policy.publication import OnConflict

THEN: Final = 1_234_567_890_000
TOLERANCE: Final = 2.0
"""Seconds: FAT has an even number of them."""

FOLDERS: Final = (
    "", "june", "June", "JUNE", "june/first", "JUNE/First",
    "caf\u00e9", unicodedata.normalize("NFD", "caf\u00e9"), "CAFE\u0301",
    "stra\u00dfe", "STRASSE", "\u212a", "k", "\u0130", "i\u0307",
    "trail", "trail. ", "trail.", "nul", "_nul", "NUL.x/com1", "a:b", "a?b", "a<b",
    "..", "../..", "../../etc", ".galileod/spool", "\u200c.galileod", "GALILE~1", "GALILE~1/spool",
    "x" * 300, "x" * 241, "\U0001f600" * 75, "\u00e9" * 150 + "/" + "\u4e2d" * 90,
    "/".join(["d"] * MAX_DEPTH), "\U0001f468\u200d\U0001f469\u200d\U0001f467/\U00020000/\u0378",
    "\ud800/\udfff", "a\x01b/\n", "it's `a` \"name\" $(x) %41 & more",
)  # fmt: skip


@pytest.fixture
def burst(host: Daemon) -> Iterator[Burst]:
    with closing(Burst(host, os.urandom(8).hex())) as burst:
        assert burst.begin()
        yield burst


@pytest.mark.parametrize("on_conflict", ["rename", "reject", "replace"])
def test_a_hostile_tree_is_stored_and_nothing_of_it_is_lost(
    host: Daemon, on_conflict: OnConflict
) -> None:
    base = os.urandom(4).hex()
    with (
        configured(host, on_conflict=on_conflict, layout=f"{base}/{{folder}}/{{name}}"),
        closing(Burst(host, base)) as burst,
    ):
        assert burst.begin()
        sent = {}
        for folder in FOLDERS:
            for name in ("a.jpg", "A.JPG"):
                content = f"{folder!a} {name}".encode()
                key = key_of(f"{base}{folder!a}{name}")
                more = {"folder": folder, "modified": THEN, "upload": key}
                sent[burst.send_whole(name, content, **more)] = content
        burst.hear_all(sent)
        stored = {}
        for number, content in sent.items():
            answer = burst.answers[number]
            if "path" in answer:
                stored[answer["path"]] = content  # the last one has replaced others
            else:
                refused = {"bad_name"} | ({"conflict"} if on_conflict == "reject" else set())
                assert answer["code"] in refused, answer
    if on_conflict == "rename":
        assert len(stored) == sum("path" in burst.answers[number] for number in sent)
    for path, content in stored.items():
        assert path.startswith(f"{base}/")
        file = host.directory / path
        assert file.name in os.listdir(file.parent)
        assert abs(file.stat().st_mtime - THEN / 1000) <= TOLERANCE
        if on_conflict != "replace":
            assert file.read_bytes() == content
    assert {"lock", "spool"} <= {*os.listdir(host.directory / ".galileod")}
    assert os.listdir(host.directory / ".galileod/spool") == []
    check_ledger(host)


def test_the_state_directory_is_reached_by_no_other_name(host: Daemon, burst: Burst) -> None:
    before = sorted(os.listdir(host.directory / ".galileod"))
    numbers = [
        burst.send_whole("x", b"content", folder=folder)
        for folder in ("GALILE~1", "galile~1/spool", "\u200c.galileod", ".GALILEOD", ".galileod")
    ]
    burst.hear_all(numbers)
    codes = {burst.answers[number].get("code", "stored") for number in numbers}
    assert codes <= {"stored", "conflict", "bad_name"}
    assert sorted(os.listdir(host.directory / ".galileod")) == before
    assert os.listdir(host.directory / ".galileod/spool") == []
    check_ledger(host)


def test_a_file_and_a_folder_that_fall_together(host: Daemon, burst: Burst) -> None:
    base = os.urandom(4).hex()
    pairs = [("caf\u00e9", "cafe\u0301"), ("June", "june"), ("same", "same")]
    for at, (file, folder) in enumerate(pairs):
        first = burst.send_whole(file, b"file", folder=f"{base}{at}")
        burst.hear_all([first])
        second = burst.send_whole("x", b"in folder", folder=f"{base}{at}/{folder}")
        burst.hear_all([second])
        assert burst.answers[first].get("close"), burst.answers[first]
        assert (host.directory / burst.answers[first]["path"]).read_bytes() == b"file"
        answer = burst.answers[second]
        if "path" in answer:
            assert (host.directory / answer["path"]).read_bytes() == b"in folder"
        else:
            assert answer["code"] == "conflict"
            assert "is not a folder" in answer["error"]
    assert burst.answers[6]["code"] == "conflict"
    check_ledger(host)
