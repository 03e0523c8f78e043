"""What a server is asked, and in how many questions."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import trio
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.client import File
from galileod.client.api_many import _items
from galileod.client.content import Content
from galileod.client.options import Options
from galileod.client.questions import MAX_TEXT, Question, make_questions, prepare
from galileod.client.work import Item
from galileod.protocol.encoding import encode_ask
from galileod.protocol.messages import MAX_ASKED, Ask, AskEntry, HashClaim


class Known(Item):
    """A file of which only this is known."""

    def __init__(self, entry: AskEntry | None, path: str | None = None) -> None:
        self.entry = entry
        self.path = path

    @property
    def question(self) -> AskEntry | None:
        return self.entry

    opened = stored = failed = None  # type: ignore[assignment]


async def prepared(questions: Iterable[Question]) -> list[list[Question]]:
    send, receive = trio.open_memory_channel[list[Question]](float("inf"))
    await prepare(trio.CancelScope(), list(questions), send)  # type: ignore[arg-type]
    return [list(batch) async for batch in receive]


LONG: Final = 9_000
"""Characters of a name that is longer than a question if it is escaped."""

entries = st.builds(
    AskEntry,
    name=st.text(max_size=300) | st.sampled_from(["x" * LONG, "é" * LONG]),
    size=st.integers(0, 2**63 - 1),
    folder=st.none() | st.text() | st.just("é/" * 500),
    modified=st.integers(-(2**70), 2**70),
)


@settings(max_examples=50)
@given(st.lists(entries, max_size=5), st.sampled_from([1, 2, 100]))
def test_each_is_asked_once_and_in_order_and_within_the_limits(
    asked: list[AskEntry], times: int
) -> None:
    known = [Known(evolve(entry, size=n)) for n, entry in enumerate(asked * times)]
    batches = trio.run(prepared, make_questions(known, by_hash=False))
    for batch in batches:
        text = encode_ask(Ask(tuple(one.entry for one in batch), 1_000_000))
        assert 0 < len(batch) <= MAX_ASKED
        assert len(text) <= MAX_TEXT
    found = [one.item for batch in batches for one in batch]
    assert found == [one for one in known if one.entry and one.entry.name != "é" * LONG]


def test_files_with_other_times_or_sizes_are_not_hashed(tmp_path: Path) -> None:
    known = [Known(AskEntry(str(n), n // 2, "f", n % 2)) for n in range(100)]
    questions = make_questions([*known, Known(None)], by_hash=False)
    assert [(one.item, one.entry, one.hash) for one in questions] == [
        (one, one.entry, False) for one in known
    ]


async def test_the_hash_is_asked_for_where_two_files_have_one_size_and_time(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_bytes(path.name.encode())
        os.utime(path, (5, 5 if path.name < "c" else 6))
    items = list(_items(map(str, paths), Options(), lambda _: None))
    first, second, third = (
        one.entry
        for (batch) in await prepared(make_questions(items, by_hash=False))
        for one in batch
    )
    a = HashClaim("sha1", "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8")
    assert first == AskEntry("a", 1, None, 5000, a)
    assert second.hash not in (None, a)
    assert third == AskEntry("c", 1, None, 6000)
    (batch,) = await prepared(make_questions(items, by_hash=True))
    assert [one.entry.modified for one in batch] == [None] * 3
    assert batch[0].entry.hash == a


async def test_what_cannot_be_hashed_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    items = list(_items([tmp_path / "a"], Options(), lambda _: None))
    gone = Known(AskEntry("gone", 1), str(tmp_path / "gone"))
    (batch,) = await prepared(make_questions([gone, *items], by_hash=True))
    assert [one.item for one in batch] == items
    assert await prepared(make_questions([gone], by_hash=True)) == []


def test_only_files_at_paths_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    os.utime(path, (1, 1))
    contents: list[Content] = [b"bytes", tmp_path / "none", tmp_path, path]
    files = [File(content, name="n", folder="a/b", modified=-1.5) for content in contents]
    items = list(_items([*files, path], Options(), lambda _: None))
    assert [item.question for item in items] == [
        None,
        None,
        None,
        AskEntry("n", 3, "a/b", -1500),
        AskEntry("a", 3, None, 1000),
    ]
