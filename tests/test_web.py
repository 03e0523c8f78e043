"""The JavaScript client under Node's own test runner."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not shutil.which("node"), reason="there is no node on this machine")
def test_the_browser_client_does_what_its_own_tests_say() -> None:
    done = subprocess.run(
        ["node", "--test", "tests/web/"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
