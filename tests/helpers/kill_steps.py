"""Kills an upload before each of its calls to the disk, and reports what the next start finds.

A program: `kill_steps.py DIRECTORY ON_CONFLICT WAY`. WAY is how the file is published: `renamed`,
`linked` or `unnamed` by a sink, or `whole`. Each upload is made by a forked process, which kills
itself. For each kill one line of JSON is written, then `{"completed": true}` once an upload ended
without a kill.
"""

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from helpers.disk import FaultyOs, put_into_place
from helpers.ledgers import allow, owed
from helpers.local_store import listed

from galileod.ledger.base import WholeEntry
from galileod.ledger.records import Commit
from galileod.ledger.sqlite import SqliteLedger
from galileod.policy.publication import OnConflict
from galileod.storage.base import Stored
from galileod.storage.local import LocalStore, folders, target
from galileod.storage.settings import Storage
from galileod.storage.state import ledger_path
from galileod.storage.whole import WholeFile, Written

OLD: Final = b"old content"
NEW: Final = b"new"
RECEIPT: Final = '{"id": "1"}'


class KillingOs(FaultyOs):
    """Stands in for `os`: kills the process before the call number `last`."""

    def __init__(self, last: int) -> None:
        super().__init__("", range(0), 0)
        self._last = last

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        original = super().__getattr__(name)
        if not callable(original) or name in {"fsencode", "fsdecode"}:
            return original

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self.calls += 1
            if self.calls > self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        return call


class Scene:
    """A directory with one old file, and the store and the ledger in it."""

    def __init__(self, directory: Path, on_conflict: OnConflict, way: str) -> None:
        self.directory = directory
        self._settings = Storage(directory=str(directory), on_conflict=on_conflict)
        self._way = way

    def open(self) -> tuple[LocalStore, SqliteLedger]:
        """Start, as the daemon does."""
        store = LocalStore.open(self._settings)
        store.recover({})
        if self._way == "linked":
            store._spool.renames = False
        ledger = SqliteLedger.open(ledger_path(str(self.directory)))
        found = store.scan(ledger.promised())
        ledger.reconcile(found.sizes, found.names)
        return store, ledger

    async def upload(self, kill_before: int) -> None:
        store, ledger = self.open()
        patch, killing = pytest.MonkeyPatch(), KillingOs(kill_before)
        put_into_place(patch, killing)
        for module in (folders, target):
            patch.setattr(module, "os", killing)
        if self._way == "whole":
            await self._upload_whole(store, ledger)
            return
        await ledger.reserve("1", "anna", len(NEW), allow)
        async with await store.create("1", "anna/a.bin") as file:
            await file.write([NEW])
            await file.prepare()
            await ledger.promise("1", file.identity, RECEIPT)
            stored = await file.commit()
            await ledger.commit("1", stored.name)

    async def _upload_whole(self, store: LocalStore, ledger: SqliteLedger) -> None:
        on_conflict = self._settings.on_conflict
        file = WholeFile("1", "anna/a.bin", [NEW], (), on_conflict, "full")
        written = [one for one in await store.write_whole([file]) if isinstance(one, Written)]
        identity = written[0].identity
        entry = WholeEntry("1", "anna", len(NEW), allow, identity=identity, receipt=RECEIPT)
        assert await ledger.enter_whole([entry]) == [None]
        (stored,) = await store.publish_whole(written)
        assert isinstance(stored, Stored)
        assert await ledger.commit_whole([Commit("1", stored.name)]) == [None]

    async def report(self) -> dict[str, object]:
        store, ledger = self.open()
        anna = self.directory / "anna"
        return {
            "files": {path.name: path.read_text() for path in anna.iterdir()},
            "holdings": {user: held.files for user, held in ledger.holdings().items()},
            "receipts": [name for name, _, _ in await owed(ledger)],
            "spool": os.listdir(self.directory / ".galileod/spool"),
            "counted": sorted(listed(store)),
        }

    def reset(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.directory / "anna").mkdir(parents=True)
        (self.directory / "anna/a.bin").write_bytes(OLD)


def forked(run: Callable[[], None]) -> bool:
    """Run in a process of its own; says whether it was killed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run()
            status = 0
        except BaseException:  # noqa: BLE001  this process must not go on as its parent
            traceback.print_exc()
        finally:
            os._exit(status)
    _, result = os.waitpid(child, 0)
    if os.WIFEXITED(result) and os.WEXITSTATUS(result) != 0:
        sys.exit("an upload or a start failed")
    return os.WIFSIGNALED(result)


def write(report: object) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


def main(directory: str, on_conflict: OnConflict, way: str) -> None:
    scene = Scene(Path(directory), on_conflict, way)
    if way == "unnamed":
        target.same_filesystem = lambda *_: False
    for last in count():
        scene.reset()
        killed = forked(lambda: trio.run(scene.upload, last))  # noqa: B023
        forked(lambda: write(trio.run(scene.report)))
        if not killed:
            write({"completed": True})
            return


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
