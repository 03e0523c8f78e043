"""The engines themselves: one of each for a run, which ends with it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.daemon import poll
from helpers.engines.buckets import Bucket
from helpers.engines.ceph import Ceph
from helpers.engines.engine import EngineError
from helpers.engines.shared import TESTS, attach
from helpers.processes import alive, children


def test_each_engine_stores_an_object(any_bucket: Bucket) -> None:
    any_bucket.raw.put_object(Bucket=any_bucket.name, Key="a/b", Body=b"data")
    assert any_bucket.contents() == {"a/b": b"data"}


def test_attaching_again_gives_the_same_engine(
    ceph: Ceph, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert attach(Ceph, tmp_path_factory).folder == ceph.folder


def test_an_engine_ends_with_the_process_that_the_run_belongs_to(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as owner:
        guardian, folder = guarded(tmp_path, owner.pid)
        assert folder.exists()
        owner.kill()
    assert guardian.wait(timeout=30) == 0
    assert not folder.exists()


def test_the_processes_of_an_engine_end_with_their_guardian(tmp_path: Path) -> None:
    guardian, folder = guarded(tmp_path, os.getpid())
    pids = children(guardian.pid)
    assert len(pids) == 3
    guardian.kill()
    guardian.wait()
    poll("their end", lambda: not any(map(alive, pids)))
    shutil.rmtree(folder)


def test_an_engine_that_does_not_start_says_what_its_log_has() -> None:
    Ceph.require()

    class Broken(Ceph):
        def spawn_osd(self, number: str, identity: str) -> None:
            self.spawn("osd", "ceph-osd", "-f", "-i", f"{number}1", identity)
            self.await_true("nothing", lambda: False)

    with pytest.raises(
        EngineError, match=r"(?s)osd has ended with status .*--- osd\.log\n.*mon config"
    ):
        Broken().__enter__()


def guarded(folder: Path, owner: int) -> tuple["subprocess.Popen[bytes]", Path]:
    """A guardian with a Ceph that has started, and the folder of that."""
    Ceph.require()
    state = folder / "ceph.json"
    guardian = subprocess.Popen(
        [sys.executable, "-m", "helpers.engines.guardian", "ceph", state, str(owner)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )
    poll("the engine", state.exists)
    return guardian, Path(json.loads(state.read_text())["folder"])
