"""Kills an upload that is suspended and continued before each of its calls to the disk.

A program: `kill_resuming.py DIRECTORY ON_CONFLICT WAY CRASH`. WAY is how the file is published: as
for kill_steps, or `uncounted`: linked on a filesystem that does not count links. Or it is
`restarted`, `settled` or `settled-linked`: then the node `b` continues what the node `a` has kept,
and is killed; it starts again, or the node `c` takes over what it has left. CRASH is `process`, or
`machine`: then what was not durable is zeros, and the record of the publication is lost. For each
kill one line of JSON is written: what the next start finds, and what the directory has once the
upload was continued and committed, or begun anew.
"""

import hashlib
import json
import os
import shutil
import sys
from itertools import count
from pathlib import Path
from typing import Final

import pytest
import trio
from helpers.disk import put_into_place
from helpers.kill_steps import OLD, KillingOs, forked, write
from helpers.local_store import recover_and_drop

from galileod.policy.publication import OnConflict
from galileod.storage.base import Sink
from galileod.storage.local import LocalStore, folders, target
from galileod.storage.settings import Storage

CONTENT: Final = bytes(range(256)) * 4
SHA1: Final = hashlib.sha1(CONTENT, usedforsecurity=False).hexdigest()
MIDDLE: Final = 300
"""Bytes after which the upload is suspended."""


class Scene:
    """A directory with one old file, and beside it a record of the upload in place of a ledger."""

    def __init__(self, directory: Path, on_conflict: OnConflict, way: str, crash: str) -> None:
        self._directory = directory
        self._record = directory.with_name("record")
        self._on_conflict = on_conflict
        self._way = way
        self._crash = crash
        self._nodes = way in {"restarted", "settled", "settled-linked"}

    def reset(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        (self._directory / "anna").mkdir(parents=True)
        (self._directory / "anna/a.bin").write_bytes(OLD)
        self.record()

    def record(
        self,
        written: int = 0,
        durable: int = 0,
        identity: str | None = None,
        node: str | None = None,
    ) -> None:
        record = {"written": written, "durable": durable, "identity": identity, "node": node}
        self._record.write_text(json.dumps(record))

    def open(self, node: str | None = None) -> LocalStore:
        settings = Storage(directory=str(self._directory), on_conflict=self._on_conflict)
        store = LocalStore.open(settings, node=node)
        store._spool.renames = self._way not in {"linked", "uncounted", "settled-linked"}
        store._spool.counts_links = self._way != "uncounted"
        return store

    async def reopen(self, store: LocalStore) -> Sink:
        return await store.reopen("1", "anna/a.bin", self._on_conflict, "full")

    async def upload(self, kill_before: int) -> None:
        first, second = ("a", "b") if self._nodes else (None, None)
        store = self.open(first)
        store.recover({})
        other = store
        if self._nodes:
            other = self.open(second)
            other.recover({})
        patch, killing = pytest.MonkeyPatch(), KillingOs(kill_before)
        put_into_place(patch, killing)
        for module in (folders, target):
            patch.setattr(module, "os", killing)
        sink: Sink = await store.create("1", "anna/a.bin")
        await sink.write([CONTENT[:MIDDLE]])
        self.record(MIDDLE, node=first)
        durable = await sink.suspend()
        self.record(MIDDLE, durable, node=second)
        sink = await self.reopen(other)
        await sink.write([CONTENT[MIDDLE:]])
        self.record(sink.offset, durable, node=second)
        durable = await sink.checkpoint()
        self.record(sink.offset, durable, node=second)
        await sink.prepare()
        self.record(sink.offset, durable, sink.identity, second)
        await sink.commit()

    async def restart(self) -> dict[str, object]:
        """What the next start finds; then the upload ends."""
        record = json.loads(self._record.read_text())
        trusted = None
        if self._crash == "machine":
            trusted, record["identity"] = record["durable"], None
            self._lose(trusted)
        ended = record.pop("node") or ("a" if self._nodes else None)
        if self._way.startswith("settled"):
            store = self.open("c")
            assert recover_and_drop(store, {}) == {}
            left = recover_and_drop(store, {"1": trusted}, claimed={"1"}, running=True)
        else:
            store = self.open(ended)
            claimed = {"1"} if self._nodes else set()
            left = recover_and_drop(store, {"1": trusted}, claimed=claimed)
        recovered = left.get("1")
        wanted = {record["identity"], recovered and recovered.identity} - {None}
        found = store.scan(wanted).names
        report = {
            "record": record,
            "offset": recovered.offset if recovered else None,
            "identified": bool(recovered and recovered.identity),
            "found": sorted(found.values()),
            "before": self._files(),
        }
        if not found:
            goes_on = recovered is not None and recovered.identity is None
            sink = await (self.reopen(store) if goes_on else store.create("1", "anna/a.bin"))
            async with sink:
                await sink.write([CONTENT[sink.offset :]])
                assert await sink.digest("sha1") == SHA1
                await sink.commit()
        else:
            await store.drop("1")
        spools = (self._directory / ".galileod").glob("**/spool/*")
        return {**report, "after": self._files(), "spool": [path.name for path in spools]}

    def _lose(self, durable: int) -> None:
        for path in (self._directory / ".galileod").glob("**/spool/1"):
            if path.stat().st_nlink > 1:
                continue
            size = path.stat().st_size
            os.truncate(path, min(durable, size))
            os.truncate(path, size)

    def _files(self) -> dict[str, str]:
        names = {OLD: "old", CONTENT: "new"}
        folder = self._directory / "anna"
        return {path.name: names.get(path.read_bytes(), "broken") for path in folder.iterdir()}


def main(directory: str, on_conflict: OnConflict, way: str, crash: str) -> None:
    scene = Scene(Path(directory), on_conflict, way, crash)
    if way == "unnamed":
        target.same_filesystem = lambda *_: False
    for last in count():
        scene.reset()
        killed = forked(lambda: trio.run(scene.upload, last))  # noqa: B023
        forked(lambda: write(trio.run(scene.restart)))
        if not killed:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
