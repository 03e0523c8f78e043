"""The collector of cyclic garbage in a process that lives long."""

import subprocess
import sys

from galileod.daemon.collector import THRESHOLD

PROGRAM = """
import gc
from galileod.daemon.collector import collect_seldom

class Cycle:
    def __init__(self):
        self.own = self

alive = [0]

class Noted(Cycle):
    def __del__(self):
        alive[0] -= 1

collect_seldom()
for _ in range(100_000):
    alive[0] += 1
    Noted()
print(gc.get_threshold()[0], gc.get_freeze_count() > 0, alive[0])
"""


def test_cycles_are_still_collected_and_what_existed_is_left_alone() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    threshold, frozen, alive = run.stdout.split()
    assert (int(threshold), frozen) == (THRESHOLD, "True")
    assert int(alive) < 2 * THRESHOLD  # of 100,000; a collection may begin a little later
