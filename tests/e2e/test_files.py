"""`galileod files`: the list, removal, retention and rescan of a running daemon."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from helpers.clients import JavaScriptClient, ask
from helpers.daemon import Daemon, Daemons, poll, run_galileod
from helpers.reloading import count, reload
from helpers.sending import run_process

pytestmark = pytest.mark.timeout(120)


def files(host: Daemon, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_galileod("files", *arguments, "--config", host.config)


def listed(host: Daemon, *arguments: str) -> list[str]:
    said = files(host, "list", "--json", *arguments)
    assert (said.returncode, said.stderr) == (0, "")
    return [row["path"] for row in json.loads(said.stdout)["files"]]


def store(host: Daemon, *names: str, size: int = 10) -> None:
    for name in names:
        assert JavaScriptClient(host.url, bytes(size), name).run().ending == "stored"


def refusal(host: Daemon, name: str, size: int = 10) -> str | None:
    return JavaScriptClient(host.url, bytes(size), name).run().code


def metrics(host: Daemon) -> str:
    return ask(host, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").body.decode()


def usage(host: Daemon) -> list[tuple[str, int, int]]:
    said = run_galileod("usage", "--json", "--config", host.config)
    users = json.loads(said.stdout)["users"]
    return [(each["user"], each["files"], each["bytes"]) for each in users]


def test_files_are_listed_with_and_without_a_daemon(daemon: Daemons) -> None:
    host = daemon()
    assert files(host).stdout.split() == ["stored", "user", "size", "path"]
    store(host, "b.txt", "a.jpg", "c.jpg")
    (row, *_) = json.loads(files(host, "list", "--json").stdout)["files"]
    assert list(row) == [
        "path", "user", "size", "sha1", "stored", "expires", "sent", "folder", "modified",
        "upload", "ticket", "meta",
    ]  # fmt: skip
    assert (row["path"], row["user"], row["size"], row["sent"]) == (
        "a.jpg", "127.0.0.1", 10, "a.jpg",
    )  # fmt: skip
    heading, first, *_ = files(host).stdout.splitlines()
    assert heading.split() == ["stored", "user", "size", "path"]
    assert first.split() == [row["stored"], "127.0.0.1", "10", "B", "a.jpg"]
    running = [
        listed(host, *arguments)
        for arguments in (
            (), ("--name", "*.jpg"), ("--since", "1d"), ("--user", "127.0.0.1"), ("--user", "x"),
        )
    ]  # fmt: skip
    assert running == [
        ["a.jpg", "b.txt", "c.jpg"], ["a.jpg", "c.jpg"], ["b.txt", "a.jpg", "c.jpg"],
        ["a.jpg", "b.txt", "c.jpg"], [],
    ]  # fmt: skip
    assert host.stop() == 0
    assert listed(host) == running[0]
    assert listed(host, "--name", "*.jpg") == running[1]
    for command in (("remove", "a.jpg"), ("prune", "--older-than", "1d"), ("rescan",)):
        said = files(host, *command)
        assert (said.returncode, said.stdout) == (1, "")
        assert said.stderr.startswith("galileod: no running galileod uses storage.directory")


def test_wrong_arguments_get_one_line_that_says_what_is_expected(daemon: Daemons) -> None:
    host = daemon()
    for arguments in (
        ("prune",), ("prune", "--older-than", "soon"), ("list", "--since", "-1d"), ("remove",),
    ):  # fmt: skip
        said = files(host, *arguments)
        assert (said.returncode, said.stdout) == (2, ""), arguments
        assert len(said.stderr.splitlines()) == 1, said.stderr


def test_files_are_removed_and_the_quota_is_free_at_once(daemon: Daemons) -> None:
    host = daemon({"quota": {"user_files": 3}})
    store(host, "a", "b", "c")
    assert refusal(host, "d") == "quota_exceeded"
    (host.directory / "folder").mkdir()
    said = files(
        host, "remove", "a", f"{host.directory}/b", "../x", "/etc/passwd", "none", "folder"
    )
    assert said.returncode == 1
    assert said.stdout.splitlines() == ["removed a", "removed b"]
    assert sorted(line.split(": ")[1] for line in said.stderr.splitlines()) == [
        "../x", "/etc/passwd", "folder", "none",
    ]  # fmt: skip
    assert usage(host) == [("127.0.0.1", 1, 10)]
    store(host, "d", "e")
    assert listed(host) == ["c", "d", "e"]
    assert 'galileod_files_removed_total{reason="removed"} 2.0' in metrics(host)


def test_old_files_are_pruned(daemon: Daemons) -> None:
    host = daemon()
    store(host, "a", "changed")
    (host.directory / "changed").write_bytes(b"longer than it was")
    (host.directory / "by hand").write_bytes(b"x")
    dry = files(host, "prune", "--older-than", "0s", "--dry-run")
    assert dry.stdout.splitlines() == [
        "would remove a",
        "changed: stays: it has 18 bytes now, and 10 when it was stored",
        "1 file would be removed, 10 B",
    ]
    assert files(host, "prune", "--older-than", "1d").stdout == "0 files removed, 0 B\n"
    assert listed(host) == ["a", "changed"]
    pruned = files(host, "prune", "--older-than", "0s")
    assert (pruned.returncode, pruned.stdout.splitlines()[1:]) == (
        0,
        ["removed a", "1 file removed, 10 B"],
    )
    assert sorted(path.name for path in host.directory.iterdir()) == [
        ".galileod", "by hand", "changed",
    ]  # fmt: skip
    assert usage(host) == [("", 1, 18)]


@pytest.mark.parametrize("limit", ["user_files", "total_files"])
def test_files_that_were_moved_away_refuse_nobody(
    daemon: Daemons, tmp_path: Path, limit: str
) -> None:
    host = daemon({"quota": {limit: 2}})
    store(host, "a", "b")
    (host.directory / "a").rename(tmp_path / "a")
    store(host, "c", size=2_000_000)
    assert listed(host) == ["b", "c"]
    # Each refusal asks the disk, but not more often than once in some seconds.
    assert refusal(host, "d") == "quota_exceeded"


def test_further_files_of_a_connection_are_not_refused_either(
    daemon: Daemons, tmp_path: Path
) -> None:
    host = daemon({"quota": {"user_files": 4}})
    store(host, "a", "b", "c")
    for name in ("a", "b", "c"):
        (host.directory / name).rename(tmp_path / name)
    sources = [tmp_path / f"{number}.txt" for number in range(4)]
    for source in sources:
        source.write_text(source.name)
    said = run_process(host.url, *sources)
    assert said.returncode == 0, said.stderr
    assert listed(host) == [source.name for source in sources]


def test_a_rescan_and_sighup_bring_the_ledger_back_to_the_disk(daemon: Daemons) -> None:
    host = daemon()
    store(host, "a", "b")
    (host.directory / "a").unlink()
    (host.directory / "by hand").write_bytes(b"12345")
    said = files(host, "rescan")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("files: 2; gone: 1, changed: 0, not recorded before: 1 (")
    assert usage(host) == [("", 1, 5), ("127.0.0.1", 1, 10)]
    (host.directory / "b").unlink()
    before = count(host, "ledger.rescanned")
    host.send_signal(signal.SIGHUP)
    poll("a rescan", lambda: count(host, "ledger.rescanned") > before, host.text)
    assert usage(host) == [("", 1, 5)]


def test_a_reload_of_the_retention_applies_to_stored_files(daemon: Daemons) -> None:
    host = daemon()
    store(host, "a")
    (host.directory / "by hand").write_bytes(b"x")
    reload(host, {"storage": {"retention": "1s"}})
    line = host.wait_for("file.expired")
    assert (line["path"], line["user"]) == ("a", "127.0.0.1")
    assert sorted(path.name for path in host.directory.iterdir()) == [".galileod", "by hand"]
    assert 'galileod_files_removed_total{reason="expired"} 1.0' in metrics(host)


def test_the_hook_is_told_what_was_removed(daemon: Daemons, tmp_path: Path) -> None:
    told = tmp_path / "told"
    hook = ["sh", "-c", f"cat >> {told}; echo >> {told}"]
    host = daemon({"hooks": {"removed": hook}})
    store(host, "a", "b")
    (host.directory / "by hand").write_bytes(b"x")
    assert files(host, "remove", "a", "by hand").returncode == 0
    host.wait_for("hook.delivered")
    reload(host, {"storage": {"retention": "1s"}})
    poll("both receipts", lambda: told.read_text().count("\n") >= 2, host.text)
    receipts = [json.loads(line) for line in told.read_text().splitlines() if line]
    assert [(each["event"], each["reason"], each["name"]) for each in receipts] == [
        ("removed", "removed", "a"), ("removed", "expired", "b"),
    ]  # fmt: skip


def test_arguments_that_are_not_utf_8_name_the_files_as_they_are_listed(daemon: Daemons) -> None:
    host = daemon()
    odd = os.fsdecode(b"odd\xff.bin")
    (host.directory / odd).write_bytes(b"x")
    assert files(host, "rescan").returncode == 0
    assert listed(host, "--name", os.fsdecode(b"*\xff*")) == [r"odd\xff.bin"]
    assert listed(host, "--user", odd) == []
    said = files(host, "prune", "--older-than", "0s", "--user", odd)
    assert said.stdout == "0 files removed, 0 B\n"
    for named in (odd, r"odd\xff.bin"):
        (host.directory / odd).write_bytes(b"x")
        said = files(host, "remove", named)
        assert (said.returncode, said.stdout, said.stderr) == (0, "removed odd\\xff.bin\n", "")
        assert host.visible() == {}
    said = files(host, "remove", odd)
    assert said.stderr == "galileod: odd\\xff.bin: there is no such file\n"
    assert host.stop() == 0
    assert listed(host, "--name", odd, "--user", odd) == []


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_a_list_without_a_ledger_is_an_error_in_one_line(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    said = run_galileod("files", "list", *flags, cwd=tmp_path)
    assert (said.returncode, said.stdout) == (1, "")
    assert len(said.stderr.splitlines()) == 1
    assert "galileod has not been started with this directory" in said.stderr
