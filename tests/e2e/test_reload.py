"""SIGHUP: a valid file takes effect at once, an invalid one changes nothing, uploads go on."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.clients import (
    arrived,
    ask,
    check_serves,
    expect_ready,
    hear,
    open_websocket,
    request,
    say,
)
from helpers.daemon import Daemon, Daemons, write_config
from helpers.reloading import code, count, hang_up, reload, rewrite

from galileod.config.file import MAX_FILE

CHUNK = 64 * 1024


# What is wrong changes nothing.


def vanish(path: Path) -> None:
    path.unlink()


def become_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (vanish, "cannot be read: No such file or directory"),
        (become_a_directory, "cannot be read: Is a directory"),
        (become_endless, "is too large: expected at most 1MiB"),
        (lambda path: path.write_bytes(b"#" * (MAX_FILE + 1)), "is too large"),
        (lambda path: path.write_bytes(b"# \xff"), "is not TOML: 'utf-8' codec can't decode"),
        (lambda path: path.write_text("[limits\n"), "is not TOML: "),
        (lambda path: path.write_text("[limits]\nmax_file_sise = 1\n"), "max_file_sise: unknown"),
        (lambda path: path.write_text("[limits]\nmax_file_size = -1\n"), "max_file_size: -1:"),
        (
            lambda path: path.write_text("[chunks]\nmax = 5\n"),
            "chunks.max: 5: expected a size from",
        ),
    ],
    ids=["gone", "directory", "endless", "large", "binary", "half", "unknown", "value", "rule"],
)
def test_a_file_that_is_wrong_is_told_in_one_line_and_changes_nothing(
    daemon: Daemons, spoil: Callable[[Path], object], reason: str
) -> None:
    host = daemon({"limits": {"max_file_size": 1_000_000}})
    whole = host.config.read_text()
    spoil(host.config)
    told = hang_up(host, "config.rejected")
    assert str(told["reason"]).startswith(f"{host.config}: ")
    assert reason in str(told["reason"])
    assert told["level"] == "warning"
    check_serves(host)
    assert code(host, 1_000_001) == "too_large"
    if host.config.is_dir():
        host.config.rmdir()
    else:
        host.config.unlink(missing_ok=True)
    host.config.write_text(whole)
    assert hang_up(host, "config.reloaded")["changed"] == []


def test_without_a_file_there_is_nothing_to_read_until_there_is_one(tmp_path: Path) -> None:
    flags = ("--listen", "127.0.0.1:0", "--directory", str(tmp_path / "files"))
    missing = tmp_path / "none.toml"
    script = (
        "import sys; from galileod.cli.main import main; from galileod.config import file; "
        "file.DEFAULT_FILE = sys.argv.pop(1); "
        "at = sys.argv.index('--config'); del sys.argv[at : at + 2]; main()"
    )
    program = (sys.executable, "-c", script, str(missing))
    with Daemon(tmp_path, flags=flags, program=program) as host:
        host.start()
        assert host.wait_for("server.started")["config"] is None
        told = hang_up(host, "config.rejected")["reason"]
        assert told == "there is no configuration file; the values in force stay"
        write_config(missing, {"limits": {"max_file_size": 9}})
        assert hang_up(host, "config.reloaded")["config"] == str(missing)
        assert code(host) == "too_large"


def test_flags_stay_above_the_file(daemon: Daemons, tmp_path: Path) -> None:
    host = daemon(flags=("--directory", str(tmp_path / "flagged")))
    told = reload(host, {"storage": {"directory": "elsewhere"}, "hash": {"required": True}})
    assert told["changed"] == ["hash.required"]
    assert not host.find("config.restart_needed")


def test_origins_and_the_largest_size_of_flags_stay_above_the_file(daemon: Daemons) -> None:
    flags = ("--allow-origin", "http://a", "--allow-origin", "http://b", "--max-file-size", "9B")
    host = daemon({"server": {"allowed_origins": ["http://c"]}}, flags=flags)

    def asked() -> list[int]:
        origins = ["http://a", "http://b", "http://c"]
        return [ask(host, request(headers={"Origin": origin})).status for origin in origins]

    assert (asked(), code(host)) == ([101, 101, 403], "too_large")
    told = reload(host, {"server": {"allowed_origins": ["*"]}, "limits": {"max_file_size": "1MB"}})
    assert told["changed"] == []
    assert (asked(), code(host)) == ([101, 101, 403], "too_large")


# Uploads that run.


def test_a_running_upload_goes_on_by_its_own_settings_through_many_reloads(
    daemon: Daemons,
) -> None:
    sizes = {"min": CHUNK, "max": CHUNK, "max_in_flight": 2}
    host = daemon({"chunks": sizes, "limits": {"max_file_size": 6 * CHUNK}})
    with open_websocket(host.url) as upload:
        say(upload, name="kept.bin", size=6 * CHUNK)
        assert [expect_ready(upload), expect_ready(upload)] == [CHUNK, CHUNK]
        reload(
            host,
            {
                "limits": {"max_file_size": 1},
                "hash": {"required": True},
                "quota": {"total_files": 0},
                "timeouts": {"idle": "1s"},
                "chunks": {"max_in_flight": 1, "memory": CHUNK},
                "storage": {"on_conflict": "reject", "min_free": "1000000TiB"},
            },
        )
        upload.send(bytes(CHUNK))
        for _ in range(20):
            host.send_signal(signal.SIGHUP)
        for _ in range(5):
            upload.send(bytes(CHUNK))
            expect_ready(upload)
        say(upload, finished=True)
        assert hear(upload) == {"close": True}
    assert (host.directory / "kept.bin").read_bytes() == bytes(6 * CHUNK)
    assert code(host) == "too_large"


def test_many_signals_are_few_reloads_and_none_is_lost(daemon: Daemons) -> None:
    host = daemon()
    for number in range(200):
        if number == 150:
            rewrite(host, {"limits": {"max_file_size": 9}})
        host.send_signal(signal.SIGHUP)
    host.wait_for("config.reloaded", changed=["limits.max_file_size"])
    assert count(host, "config.reloaded") <= 200
    assert code(host) == "too_large"


def test_a_reload_while_draining_does_no_harm(daemon: Daemons) -> None:
    host = daemon({"server": {"drain_timeout": "1h"}})
    with ExitStack() as stack:
        upload = stack.enter_context(open_websocket(host.url))
        say(upload, name="a", size=10)
        expect_ready(upload)
        host.send_signal(signal.SIGTERM)
        host.wait_for("server.draining")
        reload(host, {"limits": {"max_file_size": 1}})
        upload.send(bytes(10))
        assert arrived(upload)[-1].get("ready")
        say(upload, finished=True)
        assert hear(upload) == {"close": True}
    assert host.wait() == 0


def test_a_hangup_before_it_listens_is_survived(daemon: Daemons) -> None:
    host = daemon(start=False)
    os.mkfifo(fifo := host.folder / "slow.fifo")
    whole = host.config.read_bytes()
    host.config.unlink()
    host.config.symlink_to(fifo)
    host.spawn()
    # It has begun to read, which is after it began to ignore hangups.
    with fifo.open("wb") as writing:
        host.send_signal(signal.SIGHUP)
        writing.write(whole)
    host.wait_for("server.started")
    assert host.stop() == 0
