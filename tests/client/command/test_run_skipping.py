"""`galileo-send --skip-existing`, `--dry-run`, and files that are replaced."""

import os
import subprocess
from pathlib import Path

import pytest
from client.next_server import Act, NextServer
from helpers.daemon import DEADLINE, Daemon, Daemons, poll
from helpers.sending import GALILEO_SEND, Command, files_in, objects

from galileod.protocol.messages import AskEntry


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of 0 to 9 bytes, in two directories."""
    folder = tmp_path / "tree"
    for number in range(10):
        path = folder / ("even" if number % 2 == 0 else "odd") / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(number))
    return folder


def is_even(entry: AskEntry) -> bool:
    return entry.folder == "tree/even"


@pytest.mark.parametrize("flag", ["--skip-existing", "--skip-existing=modified"])
def test_what_is_there_is_not_sent(command: Command, tree: Path, flag: str) -> None:
    with NextServer() as server:
        server.holds = is_even
        status, out, err = command(flag, "-r", server.url, tree)
        assert server.names == [f"{number}.bin" for number in range(1, 10, 2)]
    assert status == 0, err
    skipped = [f"skipped {tree}/even/{number}.bin (already there)" for number in range(0, 10, 2)]
    assert out.splitlines()[:5] == skipped
    assert len(out.splitlines()) == 10
    assert err.startswith("5 of 10 files stored (25 B in ")
    assert err.endswith("), 5 already there.\n")


def test_json_has_what_is_skipped(command: Command, tree: Path) -> None:
    with NextServer() as server:
        server.holds = is_even
        status, out, err = command("--json", "-r", server.url, tree, "--skip-existing")
    assert (status, err) == (0, "")
    *lines, summary = objects(out)
    assert [line for line in lines if line["event"] == "skipped"] == [
        {
            "event": "skipped",
            "file": f"{tree}/even/{size}.bin",
            "name": f"{size}.bin",
            "folder": "tree/even",
            "size": size,
            "reason": "already there",
        }
        for size in range(0, 10, 2)
    ]
    stored = next(line for line in lines if line["event"] == "stored")
    assert (stored["folder"], stored["path"]) == ("tree/odd", None)
    assert (summary["stored"], summary["skipped"], summary["failed"]) == (5, 5, 0)
    assert (summary["not_sent"], summary["bytes"]) == (0, 25)


def test_the_hash_is_asked_for_if_it_is_to_be(command: Command, tree: Path) -> None:
    with NextServer() as server:
        assert command("--skip-existing=hash", "-r", "--flat", server.url, tree)[0] == 0
        asked = [entry for question in server.questions for entry in question]
    assert {(entry.modified, entry.folder) for entry in asked} == {(None, None)}
    assert all(entry.hash for entry in asked)


@pytest.mark.parametrize("value", ["", "size", "modified=hash"])
def test_another_value_is_a_mistake(command: Command, value: str) -> None:
    status, _, err = command(f"--skip-existing={value}", "ws://h/", "a")
    assert status == 2
    assert "Invalid value for '--skip-existing'" in err
    assert "'modified', 'hash'" in err


def test_behind_two_dashes_it_is_a_file(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "--skip-existing").write_bytes(b"x")
    with NextServer() as server:
        assert command("--", server.url, "--skip-existing")[0] == 0
        assert server.names == ["--skip-existing"]
        assert server.questions == []


@pytest.mark.parametrize("flags", [["--skip-existing"], ["--skip-existing=hash", "--dry-run"]])
def test_a_server_that_cannot_be_asked_gets_nothing(
    command: Command, tree: Path, flags: list[str]
) -> None:
    with NextServer(Act(can=frozenset({"next"}))) as server:
        status, out, err = command("-r", *flags, server.url, tree)
        assert server.stored == []
    assert (status, out) == (2, "")
    assert err == (
        "galileo-send: The server does not say which files it has. It may not be able to, or say so"
        " to authenticated users only (storage.ask in galileod). Nothing was sent. Without"
        " --skip-existing all files are sent.\n"
    )


def test_files_are_not_sent_if_the_server_cannot_be_reached(command: Command, tree: Path) -> None:
    with NextServer(*[Act(begun=0)] * 9) as server:
        status, out, err = command("-r", "--skip-existing", "--retries", "1", server.url, tree)
        assert len(server.files) == 2
    first, again, *others, summary = err.splitlines()
    assert status == 1
    assert out == ""
    assert "The connection to the server was lost" in first
    assert "The server is asked again in 0." in first
    assert again.startswith(
        f"galileo-send: {tree}/even/0.bin: The connection to the server was lost"
    )
    assert len(others) == 9
    assert {line.rpartition(": ")[2] for line in others} == {"not sent for the same reason."}
    assert summary.startswith("0 of 10 files stored (")


def test_it_can_be_interrupted_while_files_are_hashed(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 1 << 40)
    run: list[str | Path] = [GALILEO_SEND, "--skip-existing=hash", "ws://127.0.0.1:1/", path]
    with subprocess.Popen(run, stderr=subprocess.PIPE) as sending:

        def reads() -> bool:
            descriptors = Path(f"/proc/{sending.pid}/fd")
            return str(path) in {os.path.realpath(entry) for entry in descriptors.iterdir()}

        poll("the hashing", reads)
        sending.terminate()
        _, err = sending.communicate(timeout=DEADLINE)
    assert sending.returncode == 143
    assert err.startswith(b"Interrupted: 0 of 1 file stored (0 B in ")


def test_a_dry_run_makes_no_connection(command: Command, tree: Path) -> None:
    os.unlink(tree / "odd" / "9.bin")
    (tree / "odd" / "9.bin").symlink_to("nowhere")
    status, out, err = command("--dry-run", "-r", "ws://127.0.0.1:1/", tree, "-")
    assert status == 1
    first, *lines = out.splitlines()
    assert first == "would send - (size not known)"
    assert lines[0] == f"would send {tree}/even/0.bin (0 B)"
    assert len(lines) == 9
    failed, summary = err.splitlines()
    assert failed == f"galileo-send: {tree}/odd/9.bin cannot be read: No such file or directory."
    assert summary == "10 of 11 files would be sent (36 B), 1 failed."


def test_a_dry_run_asks_and_leaves_nothing(command: Command, tree: Path) -> None:
    with NextServer() as server:
        server.holds = is_even
        status, out, err = command("--dry-run", "--skip-existing", "-r", server.url, tree)
        assert (status, server.stored, server.abandoned) == (0, [], ["0.bin"])
        assert [len(files) for files in server.files] == [1]
        assert server.closed == 1
        status, lines, _ = command("--json", "--dry-run", "--skip-existing", "-r", server.url, tree)
    assert sorted(line.split()[0] for line in out.splitlines()) == ["skipped"] * 5 + ["would"] * 5
    assert err == "5 of 10 files would be sent (25 B), 5 already there.\n"
    *events, summary = objects(lines)
    assert [line["event"] for line in events] == ["skipped"] * 5 + ["would_send"] * 5
    assert events[5] == {
        "event": "would_send",
        "file": f"{tree}/odd/1.bin",
        "name": "1.bin",
        "folder": "tree/odd",
        "size": 1,
    }
    assert (summary["would_send"], summary["skipped"], summary["stored"]) == (5, 5, 0)


@pytest.mark.parametrize("quiet", [True, False])
def test_a_file_that_another_one_has_replaced_does_not_count_as_stored(
    daemon: Daemons, command: Command, tmp_path: Path, *, quiet: bool
) -> None:
    host = daemon({"storage": {"on_conflict": "replace"}})
    first, other = files_in(tmp_path / "a", "x.jpg", "y.jpg")
    (second,) = files_in(tmp_path / "b", "x.jpg")
    second.write_bytes(b"the second")
    flags = ["--quiet"] if quiet else []
    status, out, err = command("-p", "1", *flags, host.url, first, other, second)
    assert status == 1
    assert len(out.splitlines()) == (0 if quiet else 3)
    replaced = f"galileo-send: {first} was replaced by {second}: both were stored as x.jpg."
    assert replaced in err.splitlines()
    assert ("\n2 of 3 files stored (" in err) is not quiet
    assert (", 1 replaced by others." in err) is not quiet
    assert host.visible()["x.jpg"].read_bytes() == b"the second"


def test_json_has_what_was_replaced(daemon: Daemons, command: Command, tmp_path: Path) -> None:
    host = daemon({"storage": {"on_conflict": "replace"}})
    paths = [files_in(tmp_path / str(number), "x.jpg")[0] for number in range(20)]
    status, out, _ = command("--json", "-p", "3", host.url, *paths)
    assert status == 1
    *lines, summary = objects(out)
    replaced = [line for line in lines if line["event"] == "replaced"]
    assert len(replaced) == 19
    assert {line["path"] for line in replaced} == {"x.jpg"}
    assert {line["file"] for line in replaced} < set(map(str, paths))
    assert {line["by"] for line in replaced} < set(map(str, paths))
    assert (summary["stored"], summary["replaced"], summary["not_sent"]) == (1, 19, 0)
    assert summary["bytes"] == paths[0].stat().st_size


def test_a_file_that_was_there_and_was_then_replaced_is_not_there(
    daemon: Daemons, command: Command, tmp_path: Path
) -> None:
    host = daemon({"storage": {"on_conflict": "replace", "layout": "{name}", "ask": "everybody"}})
    tree = tmp_path / "tree"
    tree.mkdir()
    (first,), (second,) = (files_in(tree / name, "x.jpg") for name in "ab")
    second.write_bytes(b"the second")
    assert command("-r", "-p", "1", host.url, tree)[0] == 1
    flags = ("--skip-existing", "-r", host.url, tree)
    status, out, err = command(*flags)
    assert status == 1
    assert f"skipped {second} (already there)" in out.splitlines()
    replaced = f"galileo-send: {second} was replaced by {first}: both were stored as x.jpg."
    assert replaced in err.splitlines()
    assert err.splitlines()[-1].startswith("1 of 2 files stored (")
    assert err.endswith("), 1 replaced by others.\n")
    status, out, _ = command("--json", *flags)
    assert status == 1
    summary = objects(out)[-1]
    assert (summary["stored"], summary["skipped"], summary["replaced"]) == (1, 0, 1)
    assert summary["bytes"] == len(b"the second")
    assert host.visible()["x.jpg"].read_bytes() == b"the second"


def test_files_of_one_name_that_are_renamed_are_all_stored(
    server: Daemon, command: Command, tmp_path: Path
) -> None:
    paths = [files_in(tmp_path / str(number), "same.jpg")[0] for number in range(5)]
    status, _, err = command(server.url, *paths)
    assert status == 0
    assert "5 of 5 files stored" in err
