"""The JavaScript client under Node's own test runner."""

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent

LEAST_NODE = 20
"""The first release whose test runner has the timers that these tests turn by hand."""


def version_of_node() -> int:
    """The major version; 0 where there is none."""
    if not shutil.which("node"):
        return 0
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    return int(told.stdout.removeprefix("v").partition(".")[0])


@pytest.mark.skipif(version_of_node() < LEAST_NODE, reason=f"needs Node {LEAST_NODE} or newer")
def test_the_browser_client_does_what_its_own_tests_say() -> None:
    tests = sorted(FOLDER.glob("*.test.mjs"))
    assert tests
    done = subprocess.run(
        ["node", "--test", *tests], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
