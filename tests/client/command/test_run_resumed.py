"""`galileo-send` goes on with uploads that were interrupted, in this run and in the next."""

import json
import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from client.resumable import Act, ResumableServer
from helpers.clients import some_bytes
from helpers.daemon import DEADLINE, poll
from helpers.sending import GALILEO_SEND, Command, Process, objects

from galileod.client.command.batch import GO_ON
from galileod.protocol.errors import FaultCode

MIB = 1024 * 1024
DATA = some_bytes(5 * MIB + 3)


@pytest.fixture
def state() -> Path:
    return Path(os.environ["XDG_STATE_HOME"]) / "galileo-send"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(DATA)
    return path


def entries(state: Path) -> list[Path]:
    return sorted(state.iterdir()) if state.exists() else []


def entry(state: Path) -> dict[str, Any]:
    (path,) = entries(state)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def interrupted(server: ResumableServer, path: Path, number: int, *flags: str) -> tuple[int, str]:
    """The status and the errors of a process that got a signal when a part was sent."""
    run: list[str | Path] = [GALILEO_SEND, "--limit-rate", "2MB", *flags, server.url, path]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sending:
        poll("a part", lambda: server.received > MIB)
        sending.send_signal(number)
        out, err = sending.communicate(timeout=DEADLINE)
    return sending.returncode, (out if "--json" in flags else err).decode()


def test_each_break_costs_one_attempt_and_no_byte(
    command: Command, path: Path, state: Path
) -> None:
    acts = [Act("metadata"), Act(after=MIB), Act("metadata"), Act(after=MIB), Act("close")]
    with ResumableServer(*acts) as server:
        status, out, err = command("--retry-delay", "0", server.url, path)
    assert status == 0, err
    assert server.stored == [DATA]
    assert server.received == len(DATA)
    assert out.startswith(f"stored {path} (5.0 MiB, ")
    assert f"{path}: the server has 1.0 MiB of 5.0 MiB; the rest is sent.\n" in err
    assert entries(state) == []


def test_retries_are_counted_while_nothing_gets_through(command: Command, path: Path) -> None:
    acts = [*[Act(after=MIB)] * 4, *[Act("metadata")] * 3]
    with ResumableServer(*acts) as server:
        flags = ("--retry-delay", "0", "--retries", "2")
        status, _, err = command(*flags, server.url, path)
        assert server.connections == 4 + 2
        assert status == 1
        assert "(after 6 attempts)" in err
        assert f"The server keeps what it has for 24 hours. {GO_ON}" in err
        status, _, err = command(*flags, server.url, path)
    assert (status, server.stored, server.received) == (0, [DATA], len(DATA)), err
    with ResumableServer(Act(after=MIB)) as server:
        assert command("--retries", "0", server.url, path)[0] == 1
        assert server.connections == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_next_run_goes_on_where_one_was_ended(
    command: Command, path: Path, state: Path, number: int
) -> None:
    with ResumableServer() as server:
        interrupted(server, path, number)
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert [stat.S_IMODE(each.stat().st_mode) for each in entries(state)] == [0o600]
        found = entry(state)
        assert found["key"] == server.keys[0]
        assert (found["path"], found["name"], found["size"]) == (str(path), "a.bin", len(DATA))
        status, out, err = command("--json", server.url, path)
    assert status == 0, err
    assert server.stored == [DATA]
    assert server.keys[0] == server.keys[1]
    assert server.received == len(DATA)
    stored = next(line for line in objects(out) if line["event"] == "stored")
    resumed = next(line for line in objects(out) if line["event"] == "resumed")
    assert stored["resumed_at"] == resumed["offset"] == server.offsets[-1] > 0
    assert stored["hashes"]
    first = next(line["sent"] for line in objects(out) if line["event"] == "progress")
    assert first > server.offsets[-1]
    assert entries(state) == []


