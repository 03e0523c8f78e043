"""What is freed stays with the process, where the C library can be told so."""

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from galileod.malloc import MAX_FREE_BYTES, MMAP_BYTES, keep_freed_memory

GLIBC = hasattr(ctypes.CDLL(None), "mallopt")

LOOP = """
import resource, sys
from galileod.cli.send import _load
from galileod.malloc import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
elif sys.argv[1] == "send":
    _load()


def fill_and_free():
    # Written to, as what comes from a socket is.
    held = [b"x" * (1024 * 1024) for _ in range(8)]
    held.clear()


fill_and_free()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    fill_and_free()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    run = subprocess.run(
        [sys.executable, "-c", LOOP, how],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(run.stdout)


@pytest.mark.skipif(not GLIBC, reason="the C library has no mallopt")
@pytest.mark.parametrize("how", ["keep", "send"])
def test_buffers_that_were_freed_are_used_again_without_page_faults(how: str) -> None:
    with_call, without = faults(how), faults("leave")
    assert without > 1000
    assert with_call < without / 10


def test_both_thresholds_are_set_by_the_numbers_of_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def mallopt(parameter: int, value: int) -> int:
        calls.append((parameter, value))
        return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    keep_freed_memory()
    # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD in malloc.h
    assert sorted(calls) == [(-3, MMAP_BYTES), (-1, MAX_FREE_BYTES)]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    keep_freed_memory()


def test_it_can_be_called_again() -> None:
    keep_freed_memory()
    keep_freed_memory()
