"""What systemd itself says of the units, without being run."""

import shutil
import subprocess
from pathlib import Path

import pytest
from helpers.daemon import DEADLINE, GALILEOD, environment
from helpers.missing import leave_out

MOST_EXPOSED = "15"
"""Tenths; 100 is a service without any hardening."""


def analyze(*arguments: str | Path) -> str:
    """What systemd-analyze complains of."""
    if shutil.which("systemd-analyze") is None:
        leave_out("needs systemd-analyze: install Debian's package systemd")
    ended = subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stderr


def install(root: Path, program: Path = GALILEOD) -> Path:
    """The folder of the units."""
    subprocess.run([program, "install-service", "--root", root], check=True, env=environment())
    return root / "etc/systemd/system"


@pytest.mark.parametrize("folder", [".", "with space", "100%p", "$HOME;x", "é"])
def test_the_units_are_sound_wherever_the_program_is(tmp_path: Path, folder: str) -> None:
    program = tmp_path / folder / "galileod"
    program.parent.mkdir(exist_ok=True)
    program.symlink_to(GALILEOD)
    units = install(tmp_path / "root", program)
    complaints = analyze("verify", units / "galileod.service", units / "galileod.socket")
    assert "galileod" not in complaints


def test_the_service_is_hardened(tmp_path: Path) -> None:
    unit = install(tmp_path) / "galileod.service"
    analyze("security", "--offline=yes", f"--threshold={MOST_EXPOSED}", unit)
