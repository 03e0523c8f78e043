"""What `install-service` writes below another root, and what `uninstall-service` takes away."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from helpers.daemon import DEADLINE, GALILEOD, environment, run_galileod

from galileod.daemon import install
from galileod.daemon.open_files import (
    FILES_PER_ATTEMPT,
    FILES_PER_CONNECTION,
    FILES_PER_QUESTION,
    OWN_FILES,
)
from galileod.hooks.settings import MAX_ADMIT_PARALLEL, MAX_PARALLEL
from galileod.net.settings import Server

UNITS = Path("etc/systemd/system")
SYSUSERS = Path("etc/sysusers.d/galileod.conf")
WRITTEN = [UNITS / "galileod.service", UNITS / "galileod.socket", SYSUSERS]
SETTINGS = Path("etc/galileod.toml")
REPOSITORY = Path(__file__).parents[2]


def call(command: str, root: Path, program: Path | None) -> "subprocess.CompletedProcess[str]":
    if program is None:
        return run_galileod(command, "--root", root)
    return subprocess.run(
        [program, command, "--root", root],
        capture_output=True, text=True, timeout=DEADLINE, env=environment(), check=False,
    )  # fmt: skip


def run(command: str, root: Path, program: Path | None = None) -> str:
    """What it says; it is executed if the program is given."""
    ended = call(command, root, program)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def files(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in root.rglob("*") if not path.is_dir()}


def check_refused(command: str, root: Path, *words: str, program: Path | None = None) -> None:
    ended = call(command, root, program)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("galileod: ")
    assert ended.stderr.count("\n") == 1
    for word in words:
        assert word in ended.stderr


def test_the_files_are_those_of_the_source_with_the_program_that_was_called(tmp_path: Path) -> None:
    said = run("install-service", tmp_path, GALILEOD)
    assert files(tmp_path) == {*WRITTEN, SETTINGS}
    for path in (*WRITTEN, SETTINGS):
        assert f"wrote {tmp_path / path}\n" in said
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o644
    assert (tmp_path / SETTINGS).read_bytes() == (REPOSITORY / "etc/galileod.toml").read_bytes()
    unit = (tmp_path / UNITS / "galileod.service").read_text()
    shipped = (REPOSITORY / "systemd/galileod.service").read_text()
    assert unit == shipped.replace("=/opt/galileod/bin/galileod ", f'="{GALILEOD}" ')
    assert unit != shipped


def test_a_program_below_the_root_is_named_as_it_will_be_called(tmp_path: Path) -> None:
    program = tmp_path / "usr/bin/galileod"
    program.parent.mkdir(parents=True)
    program.symlink_to(GALILEOD)
    run("install-service", tmp_path, program)
    unit = (tmp_path / UNITS / "galileod.service").read_text()
    assert '\nExecStart="/usr/bin/galileod" serve ' in unit
    assert '\nExecReload="/usr/bin/galileod" reload ' in unit


@pytest.mark.parametrize("folder", ['quo"te', "back\\slash", "line\nfeed"])
def test_a_program_that_systemd_would_not_start_is_told(tmp_path: Path, folder: str) -> None:
    program = tmp_path / folder / "galileod"
    program.parent.mkdir()
    program.symlink_to(GALILEOD)
    check_refused("install-service", tmp_path / "root", "systemd cannot start", program=program)
    assert not (tmp_path / "root").exists()


def test_a_second_time_writes_anew_but_for_the_configuration(tmp_path: Path) -> None:
    run("install-service", tmp_path)
    (tmp_path / SETTINGS).write_text("# mine")
    unit = tmp_path / UNITS / "galileod.service"
    before = unit.read_text()
    unit.write_text(before.replace("WatchdogSec=60s", "WatchdogSec=1s"))
    said = run("install-service", tmp_path)
    assert f"kept {tmp_path / SETTINGS}\n" in said
    assert (tmp_path / SETTINGS).read_text() == "# mine"
    assert unit.read_text() == before
    assert files(tmp_path) == {*WRITTEN, SETTINGS}


@pytest.mark.parametrize("kind", ["file", "mask"])
def test_a_unit_of_somebody_else_is_told_and_nothing_is_written(tmp_path: Path, kind: str) -> None:
    unit = tmp_path / UNITS / "galileod.socket"
    unit.parent.mkdir(parents=True)
    if kind == "file":
        unit.write_text("[Socket]\n")
    else:
        unit.symlink_to("/dev/null")
    check_refused("install-service", tmp_path, str(unit))
    assert files(tmp_path) == {UNITS / "galileod.socket"}


def test_a_service_of_a_package_is_told_and_not_overridden(tmp_path: Path) -> None:
    unit = tmp_path / "usr/lib/systemd/system/galileod.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    check_refused("install-service", tmp_path, f"{unit}: a package has installed the service")
    assert files(tmp_path) == {unit.relative_to(tmp_path)}


def test_the_units_that_override_those_of_a_package_are_taken_away(tmp_path: Path) -> None:
    run("install-service", tmp_path)
    unit = tmp_path / "usr/lib/systemd/system/galileod.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    said = run("uninstall-service", tmp_path)
    assert f"kept {unit}: it belongs to a package\n" in said
    assert files(tmp_path) == {unit.relative_to(tmp_path), SETTINGS}


def test_what_was_written_is_taken_away_and_all_else_is_kept(tmp_path: Path) -> None:
    run("install-service", tmp_path)
    data = tmp_path / "var/lib/galileod"
    data.mkdir(parents=True)
    edited = tmp_path / UNITS / "galileod.socket.d/override.conf"
    edited.parent.mkdir()
    edited.write_text("[Socket]\n")
    foreign = tmp_path / SYSUSERS
    foreign.write_text("# of somebody else\n")
    said = run("uninstall-service", tmp_path)
    assert files(tmp_path) == {SETTINGS, SYSUSERS, edited.relative_to(tmp_path)}
    for path in WRITTEN[:2]:
        assert f"removed {tmp_path / path}\n" in said
    for kept in (tmp_path / SETTINGS, data, foreign, edited.parent):
        assert f"kept {kept}" in said
    assert "removed" not in run("uninstall-service", tmp_path)


@pytest.mark.parametrize("kind", ["directory", "pipe", "link", "link to nothing"])
def test_what_is_no_file_is_in_the_way_and_stays(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    run("install-service", root)
    unit = root / UNITS / "galileod.service"
    elsewhere = unit.rename(tmp_path / "galileod.service")
    match kind:
        case "directory":
            unit.mkdir()
        case "pipe":
            os.mkfifo(unit)
        case "link":
            unit.symlink_to(elsewhere)
        case _:
            unit.symlink_to("nowhere")
    check_refused("install-service", root, str(unit), "was not written by galileod")
    assert f"kept {unit}: it was not written by galileod\n" in run("uninstall-service", root)
    assert os.path.lexists(unit)
    assert elsewhere.exists()


@pytest.mark.parametrize("command", ["install-service", "uninstall-service"])
@pytest.mark.parametrize("link", ["etc", "etc/systemd", "etc/systemd/system", "etc/sysusers.d"])
def test_no_symbolic_link_leads_out_of_the_root(tmp_path: Path, command: str, link: str) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    run("install-service", root)
    (root / link).rename(outside)
    (root / link).symlink_to(outside)
    before = {path: (outside / path).stat().st_mtime_ns for path in files(outside)}
    check_refused(command, root, "a symbolic link leads out of", str(outside))
    assert {path: (outside / path).stat().st_mtime_ns for path in files(outside)} == before


def test_symbolic_links_within_the_root_are_followed(tmp_path: Path) -> None:
    (tmp_path / "root/usr/etc").mkdir(parents=True)
    (tmp_path / "root/etc").symlink_to("usr/etc")
    (tmp_path / "link").symlink_to("root")
    program = tmp_path / "link/usr/bin/galileod"
    program.parent.mkdir()
    program.symlink_to(GALILEOD)
    run("install-service", tmp_path / "link", program)
    unit = (tmp_path / "root/usr" / UNITS / "galileod.service").read_text()
    assert '\nExecStart="/usr/bin/galileod" serve ' in unit
    assert '\nExecReload="/usr/bin/galileod" reload ' in unit


def test_a_root_without_a_name_is_told_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(install.InstallError, match=r"^--root: '': expected a directory$"):
        install.install("", print)
    assert files(tmp_path) == set()


def test_a_folder_that_takes_no_file_is_told_by_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("")
    check_refused("install-service", tmp_path, f"{tmp_path / WRITTEN[0]}: ")


@pytest.mark.parametrize("root", ["/", "//", "/.", "/etc/..", "/proc/self/root"])
def test_only_root_may_install_on_this_machine(monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for act in (install.install, install.uninstall):
        with pytest.raises(install.InstallError, match="must be run by root, as in: sudo "):
            act(root, print)


@pytest.mark.parametrize("path", ["/root/x", "/home/me/x", "/run/user/0/x", "/var/tmp/x"])  # noqa: S108
def test_a_program_that_the_service_would_not_see_is_told(path: str) -> None:
    with pytest.raises(install.InstallError, match=f"^{path}: .*/opt/galileod"):
        install._check_reachable(path)


def test_the_limit_on_files_fits_the_default_number_of_connections_and_any_hook() -> None:
    unit = (REPOSITORY / "systemd/galileod.service").read_text()
    limit = int(unit.partition("\nLimitNOFILE=")[2].split()[0])
    connections = Server().max_connections
    hooks = FILES_PER_ATTEMPT * MAX_PARALLEL + FILES_PER_QUESTION * MAX_ADMIT_PARALLEL
    assert limit == FILES_PER_CONNECTION * connections + OWN_FILES + hooks


def test_one_who_does_not_listen_to_the_end_is_not_told_of_it(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as deaf:
        ended = subprocess.run(
            [GALILEOD, "install-service", "--root", tmp_path],
            stdout=deaf, stderr=subprocess.PIPE, text=True, timeout=DEADLINE,
            env=environment({"PYTHONUNBUFFERED": "1"}), check=False,
        )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (141, "")  # as if SIGPIPE had ended it
