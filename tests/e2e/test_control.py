"""`galileod reload`: it waits until the reload is done, and says how it ended."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.clients import check_serves, expect_ready, open_websocket, say, unique_name
from helpers.daemon import (
    DEADLINE,
    Daemon,
    Daemons,
    environment,
    run_galileod,
    write_config,
)
from helpers.reloading import count, rewrite

AS_NOBODY = """
import encodings.idna, encodings.utf_8_sig, os
from galileod.cli.main import main
# All is imported by now: the program may be where only root can read it.
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
main()
"""


def reload(host: Daemon) -> "subprocess.CompletedProcess[str]":
    return run_galileod("reload", "--config", host.config)


def check_failed(ended: "subprocess.CompletedProcess[str]", status: int, *words: str) -> None:
    """One line on stderr with all of the words, and nothing else."""
    assert (ended.returncode, ended.stdout) == (status, "")
    assert ended.stderr.startswith("galileod: ")
    assert ended.stderr.count("\n") == 1
    for word in words:
        assert word in ended.stderr


def socket_of(host: Daemon) -> Path:
    return host.directory / ".galileod" / "control.sock"


def test_a_new_configuration_is_in_force_when_it_ends(daemon: Daemons) -> None:
    host = daemon()
    assert stat.S_IMODE(socket_of(host).stat().st_mode) == 0o600
    rewrite(host, {"limits": {"max_file_size": 5}, "log": {"level": "debug"}})
    ended = reload(host)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == (
        f"galileod: reloaded {host.config}; changed: limits.max_file_size, log.level\n"
    )
    assert host.wait_for("config.reloaded", changed=["limits.max_file_size", "log.level"])
    rewrite(host, {"server": {"listen": ["127.0.0.1:1"]}})
    assert reload(host).stdout == (
        f"galileod: reloaded {host.config}; restart needed for: server.listen\n"
    )
    assert count(host, "config.reloaded") == 2
    assert host.stop() == 0
    assert not socket_of(host).exists()


def test_a_configuration_that_the_daemon_rejects_is_status_2_with_the_reason(
    daemon: Daemons, tmp_path: Path
) -> None:
    host = daemon()
    missing = str(tmp_path / "missing.pem")
    rewrite(host, {"tls": {"certificate": missing, "key": str(host.config)}})
    check_failed(reload(host), 2, str(host.config), f"tls.certificate: {missing}: cannot be read")
    assert host.wait_for("config.rejected")
    assert not host.find("config.reloaded")
    check_serves(host)


@pytest.mark.parametrize("text", ["[server\n", '[limits]\nmax_file_size = "much"\n'])
def test_a_configuration_that_cannot_be_read_is_status_2_too(daemon: Daemons, text: str) -> None:
    host = daemon()
    host.config.write_text(text)
    check_failed(reload(host), 2, str(host.config))
    check_serves(host)


def test_a_daemon_without_a_file_has_nothing_to_reload(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.toml"
    with Daemon(tmp_path / "daemon") as host:
        host.start()
        write_config(elsewhere, {"storage": {"directory": str(host.directory)}})
        host.config.unlink()
        check_failed(run_galileod("reload", "--config", elsewhere), 2, "cannot be read")


def test_a_directory_without_a_daemon_is_status_1(daemon: Daemons, tmp_path: Path) -> None:
    host = daemon(start=False)
    check_failed(reload(host), 1, "no running galileod uses storage.directory", str(host.directory))
    host.start()
    rewrite(host, {"storage": {"directory": str(tmp_path / "new")}})
    check_failed(reload(host), 1, str(tmp_path / "new"), "restart")
    assert not (tmp_path / "new").exists()


def test_a_daemon_is_reached_by_its_directory_whatever_the_file_says(
    daemon: Daemons, tmp_path: Path
) -> None:
    host = daemon()
    flags: list[str | Path] = ["--config", host.config, "--directory", host.directory]
    rewrite(host, {"storage": {"directory": str(tmp_path / "new")}, "log": {"level": "debug"}})
    ended = run_galileod("reload", *flags)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "changed: log.level; restart needed for: storage.directory" in ended.stdout
    host.config.write_text("[server\n")
    check_failed(run_galileod("reload", *flags), 2, str(host.config))
    assert host.wait_for("config.rejected")


def test_a_path_that_is_not_utf_8_is_shown_with_escapes(daemon: Daemons) -> None:
    host = daemon(start=False)
    host.config = host.config.rename(host.config.with_name("c\udcff.toml"))
    host.start()
    ended = reload(host)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "c\\udcff.toml" in ended.stdout
    host.config.write_text("[server\n")
    ended = run_galileod("reload", "--directory", host.directory)
    check_failed(ended, 2, "c\\udcff.toml")


def test_a_killed_daemon_leaves_a_socket_that_the_next_one_replaces(daemon: Daemons) -> None:
    host = daemon()
    host.kill()
    assert socket_of(host).is_socket()
    check_failed(reload(host), 1, "no running galileod uses")
    host.start()
    assert reload(host).returncode == 0
    assert host.stop() == 0
    assert not socket_of(host).exists()


@pytest.mark.parametrize("length", [60, 100, 200])
def test_a_directory_with_a_long_path_has_one_as_well(tmp_path: Path, length: int) -> None:
    directory = tmp_path / ("x" * length) / ("y" * length)
    settings = {"storage": {"directory": str(directory), "min_free": 0}}
    with Daemon(tmp_path / "daemon", settings) as host:
        host.start()
        assert socket_of(host).is_socket()
        assert reload(host).returncode == 0
        assert host.at_rest()
        assert host.stop() == 0
        assert not socket_of(host).exists()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may look into."""
    with tempfile.TemporaryDirectory(prefix="galileod-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a program as another user")
@pytest.mark.parametrize("command", ["reload", "usage"])
@pytest.mark.parametrize("inside", [False, True], ids=["closed folder", "open folder"])
def test_another_user_cannot_connect(open_folder: Path, command: str, *, inside: bool) -> None:
    with Daemon(open_folder / "daemon") as host:
        host.start()
        if inside:  # the mode of the socket is enough
            host.directory.chmod(0o755)
            socket_of(host).parent.chmod(0o755)
        ended = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, command, "--config", host.config],
            capture_output=True, text=True, timeout=DEADLINE, env=environment(), check=False,
        )  # fmt: skip
        check_failed(ended, 1, str(socket_of(host)), "permission denied")
        assert count(host, "config.reloaded") == 0


def test_a_reload_while_it_drains_is_done_as_well(daemon: Daemons) -> None:
    host = daemon()
    with open_websocket(host.url) as running:
        say(running, name=unique_name(), size=5)
        expect_ready(running)
        host.send_signal(signal.SIGTERM)
        host.wait_for("server.draining")
        rewrite(host, {"limits": {"max_file_size": 5}})
        assert reload(host).returncode == 0
        assert host.wait_for("config.reloaded", changed=["limits.max_file_size"])
    assert host.wait() == 0


@pytest.mark.parametrize("removed", ["control.sock", ""])
def test_it_works_again_after_the_socket_was_removed(daemon: Daemons, removed: str) -> None:
    host = daemon()
    swept = host.directory / ".galileod" / removed
    if swept.is_dir():
        shutil.rmtree(swept)
    else:
        swept.unlink()
    host.wait_for("control.restored")
    assert reload(host).returncode == 0
    assert stat.S_IMODE(socket_of(host).stat().st_mode) == 0o600
    check_serves(host)
    assert host.stop() == 0
    assert not socket_of(host).exists()