def test_the_next_run_goes_on_with_the_same_folder_and_time(
    command: Command, path: Path, state: Path
) -> None:
    flags, folder = ("--retries", "0", "--recursive"), path.parent.name
    with ResumableServer(Act(after=MIB)) as server:
        assert command(*flags, server.url, path.parent)[0] == 1
        assert entry(state)["folder"] == folder
        assert command(*flags, server.url, path.parent)[0] == 0
        assert server.stored == [DATA]
        assert server.received == len(DATA)
        begun, resumed = server.metadata
        assert (begun.upload, begun.folder, begun.modified) == (
            resumed.upload, folder, resumed.modified
        )  # fmt: skip
        command(*flags, server.url, path)  # without a folder it is another upload
    assert server.metadata[2].upload != begun.upload
    assert server.metadata[2].folder is None


def test_an_interruption_says_how_to_go_on(path: Path) -> None:
    with ResumableServer() as server:
        status, err = interrupted(server, path, signal.SIGINT)
        assert status == 130
        *_, line, summary = err.splitlines()
        assert line.startswith("galileo-send: about 1.")
        assert line.endswith(f"of 5.0 MiB are kept by the server for 24 hours. {GO_ON}")
        assert summary.startswith("Interrupted: 0 of 1 file stored")
    with ResumableServer() as server:
        status, out = interrupted(server, path, signal.SIGINT, "--json")
        assert any(line["event"] == "remark" and GO_ON in line["text"] for line in objects(out))
    with ResumableServer() as server:
        status, err = interrupted(server, path, signal.SIGINT, "--no-resume")
    assert GO_ON not in err


def test_what_was_stored_before_its_close_came_is_not_stored_again(
    command: Command, path: Path, state: Path
) -> None:
    with ResumableServer(Act("close")) as server:
        status, _, _ = command("--retries", "0", server.url, path)
        assert status == 1
        assert len(entries(state)) == 1
        status, out, err = command("--json", server.url, path)
    assert status == 0, err
    assert server.stored == [DATA]
    assert server.received == len(DATA)
    stored = next(line for line in objects(out) if line["event"] == "stored")
    assert (stored["resumed_at"], stored["hashes"], stored["chunks"]) == (len(DATA), {}, 0)
    assert entries(state) == []


def test_a_file_that_changed_since_is_sent_anew(command: Command, path: Path, state: Path) -> None:
    with ResumableServer(Act(after=MIB)) as server:
        command("--retries", "0", server.url, path)
        path.write_bytes(DATA[::-1])
        status, _, err = command(server.url, path)
    assert status == 0
    assert server.stored == [DATA[::-1]]
    assert f"{path} has changed since it was begun; it is sent anew." in err
    first, second = server.keys
    assert first != second
    assert server.abandoned == [first]
    assert entries(state) == []


def test_what_has_another_name_or_server_is_another_upload(
    command: Command, path: Path, state: Path
) -> None:
    lost = [Act(after=MIB)] * 2
    with ResumableServer(*lost) as server, ResumableServer(*lost) as other:
        command("--retries", "0", server.url, path)
        command("--retries", "0", "--name", "b", server.url, path)
        command("--retries", "0", other.url, path)
        command("--retries", "0", other.url + "/else", path)
        assert len(entries(state)) == 4
        assert len({*server.keys, *other.keys}) == 4
        command("--retries", "0", f"{other.url}?token=s3cret", path)
        assert len(entries(state)) == 3
        assert "s3cret" not in "".join(each.read_text() for each in entries(state))


@pytest.mark.parametrize("size", [MIB, MIB - 1, 0])
def test_only_what_servers_keep_is_remembered(
    command: Command, tmp_path: Path, state: Path, size: int
) -> None:
    (tmp_path / "a").write_bytes(bytes(size))
    with ResumableServer(Act("finished")) as server:
        status, _, _ = command("--retries", "0", server.url, tmp_path / "a")
    assert status == 1
    assert len(entries(state)) == (size == MIB)


