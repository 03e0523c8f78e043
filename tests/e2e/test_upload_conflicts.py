"""Uploads under a name that is taken, with each value of storage.on_conflict."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import pytest
from helpers.clients import (
    JavaScriptClient,
    expect_fault,
    expect_ready,
    hear,
    open_websocket,
    say,
    unique_name,
)
from helpers.daemon import Daemon, poll


@pytest.fixture(scope="module", params=["rename", "reject", "replace"])
def on_conflict(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def conflicting(on_conflict: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    settings = {"storage": {"on_conflict": on_conflict}}
    with Daemon(tmp_path_factory.mktemp(on_conflict), settings) as daemon:
        yield daemon.start()


STORED_AFTER_CONFLICT: Final = {
    "rename": {".tar.gz": b"first", " (1).tar.gz": b"second", " (2).tar.gz": b"third"},
    "reject": {".tar.gz": b"first"},
    "replace": {".tar.gz": b"third"},
}


def told_after_conflict(stem: str) -> Mapping[str, Sequence[Mapping[str, str]]]:
    """What `close` says beside: the name, where it is not the one that was sent."""
    return {
        "rename": [{}, {"name": f"{stem} (1).tar.gz"}, {"name": f"{stem} (2).tar.gz"}],
        "reject": [{}],
        "replace": [{}, {}, {}],
    }


def test_a_name_that_is_taken_is_dealt_with_as_configured(
    conflicting: Daemon, on_conflict: str
) -> None:
    stem = uuid.uuid4().hex
    outcomes = [
        JavaScriptClient(conflicting.url, data, f"{stem}.tar.gz").run()
        for data in (b"first", b"second", b"third")
    ]
    expected = STORED_AFTER_CONFLICT[on_conflict]
    stored = {
        name.removeprefix(stem): path.read_bytes()
        for name, path in conflicting.visible().items()
        if name.startswith(stem)
    }
    assert stored == expected
    later = {"conflict"} if on_conflict == "reject" else {None}
    assert {outcome.code for outcome in outcomes[1:]} == later
    told = [outcome.close for outcome in outcomes if outcome.ending == "stored"]
    assert told == [{"close": True, **name} for name in told_after_conflict(stem)[on_conflict]]
    if on_conflict != "reject":
        paths = [
            conflicting.wait_for("upload.stored", since=outcome.began, peer=outcome.peer)["path"]
            for outcome in outcomes
        ]
        last = [".tar.gz"] * 3 if on_conflict == "replace" else list(expected)
        assert paths == [str(conflicting.directory / (stem + end)) for end in last]


def test_two_uploads_of_one_name_at_once_end_as_configured(
    conflicting: Daemon, on_conflict: str
) -> None:
    name = unique_name()
    with open_websocket(conflicting.url) as websocket:
        say(websocket, name=name, size=5)
        expect_ready(websocket)
        assert JavaScriptClient(conflicting.url, b"other", name).run().ending == "stored"
        websocket.send(b"first")
        expect_ready(websocket)
        say(websocket, finished=True)
        if on_conflict == "reject":
            expect_fault(websocket, "conflict")
        elif on_conflict == "rename":
            assert hear(websocket) == {"close": True, "name": name.replace(".", " (1).")}
        else:
            assert hear(websocket) == {"close": True}
    content = b"first" if on_conflict == "replace" else b"other"
    assert (conflicting.directory / name).read_bytes() == content
    assert poll("an empty spool", lambda: not conflicting.spooled())
