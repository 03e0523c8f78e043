"""SIGKILL at any moment: what was confirmed is there, and nothing is there in part."""

import random
import time
from typing import Final

import pytest
from helpers.crashing import Uploads
from helpers.daemon import Daemons

ROUNDS: Final = 10


# Fifty kills; in parts, which run beside each other.
@pytest.mark.parametrize("seed", range(5))
def test_every_confirmed_file_survives_a_kill_and_nothing_partial_does(
    daemon: Daemons, seed: int
) -> None:
    moments = random.Random(seed)
    host = daemon(start=False)
    uploads = Uploads(host)
    checked: set[str] = set()
    cleared = 0
    with uploads.running():
        for _ in range(ROUNDS):
            host.start()
            assert not host.spooled()
            cleared += (host.find("spool.cleared") or {}).get("files", 0)
            uploads.up.set()
            uploads.wait_for(1)
            # The one sleep of the suite: the moment of the kill is what is tested.
            time.sleep(moments.uniform(0.02, 0.3))
            host.kill()
            uploads.up.clear()
            uploads.check_files(host.directory, checked)
    uploads.check_files(host.directory, checked)
    # Otherwise the kills met nobody at work.
    assert cleared > 0
    assert len(uploads.confirmed) > 2 * ROUNDS