def test_without_resume_nothing_is_remembered(command: Command, path: Path, state: Path) -> None:
    with ResumableServer(Act(after=MIB)) as server:
        status, _, err = command("--no-resume", "--retry-delay", "0", server.url, path)
    assert status == 0, err
    assert {metadata.can for metadata in server.metadata} == {None}
    assert server.keys == [None, None]
    assert server.received == len(DATA) + MIB
    assert not state.exists()


def test_to_an_old_server_nothing_is_remembered(command: Command, path: Path, state: Path) -> None:
    acts = [Act(after=MIB, old=True)] * 2
    with ResumableServer(*acts, Act(old=True)) as server:
        status, _, err = command("--retry-delay", "0", server.url, path)
    assert status == 0, err
    assert server.received == len(DATA) + 2 * MIB
    assert not state.exists()


def test_standard_input_that_was_spooled_goes_on_in_the_run(process: Process, state: Path) -> None:
    with ResumableServer(Act(after=MIB), Act(after=MIB)) as server:
        done = process("--retry-delay", "0", server.url, "-", stdin=DATA)
    assert done.returncode == 0, done.stderr
    assert server.stored == [DATA]
    assert server.received == len(DATA)
    assert not state.exists()


def test_a_stream_that_has_begun_is_not_tried_again(process: Process) -> None:
    with ResumableServer(Act(after=MIB)) as server:
        done = process("--size", str(len(DATA)), server.url, "-", stdin=DATA)
        assert server.connections == 1
    assert done.returncode == 1
    assert b"There is no retry: the input cannot be read again." in done.stderr
    assert server.keys == [None]


@pytest.mark.parametrize(
    ("code", "kept", "left"),
    [
        (FaultCode.NO_SPACE, True, 1),
        (FaultCode.CONFLICT, True, 1),
        (FaultCode.TAKEN_OVER, False, 1),
        (FaultCode.NO_SPACE, False, 0),
        (FaultCode.BAD_CHUNK, False, 0),
    ],
)
def test_what_is_refused_is_forgotten_unless_it_is_kept(
    command: Command, path: Path, state: Path, code: FaultCode, kept: bool, left: int
) -> None:
    with ResumableServer(Act(after=2 * MIB, code=code, kept=kept)) as server:
        status, out, err = command(server.url, path)
        assert server.connections == 1
    assert (status, out) == (1, "")
    assert (f"The server keeps what it has for 24 hours. {GO_ON}" in err) == kept
    assert ("Another client has taken this upload over" in err) == (code == FaultCode.TAKEN_OVER)
    assert len(entries(state)) == left, err


def test_a_kept_fault_is_told_in_json(command: Command, path: Path) -> None:
    with ResumableServer(Act(after=2 * MIB, code=FaultCode.NO_SPACE)) as server:
        _, out, _ = command("--json", server.url, path)
    failed = next(line for line in objects(out) if line["event"] == "failed")
    assert failed["kept"] == 24 * 3600


def test_a_file_that_changes_while_it_is_sent_is_forgotten(
    command: Command, path: Path, state: Path
) -> None:
    with ResumableServer(Act(after=MIB), Act(after=MIB)) as server:
        assert command("--retries", "0", server.url, path)[0] == 1
        assert len(entries(state)) == 1
        run: list[str | Path] = [GALILEO_SEND, "--limit-rate", "2MB", server.url, path]
        with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sending:
            poll("a part", lambda: server.received > MIB)
            with path.open("r+b") as file:
                file.write(bytes(MIB))
            _, err = sending.communicate(timeout=DEADLINE)
    # The first where it is read on, the others where the second connection is lost before that: by
    # what the server says, and by the file's stamp.
    noticed = [b"was modified while it was sent", b"are not those of", b"has changed since"]
    assert any(sentence in err for sentence in noticed), err
    assert entries(state) == []
    assert server.abandoned == [server.keys[0]]


