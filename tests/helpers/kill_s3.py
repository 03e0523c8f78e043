"""Kills an upload to object storage before each of its calls to the bucket and to the ledger.

A program: `kill_s3.py SETTINGS ON_CONFLICT WAY`. SETTINGS is a JSON object with the values of
`[storage.s3]`, the name of a folder for the ledger, and nothing else that matters. WAY is the size
of the file: `parts` is interrupted and continued within its second part, and has three; `one` is
interrupted and has one; `whole` is stored in one step. Each upload is made by a forked process,
which kills itself. Another one starts as a daemon does, and ends the upload: it goes on with what
is kept, or begins anew unless it was stored. For each kill one line of JSON is written, then
`{"completed": true}` once an upload ended without a kill.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any, Final

import trio
from attrs import evolve
from helpers.clients import some_bytes
from helpers.kill_steps import forked, write
from helpers.ledgers import allow, resumable

from galileod.config.model import Config
from galileod.daemon.progress import Progress
from galileod.daemon.start import make_agree
from galileod.ledger.base import KeptUpload, StoredUpload, WholeEntry
from galileod.ledger.records import Commit, Selection
from galileod.ledger.sqlite import SqliteLedger
from galileod.policy.publication import OnConflict
from galileod.storage.base import Sink, Stored
from galileod.storage.s3 import sweep
from galileod.storage.s3.client import Client
from galileod.storage.s3.store import S3Store
from galileod.storage.settings import S3, Storage
from galileod.storage.whole import WholeFile, Written
from galileod.units import Size
from galileod.uploads.memory import MemoryPool, PoolPartMemory

MIB: Final = 1 << 20
PART: Final = 5 * MIB
OLD: Final = b"old content"
SIZES: Final = {"parts": 2 * PART + 1000, "one": 100_000, "whole": 50_000}
MIDDLE: Final = {"parts": PART + 1000, "one": 1000}
"""Bytes after which the upload is interrupted."""

NAME: Final = "anna/a.bin"
KEY: Final = resumable()


class Killing:
    """Stands in for the client or the ledger's part: kills the process before a call.

    `calls` is common to both. Some calls are made in threads, so their order differs.
    """

    def __init__(self, inner: Any, calls: "count[int]", last: int) -> None:  # noqa: ANN401
        self._inner = inner
        self._calls = calls
        self._last = last

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            if next(self._calls) >= self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            return value(*args, **kwargs)

        return call


class Scene:
    """A bucket with one old file, and a ledger that knows it."""

    def __init__(self, settings: dict[str, Any], on_conflict: OnConflict, way: str) -> None:
        self._folder = Path(settings.pop("folder"))
        s3 = S3(**{**settings, "part_size": Size(PART)})
        self._s3 = s3
        self._base = s3.prefix
        # Without a connection yet, so that each process has its own.
        self._client = Client.open(s3, requests=8)
        self._on_conflict = on_conflict
        self._way = way
        self._data = some_bytes(SIZES[way])
        self._size = len(self._data)

    def open(self) -> tuple[S3Store, SqliteLedger]:
        ledger = SqliteLedger.open(str(self._folder / "ledger"))
        settings = Storage(backend="s3", on_conflict=self._on_conflict, s3=self._s3)
        memory = PoolPartMemory(MemoryPool(256 * MIB, 250_000))
        return S3Store(settings, self._client, ledger.objects, memory), ledger

    async def add_old(self, store: S3Store, ledger: SqliteLedger) -> None:
        await ledger.reserve("0", "anna", len(OLD), allow)
        async with await store.create("0", NAME, size=len(OLD)) as sink:
            await sink.write([OLD])
            await ledger.promise("0", sink.identity, None, sha1(OLD))
            await ledger.commit("0", (await sink.commit()).name)

    async def upload(self, kill_before: int) -> None:
        """An upload that is interrupted in its middle, and killed somewhere."""
        store, ledger = self.open()
        await self.add_old(store, ledger)
        calls, shared = count(), store.shared
        client: Any = Killing(shared.client, calls, kill_before)
        objects: Any = Killing(shared.objects, calls, kill_before)
        store.shared = evolve(shared, client=client, objects=objects)
        killing: Any = Killing(ledger, calls, kill_before)
        if self._way == "whole":
            await self.store_whole(store, killing, "1")
            return
        sink = await self.begin(store, killing, "1")
        await sink.write([self._data[: MIDDLE[self._way]]])
        durable = await sink.suspend()
        await killing.keep("1", sink.offset, durable, 1000, 10)
        await killing.resume("1", allow)
        sink = await self.reopen(store)
        await self.finish(sink, killing, "1")

    async def restart(self) -> dict[str, object]:
        """What the next start finds; then the upload ends."""
        store, ledger = self.open()
        await trio.to_thread.run_sync(make_agree, store, ledger, Config(), Progress())
        found = await ledger.find(KEY.key)
        kept = found.offset if isinstance(found, KeptUpload) else None
        if isinstance(found, KeptUpload):
            await ledger.resume("1", allow)
            sink = await self.reopen(store)
            assert sink.offset == found.offset
            await self.finish(sink, ledger, "1")
        elif found is None and self._way == "whole":
            await self.store_whole(store, ledger, "2")
        elif found is None:
            await self.finish(await self.begin(store, ledger, "2"), ledger, "2")
        sweep.PAUSE = 0  # type: ignore[misc]
        later = time.time() + sweep.LEAST_AGE + 100
        await sweep.Sweeper(store.shared, lambda: 0, lambda: later).sweep()
        contents = self.contents(store)
        return {
            "kept": kept,
            "stored": isinstance(found, StoredUpload),
            "files": contents,
            "recorded": {entry.name: self.named(entry.sha1) for entry in ledger.files(Selection())},
            "begun": len(list(ledger.objects.all())),
            "unfinished": len(list(store.shared.client.unfinished(self._s3.prefix))),
        }

    async def begin(self, store: S3Store, ledger: SqliteLedger, upload: str) -> Sink:
        await ledger.reserve(upload, "anna", self._size, allow, resumable=KEY)
        return await store.create(upload, NAME, size=self._size)

    async def reopen(self, store: S3Store) -> Sink:
        return await store.reopen("1", NAME, self._on_conflict, "full")

    async def finish(self, sink: Sink, ledger: SqliteLedger, upload: str) -> None:
        assert sink.check == sha1(self._data[: sink.offset])
        for start in range(sink.offset, self._size, MIB):
            await sink.write([self._data[start : start + MIB]])
        digest = await sink.digest("sha1")
        await sink.prepare()
        await ledger.promise(upload, sink.identity, None, digest)
        stored = await sink.commit()
        await ledger.commit(upload, stored.name, 1000, digest)

    async def store_whole(self, store: S3Store, ledger: SqliteLedger, upload: str) -> None:
        file = WholeFile(upload, NAME, [self._data], (), self._on_conflict, "full")
        (written,) = await store.write_whole([file])
        assert isinstance(written, Written)
        digest = written.digests["sha1"]
        entry = WholeEntry(
            upload, "anna", self._size, allow, None, KEY, written.identity, sha1=digest
        )
        assert await ledger.enter_whole([entry]) == [None]
        (stored,) = await store.publish_whole([written])
        assert isinstance(stored, Stored)
        assert await ledger.commit_whole([Commit(upload, stored.name, 1000, digest)]) == [None]

    def contents(self, store: S3Store) -> dict[str, str]:
        client = store.shared.client
        return {
            key.removeprefix(self._s3.prefix): self.named(sha1(client.get(key)))
            for key, _ in client.list(self._s3.prefix, "", 1000)
        }

    def named(self, digest: str | None) -> str:
        return {sha1(OLD): "old", sha1(self._data): "new", None: "unknown"}.get(digest, "broken")

    def reset(self, number: int) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._s3 = evolve(self._s3, prefix=f"{self._base}{number}/")


def sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def main(settings: str, on_conflict: OnConflict, way: str) -> None:
    scene = Scene(json.loads(settings), on_conflict, way)
    for last in count():
        scene.reset(last)
        killed = forked(lambda: trio.run(scene.upload, last))  # noqa: B023
        forked(lambda: write(trio.run(scene.restart)))
        if not killed:
            write({"completed": True})
            return


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
