"""Uploads by the library that outlive their connections."""

import hashlib
import io
import os
from pathlib import Path

import pytest
import trio
from client.resumable import KEEP, Act, ResumableServer
from helpers.clients import some_bytes
from helpers.sending import parts
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.client import (
    LostError,
    Progress,
    RefusedError,
    SendError,
    SourceError,
    send_file,
    send_file_sync,
)
from galileod.client.content import Content
from galileod.client.retry import RETRIES
from galileod.client.transfer import OLD_SERVERS
from galileod.protocol.errors import FaultCode

MIB: int = 1024 * 1024
DATA = some_bytes(3 * MIB + 7)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waits between attempts."""
    monkeypatch.setattr("galileod.client.retry.MAX_WAIT", 0.0)


CUTS: dict[str, list[Act]] = {
    "before the first ready": [Act(after=1), Act("metadata"), Act("finished"), Act("metadata")],
    "at the first byte": [Act(after=1)],
    "in the middle of a chunk": [Act(after=123_456)],
    "again and again": [Act(after=count) for count in (1, 99_999, 100_000, 100_001, 7, 2 * MIB)],
    "at the last byte": [Act(after=len(DATA))],
    "before the last byte": [Act(after=len(DATA) - 1), Act("metadata")],
    "after finished": [Act("finished")],
    "before close": [Act("close")],
    "everywhere": [Act(after=MIB), Act("metadata"), Act("finished"), Act("close")],
    "with bytes that the server loses": [Act(after=2 * MIB), Act(after=MIB, forgets=MIB + 3)],
    "with all bytes lost": [Act(after=2 * MIB), Act(after=5, forgets=2 * MIB), Act("finished")],
}


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("size", [len(DATA), 250_000, 1, 0])
async def test_a_file_arrives_whole_and_once_wherever_the_line_is_cut(
    name: str, size: int, tmp_path: Path
) -> None:
    data, path = DATA[:size], tmp_path / "a.bin"
    path.write_bytes(data)
    acts = [act for act in CUTS[name] if act.after is None or act.after <= size]
    if acts and acts[0].lost == "metadata":
        acts = acts[1:]  # the library goes on only once the server has agreed
    with ResumableServer(*acts) as server:
        receipt = await send_file(server.url, path)
    assert server.stored == [data]
    assert len(set(server.keys)) == 1
    assert receipt.hashes == {"sha1": hashlib.sha1(data, usedforsecurity=False).hexdigest()}
    assert receipt.resumed == 0
    assert server.received <= size + sum(act.forgets for act in acts)


@pytest.mark.parametrize(
    "code",
    [
        FaultCode.IDLE,
        FaultCode.TOO_SLOW,
        FaultCode.BUSY,
        FaultCode.SHUTTING_DOWN,
        FaultCode.STORAGE_FAILED,
    ],
)
async def test_it_goes_on_after_a_fault_that_passes(code: FaultCode) -> None:
    with ResumableServer(Act(after=MIB, code=code)) as server:
        await send_file(server.url, DATA, name="a")
    assert server.stored == [DATA]
    assert server.received == len(DATA)


@pytest.mark.parametrize("code", [FaultCode.IDLE, FaultCode.TOO_SLOW])
async def test_a_fault_that_passes_need_not_state_again_what_the_server_can(
    code: FaultCode,
) -> None:
    with ResumableServer(Act(after=MIB), Act("metadata", old=True, code=code)) as server:
        await send_file(server.url, DATA, name="a")
    assert server.stored == [DATA]
    assert server.received == len(DATA)


@pytest.mark.parametrize("code", [FaultCode.NO_SPACE, FaultCode.QUOTA_EXCEEDED, FaultCode.CONFLICT])
async def test_it_does_not_go_on_after_another_and_says_what_is_kept(code: FaultCode) -> None:
    with ResumableServer(Act(after=MIB, code=code)) as server:
        with pytest.raises(RefusedError, match="The server keeps what it has for 24 hours") as no:
            await send_file(server.url, DATA, name="a")
        assert server.connections == 1
    assert no.value.kept == KEEP
    assert not no.value.transient


async def test_an_upload_that_was_taken_over_is_left_to_the_other() -> None:
    with ResumableServer(Act(after=MIB, code=FaultCode.TAKEN_OVER, kept=False)) as server:
        with pytest.raises(RefusedError, match="Another client has taken this upload over"):
            await send_file(server.url, DATA, name="a")
        assert server.connections == 1
    assert not server.abandoned


@pytest.mark.parametrize("kind", ["bytes", "file", "memory"])
async def test_each_content_that_can_be_read_again_goes_on(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"before" + DATA)
    with ResumableServer(Act(after=MIB), Act(after=MIB)) as server, path.open("rb") as file:
        memory = io.BytesIO(b"before" + DATA)
        for each in (file, memory):
            each.seek(6)
        contents: dict[str, Content] = {"bytes": DATA, "file": file, "memory": memory}
        await send_file(server.url, contents[kind], name="a")
    assert server.stored == [DATA]
    assert server.received == len(DATA)
    assert {metadata.modified for metadata in server.metadata} == {None}


async def test_what_can_be_read_only_once_is_sent_as_ever() -> None:
    with ResumableServer(Act(after=MIB)) as server:
        with pytest.raises(LostError):
            await send_file(server.url, parts(DATA), name="a", size=len(DATA))
        assert server.connections == 1
    (metadata,) = server.metadata
    assert (metadata.can, metadata.upload, metadata.modified) == (None, None, None)


async def test_without_resume_it_is_sent_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(DATA)
    with ResumableServer(Act(after=MIB)) as server:
        with pytest.raises(LostError):
            await send_file(server.url, path, resume=False)
        assert server.connections == 1
    (metadata,) = server.metadata
    assert (metadata.can, metadata.upload) == (None, None)


async def test_attempts_are_counted_only_while_nothing_gets_through() -> None:
    step = len(DATA) // (3 * RETRIES)
    with ResumableServer(*[Act(after=step)] * (3 * RETRIES)) as server:
        await send_file(server.url, DATA, name="a")
    assert server.stored == [DATA]
    with ResumableServer(Act(after=MIB), *[Act("metadata")] * (RETRIES + 5)) as server:
        with pytest.raises(LostError) as lost:
            await send_file(server.url, DATA, name="a")
        assert server.connections == 1 + RETRIES
    assert lost.value.kept == KEEP
    assert not lost.value.uncertain


async def test_the_library_tries_once_before_the_server_has_agreed() -> None:
    for act in (Act("metadata"), Act("metadata", old=True), Act(after=MIB, old=True)):
        with ResumableServer(act) as server:
            with pytest.raises(LostError):
                await send_file(server.url, DATA, name="a")
            assert server.connections == 1


async def test_an_old_server_is_uncertain_after_finished() -> None:
    with ResumableServer(Act("finished", old=True)) as server:
        with pytest.raises(LostError, match="may be stored") as lost:
            await send_file(server.url, DATA, name="a")
        assert server.connections == 1
    assert lost.value.uncertain


async def test_an_old_server_behind_the_same_address_is_avoided() -> None:
    acts = [Act(after=MIB), *[Act(old=True)] * OLD_SERVERS, Act(after=MIB), Act(old=True)]
    with ResumableServer(*acts) as server:
        receipt = await send_file(server.url, DATA, name="a")
    assert server.offsets == [0, MIB, 2 * MIB]
    assert server.received == len(DATA)
    assert receipt.resumed == 0


async def test_where_all_servers_are_old_now_the_file_is_sent_anew() -> None:
    acts = [Act(after=MIB), *[Act(old=True)] * (OLD_SERVERS + 1)]
    with ResumableServer(*acts) as server:
        receipt = await send_file(server.url, DATA, name="a")
        assert server.connections == 2 + OLD_SERVERS
    assert server.stored == [DATA]
    assert server.received == len(DATA) + MIB
    assert receipt.hashes == {"sha1": hashlib.sha1(DATA, usedforsecurity=False).hexdigest()}


async def test_what_the_server_has_of_another_content_is_abandoned_once() -> None:
    heard: list[object] = []
    # Behind `forgets` the hash of what is left is not known to the client: it has hashed more.
    acts = [Act("finished"), Act(check="0" * 40)]
    with ResumableServer(*acts) as server:
        await send_file(server.url, DATA, name="a", on_warning=heard.append)
    assert server.stored == [DATA]
    first, second, third = server.keys
    assert first == second != third
    assert server.abandoned == [first]
    assert "are not those of a. It is sent anew." in str(heard)
    acts = [Act("finished"), Act(check="0" * 40), Act("finished"), Act(check="0" * 40)]
    with ResumableServer(*acts) as server:
        with pytest.raises(SendError, match="are not those of a"):
            await send_file(server.url, DATA, name="a")
        assert server.acts == []
    assert len(server.abandoned) == 2


async def test_a_hash_of_another_type_is_not_compared() -> None:
    with ResumableServer(Act("finished"), Act(check="0" * 40)) as server:
        await send_file(server.url, DATA, name="a", hash="sha256")
    assert server.stored == [DATA]
    assert not server.abandoned


async def test_a_file_that_changed_between_attempts_begins_anew(tmp_path: Path) -> None:
    path, other, heard = tmp_path / "a", some_bytes(2 * MIB), list[object]()
    path.write_bytes(DATA)

    def replace() -> None:
        (tmp_path / "b").write_bytes(other)
        os.replace(tmp_path / "b", path)

    with ResumableServer(Act(after=MIB, does=replace)) as server:
        receipt = await send_file(server.url, path, on_warning=heard.append)
    assert server.stored == [other]
    assert receipt.size == len(other)
    assert server.keys[0] != server.keys[1]
    assert server.abandoned == [server.keys[0]]
    assert f"{path} has changed since it was begun; it is sent anew." in str(heard)


def replace(path: Path, data: bytes, modified: int) -> None:
    """Put another file in its place; one that is open keeps its own time."""
    other = path.with_name("other")
    other.write_bytes(data)
    os.utime(other, ns=(modified, modified))
    os.replace(other, path)


@pytest.mark.parametrize("kind", ["sha1", None])
async def test_one_that_got_another_time_between_attempts_goes_on_if_its_hash_is_the_same(
    tmp_path: Path, kind: str | None
) -> None:
    path = tmp_path / "a"
    path.write_bytes(DATA)

    def touch() -> None:
        replace(path, DATA, 0)

    with ResumableServer(Act(after=MIB, does=touch), Act("close", does=touch)) as server:
        await send_file(server.url, path, hash=kind)
    assert server.stored == [DATA]
    assert len(set(server.keys)) == (1 if kind else 2)
    assert server.received == len(DATA) + (0 if kind else MIB)


async def test_one_of_the_same_size_with_another_content_begins_anew(tmp_path: Path) -> None:
    path, other, heard = tmp_path / "a", bytes(len(DATA)), list[object]()
    path.write_bytes(DATA)
    with ResumableServer(Act(after=MIB, does=lambda: replace(path, other, 0))) as server:
        await send_file(server.url, path, on_warning=heard.append)
    assert server.stored == [other]
    assert heard == [{"error": f"{path} has changed since it was begun; it is sent anew."}]


async def test_a_file_that_was_deleted_after_it_was_opened_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(DATA)
    with ResumableServer(Act(after=MIB, does=path.unlink)) as server:
        await send_file(server.url, path)
    assert server.stored == [DATA]


async def test_a_file_that_changes_while_it_is_sent_is_an_error_and_abandoned(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(8 * MIB))

    def write(progress: Progress) -> None:
        if progress.sent > MIB:
            with path.open("r+b") as file:
                file.write(b"1")
            os.utime(path, ns=(0, 0))

    with ResumableServer() as server:
        with pytest.raises(SourceError, match="was modified while it was sent"):
            await send_file(server.url, path, on_progress=write)
        assert server.abandoned == server.keys


@pytest.mark.parametrize("end", ["cancelled", "error"])
async def test_what_nobody_can_continue_is_abandoned_at_the_end(end: str) -> None:
    scope = trio.CancelScope()

    def on_progress(progress: Progress) -> None:
        if progress.sent > MIB:
            scope.cancel()
            if end == "error":
                raise ZeroDivisionError

    with ResumableServer(Act(after=2 * MIB)) as server:
        try:
            with scope:
                await send_file(server.url, DATA, name="a", on_progress=on_progress)
        except ZeroDivisionError:
            assert end == "error"
        assert scope.cancel_called
        assert server.abandoned == server.keys
    assert server.stored == []


async def test_what_is_remembered_is_left_for_the_next_call_when_it_is_cancelled(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a"
    path.write_bytes(DATA)
    with ResumableServer(Act(after=2 * MIB)) as server:
        with trio.CancelScope() as scope:
            await send_file(server.url, path, on_progress=lambda _: scope.cancel())
        assert scope.cancelled_caught
        assert server.abandoned == []
        await send_file(server.url, path)
        assert len(set(server.keys)) == 1
    assert server.stored == [DATA]


async def test_progress_goes_on_at_the_servers_offset() -> None:
    seen: list[Progress] = []
    with ResumableServer(Act(after=2 * MIB), Act(after=5, forgets=MIB)) as server:
        await send_file(server.url, DATA, name="a", on_progress=seen.append)
    sent = [progress.sent for progress in seen]
    assert sent[-1] == len(DATA)
    assert max(sent) == len(DATA)
    assert {progress.resumed for progress in seen} == {0}
    seconds = [progress.seconds for progress in seen]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("resume", [1, None, "yes"])
async def test_resume_is_true_or_false(resume: object) -> None:
    with pytest.raises(SendError, match="resume must be True or False"):
        await send_file("ws://h/", b"", name="a", resume=resume)  # type: ignore[arg-type]


async def test_the_key_is_in_no_text(capfd: pytest.CaptureFixture[str]) -> None:
    heard: list[object] = []
    acts = [Act(after=MIB), Act(after=MIB, code=FaultCode.CONFLICT)]
    with ResumableServer(*acts) as server, pytest.raises(RefusedError) as no:
        await send_file(server.url, DATA, name="a", on_warning=heard.append)
    (key,) = set(server.keys)
    assert key
    output = capfd.readouterr()
    for text in (repr(no.value), repr(vars(no.value)), repr(heard), output.out, output.err):
        assert key not in text


@given(
    st.lists(
        st.tuples(st.integers(1, 200_000), st.integers(0, 100_000), st.booleans(), st.booleans()),
        max_size=RETRIES - 1,
    ),
    st.integers(0, 400_000),
    st.sampled_from(["sha1", "sha256", None]),
)
@settings(max_examples=30, deadline=None)
def test_any_cuts_and_losses_leave_one_whole_file(
    cuts: list[tuple[int, int, bool, bool]], size: int, kind: str | None
) -> None:
    data = DATA[:size]
    acts = [
        Act("finished" if late else "", after=None if late else after, forgets=forgets, old=old)
        for after, forgets, late, old in cuts
    ]
    if acts and acts[0].old:
        del acts[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("galileod.client.retry.MAX_WAIT", 0.0)
        with ResumableServer(*acts, chunk=30_000) as server:
            try:
                receipt = send_file_sync(server.url, data, name="a", hash=kind)
            except LostError as lost:
                # Among old servers alone, as ever.
                assert lost.uncertain or server.metadata[-1].upload is not None  # noqa: PT017
                assert any(act.old for act in acts)
                return
    assert server.stored == [data]
    expected = {kind: hashlib.new(kind, data).hexdigest()} if kind else {}
    assert receipt.hashes == expected
