"""`galileod check-config`, and what `serve` and `reload` say of a wrong configuration."""

import tomllib
from pathlib import Path

import pytest
from helpers.daemon import Daemons, Settings, run_galileod, write_config
from helpers.reloading import hang_up, rewrite

WRONG: Settings = {
    "server": {"listen": ["nowhere"], "max_conections": 3},
    "chunks": {"min": "64 bananas"},
    "tls": {"certificate": "/nowhere/chain.pem", "key": "/nowhere/key.pem"},
    "storage": {"directory": "/dev/null/files", "on_conflict": "ask"},
    "hooks": {"stored": ["/nowhere/notify", "--password=hunter2"]},
}
BEGINNINGS = [
    "server.max_conections: unknown key; the nearest known one is server.max_connections",
    "server.listen[0]: 'nowhere': expected ",
    "chunks.min: '64 bananas': expected ",
    "storage.on_conflict: 'ask': expected ",
    "tls.certificate: /nowhere/chain.pem: cannot be read: No such file",
    "tls.key: /nowhere/key.pem: cannot be read: No such file",
    "storage.directory: /dev/null/files: cannot be created, since /dev/null is not a directory",
    "hooks.stored: the program cannot be found (No such file or directory): expected ",
]


def check_lines(lines: list[str], prefix: str) -> None:
    assert len(lines) == len(BEGINNINGS)
    for beginning in BEGINNINGS:
        assert len([line for line in lines if line.startswith(f"{prefix}{beginning}")]) == 1
    assert not any("hunter2" in line or "/nowhere/notify" in line for line in lines)


@pytest.mark.parametrize("command", ["check-config", "serve"])
def test_all_mistakes_are_told_in_one_run(tmp_path: Path, command: str) -> None:
    config = write_config(tmp_path / "wrong.toml", WRONG)
    ended = run_galileod(command, "--config", config)
    assert (ended.returncode, ended.stdout) == (2, "")
    check_lines(ended.stderr.splitlines(), f"galileod: {config}: ")


def test_mistakes_in_flags_are_told_beside_those_in_the_file(tmp_path: Path) -> None:
    config = write_config(tmp_path / "wrong.toml", {"log": {"level": "loud"}})
    (tmp_path / "file").touch()
    flags = ["--listen", "nowhere", "--directory", str(tmp_path / "file")]
    ended = run_galileod("--config", config, *flags)
    assert (ended.returncode, ended.stdout) == (2, "")
    first, second, third = ended.stderr.splitlines()
    assert first.startswith(f"galileod: {config}: log.level: 'loud': expected ")
    assert second.startswith("galileod: --listen: 'nowhere': expected ")
    assert third.startswith(f"galileod: --directory: {tmp_path}/file: is not a directory")


def test_all_mistakes_are_told_by_a_reload_and_in_the_log(daemon: Daemons) -> None:
    host = daemon()
    rewrite(host, WRONG)
    reason = str(hang_up(host, "config.rejected")["reason"])
    prefix = f"{host.config}: "
    # A changed storage.directory needs a restart, and is not looked at.
    expected = [each for each in BEGINNINGS if "/dev/null" not in each]
    # Strings in the log are cut off; how many mistakes fit depends on the length of the path.
    assert [each for each in expected[:3] if f"{prefix}{each}" not in reason] == []
    ended = run_galileod("reload", "--directory", host.directory)
    assert (ended.returncode, ended.stdout) == (2, "")
    lines = ended.stderr.splitlines()
    assert len(lines) == len(expected)
    for line, beginning in zip(sorted(lines), sorted(expected), strict=True):
        assert line.startswith(f"galileod: {prefix}{beginning}")


def test_warnings_go_to_standard_error_and_the_configuration_to_standard_output(
    tmp_path: Path,
) -> None:
    settings: Settings = {
        "storage": {"directory": str(tmp_path / "new")},
        "quota": {"user_bytes": 5},
    }
    config = write_config(tmp_path / "galileod.toml", settings)
    ended = run_galileod("check-config", "--config", config)
    assert ended.returncode == 0
    assert tomllib.loads(ended.stdout)["quota"] == {"user_bytes": 5}
    first, second = ended.stderr.splitlines()
    assert first.startswith(f"galileod: warning: {config}: quota.user_bytes: 5: is less than ")
    assert second.startswith(f"galileod: warning: {config}: storage.directory: '{tmp_path}/new': ")


def test_with_strict_a_warning_is_an_error(tmp_path: Path) -> None:
    settings: Settings = {"storage": {"directory": str(tmp_path), "min_free": 0}}
    config = write_config(tmp_path / "galileod.toml", settings)
    ended = run_galileod("check-config", "--strict", "--config", config)
    assert (ended.returncode, ended.stderr) == (0, "")
    write_config(config, {**settings, "quota": {"user_bytes": 5}})
    ended = run_galileod("check-config", "--strict", "--config", config)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"galileod: {config}: quota.user_bytes: 5: is less than ")


def test_the_directory_is_tried_if_that_is_wanted(tmp_path: Path) -> None:
    settings: Settings = {"storage": {"directory": str(tmp_path), "min_free": 0}}
    config = write_config(tmp_path / "galileod.toml", settings)
    ended = run_galileod("check-config", "--connect", "--config", config)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"storage.directory: use {tmp_path}: ok\n"


def test_a_directory_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    settings: Settings = {"storage": {"directory": "/proc/galileod", "min_free": 0}}
    config = write_config(tmp_path / "galileod.toml", settings)
    ended = run_galileod("check-config", "--connect", "--config", config)
    assert (ended.returncode, ended.stdout) == (1, "")
    reason = "no file can be created in /proc: "
    assert f"galileod: storage.directory: use /proc/galileod: {reason}" in ended.stderr


ESCAPES = "\x1b[31m\x9b1m\u202e"


def test_paths_in_mistakes_and_warnings_do_not_control_the_terminal(tmp_path: Path) -> None:
    settings: Settings = {"storage": {"directory": str(tmp_path / ESCAPES), "min_free": 0}}
    config = write_config(tmp_path / f"{ESCAPES}.toml", settings)
    told = run_galileod("check-config", "--config", config).stderr.splitlines()
    assert [line.endswith("[31m\\x9b1m\\u202e does not exist; it is created at the start")
            for line in told] == [True]  # fmt: skip
    tls = {"certificate": f"/nowhere/{ESCAPES}", "key": f"/nowhere/{ESCAPES}"}
    write_config(config, {**settings, "tls": tls})
    told += run_galileod("check-config", "--config", config).stderr.splitlines()
    told += run_galileod("--config", f"/nowhere/{ESCAPES}").stderr.splitlines()
    told += run_galileod("token", "list", "--config", config, ESCAPES).stderr.splitlines()
    assert len(told) == 5
    assert [line for line in told if not line.isprintable()] == []