def test_two_processes_do_not_take_an_upload_from_each_other(path: Path, state: Path) -> None:
    with ResumableServer(Act(after=MIB)) as server:
        first: list[str | Path] = [GALILEO_SEND, "--limit-rate", "2MB", server.url, path]
        subprocess.run([*first, "--retries", "0"], capture_output=True, check=False)
        assert server.connections == 1
        with subprocess.Popen(first, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sending:
            poll("the first", lambda: server.connections == 2)
            sending.send_signal(signal.SIGSTOP)  # it does not end before the other one begins
            second = subprocess.run(
                [GALILEO_SEND, "-v", server.url, path], capture_output=True, check=False
            )
            sending.send_signal(signal.SIGCONT)
            assert second.returncode == 0, second.stderr
            assert b"another upload of %s to this server is running" % bytes(path) in second.stderr
            sending.communicate(timeout=DEADLINE)
        assert sending.returncode == 0
    begun, *keys = server.keys
    assert begun in keys
    assert len(set(keys)) == 2, server.metadata  # whichever of the two was interrupted, and went on
    assert server.stored == [DATA, DATA]
    assert entries(state) == []


@pytest.fixture(params=["unwritable", "a file", "a link", "open to all", "of another user"])
def unusable(request: pytest.FixtureRequest, state: Path, tmp_path: Path) -> Path:
    """A state directory that cannot be used."""
    base = state.parent
    match request.param:
        case "unwritable":
            base.rmdir()
            base.symlink_to("/proc/1")  # where root may not write either
        case "a file":
            state.write_bytes(b"")
        case "a link":
            (tmp_path / "else").mkdir()
            state.symlink_to(tmp_path / "else")
        case "open to all":
            state.mkdir()
            state.chmod(0o777)
        case _:
            if os.geteuid():
                pytest.skip("only root can give a directory away")
            state.mkdir()
            os.chown(state, 12345, 12345)
    return state


def test_a_state_directory_that_cannot_be_used_stops_nothing(
    command: Command, path: Path, unusable: Path
) -> None:
    with ResumableServer(Act(after=MIB), Act(after=MIB)) as server:
        status, _, err = command("-v", "--retry-delay", "0", server.url, path)
        assert status == 0, err
        assert err.count(f"what is begun cannot be remembered in {unusable}: ") == 1
        status, _, err = command(server.url, path)
        assert status == 0
        assert "remembered" not in err
    assert server.stored == [DATA, DATA]
    assert server.received == 2 * len(DATA)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '"x"', "\0", "[" * 50_000, "{}",
        '{"key": "../..", "size": 1, "mtime_ns": 1}', "x" * 100_000,
    ],
    ids=lambda text: text[:10],
)  # fmt: skip
def test_an_entry_that_is_corrupt_is_replaced(
    command: Command, path: Path, state: Path, text: str
) -> None:
    with ResumableServer(Act(after=MIB), Act(after=MIB)) as server:
        command("--retries", "0", server.url, path)
        (found,) = entries(state)
        found.write_text(text)
        status, _, err = command("--retries", "0", server.url, path)
        assert status == 1
        assert "changed" not in err
        assert entry(state)["key"] == server.keys[1] != server.keys[0]
        assert command(server.url, path)[0] == 0
    assert server.stored == [DATA]
    assert entries(state) == []


@pytest.mark.parametrize("flags", [["-v"], ["--json"], ["-v", "--retries", "0"], []])
def test_the_key_is_in_no_output(
    command: Command, path: Path, state: Path, flags: list[str]
) -> None:
    codes = (None, FaultCode.IDLE, FaultCode.CONFLICT)
    acts = [Act(after=MIB, code=code) for code in codes]
    with ResumableServer(*acts) as server:
        status, out, err = command("--retry-delay", "0", *flags, server.url, path)
    assert status == 1
    (key,) = set(server.keys)
    assert key
    assert key not in out + err
    assert entry(state)["key"] == key
