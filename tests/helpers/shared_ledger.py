"""A ledger for several nodes in this process, beside trio's jumping clock."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import trio
from attrs import define, field
from helpers.ledgers import InlineDatabase

from galileod.ledger.base import (
    Allow,
    Entered,
    Found,
    KeptUpload,
    KeyTakenError,
    LedgerError,
    RunningUpload,
    SingleUse,
    WholeEntry,
)
from galileod.ledger.base import Resumable as Fixed
from galileod.ledger.elsewhere import (
    LISTEN_SECONDS,
    Answer,
    Asked,
    Discarding,
    Elsewhere,
    RunningThere,
)
from galileod.ledger.records import About, Commit
from galileod.ledger.sqlite import SqliteLedger


@define
class Shared:
    """What the nodes have in common: which of them runs an upload, and what is asked of it."""

    database: InlineDatabase = field(factory=lambda: InlineDatabase.open(":memory:"))
    runs: dict[str, str] = field(factory=dict)
    asks: dict[str, tuple[str, float]] = field(factory=dict)
    discards: dict[str, bool | None] = field(factory=dict)
    names: dict[str, str] = field(factory=dict)
    nodes: "list[NodeLedger]" = field(factory=list)
    silent: bool = False
    """Messages between nodes are lost."""

    def node(self, name: str) -> "NodeLedger":
        made = NodeLedger(self, name)
        self.nodes.append(made)
        return made

    def rows(self, where: str, *values: object) -> list[tuple[Any, ...]]:
        """Upload, key and metadata of uploads that run."""
        query = f"SELECT upload, key, metadata FROM uploads WHERE offset IS NULL AND {where}"
        return self.database.connection.execute(query, values).fetchall()

    def tell(self, keys: Collection[str]) -> None:
        """Wake all nodes."""
        for node in self.nodes if not self.silent else []:
            node.elsewhere.hear(keys)


class NodeElsewhere(Elsewhere):
    def __init__(self, shared: Shared, name: str) -> None:
        self._shared = shared
        self._name = name
        self._heard = set[str]()
        self._called = trio.Event()

    def hear(self, keys: Collection[str]) -> None:
        self._heard.update(keys)
        self._called.set()

    async def ask(self, key: str, asker: str, age: Callable[[], float]) -> None:
        await trio.lowlevel.checkpoint()
        claimed = trio.current_time() - age()
        if key not in self._shared.asks or self._shared.asks[key][1] < claimed:
            self._shared.asks[key] = asker, claimed
            self._shared.tell(())

    async def look(self, key: str, asker: str) -> Answer:
        found = await self._shared.nodes[0].find_for(self._name, key)
        return Answer(found, self._shared.asks.get(key, ("", 0.0))[0] == asker)

    async def withdraw(self, key: str, asker: str) -> None:
        await trio.lowlevel.checkpoint()
        if self._shared.asks.get(key, ("", 0.0))[0] == asker:
            del self._shared.asks[key]

    async def asked(self) -> Sequence[Asked]:
        await trio.lowlevel.checkpoint()
        return [
            Asked(upload, key, metadata, *self._asker(key))
            for upload, key, metadata in self._shared.rows("key IS NOT NULL")
            if self._shared.runs[upload] == self._name and key in self._shared.asks
        ]

    def _asker(self, key: str) -> tuple[str, float]:
        asker, claimed = self._shared.asks[key]
        return asker, trio.current_time() - claimed

    async def running_from(self, upload: str, count: int) -> Sequence[RunningThere]:
        await trio.lowlevel.checkpoint()
        rows = self._shared.database.connection.execute(
            "SELECT upload, user, path, bytes, durable, began FROM uploads WHERE offset IS NULL"
            " AND upload >= ? ORDER BY upload",
            (upload,),
        ).fetchall()
        there = [(*row, self._shared.runs[row[0]]) for row in rows]
        return [RunningThere(*row) for row in there if row[-1] != self._name][:count]

    async def ask_to_discard(self, upload: str) -> RunningThere | None:
        for found in await self.running_from(upload, 1):
            if found.upload == upload:
                self._shared.discards[upload] = None
                self._shared.tell(())
                return found
        return None

    async def look_at_discard(self, upload: str) -> Discarding:
        await trio.lowlevel.checkpoint()
        told = self._shared.discards[upload]
        if told is None:
            return "running" if self._shared.rows("upload = ?", upload) else "ended"
        return "discarded" if told else "complete"

    async def withdraw_discard(self, upload: str) -> None:
        await trio.lowlevel.checkpoint()
        del self._shared.discards[upload]

    async def to_discard(self) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        return [
            upload
            for upload, told in self._shared.discards.items()
            if told is None and self._shared.runs[upload] == self._name
        ]

    async def answer(self, upload: str, *, discards: bool) -> None:
        self._shared.discards[upload] = discards
        await trio.lowlevel.checkpoint()

    async def drop(self, upload: str) -> None:
        await trio.lowlevel.checkpoint()
        if self._shared.runs.get(upload) == self._name and self._shared.rows("upload = ?", upload):
            self._shared.database.connection.execute(
                "DELETE FROM uploads WHERE upload = ?", (upload,)
            )

    async def listen(self) -> Collection[str]:
        with trio.move_on_after(LISTEN_SECONDS):
            await self._called.wait()
        self._called = trio.Event()
        heard, self._heard = self._heard, set()
        return heard

    async def promised(self, identities: Collection[str]) -> Collection[str]:
        await trio.lowlevel.checkpoint()
        return set(identities) & set(self._shared.nodes[0].promised())

    async def hold(self, names: Collection[str]) -> bool:
        await trio.lowlevel.checkpoint()
        if any(self._shared.names.get(name, self._name) != self._name for name in names):
            return False
        self._shared.names.update(dict.fromkeys(names, self._name))
        return True

    async def give_back(self, names: Collection[str]) -> None:
        await trio.lowlevel.checkpoint()
        for name in names:
            if self._shared.names.get(name) == self._name:
                del self._shared.names[name]


class NodeLedger(SqliteLedger):
    """The ledger of one node; `fails` makes it raise when an upload is released."""

    elsewhere: NodeElsewhere

    def __init__(self, shared: Shared, name: str) -> None:
        super().__init__(shared.database, ":memory:", time.time, "boot")
        self.elsewhere = NodeElsewhere(shared, name)
        self.shared = shared
        self.name = name
        self.fails = False

    def close(self) -> None:
        """The database is in memory."""

    async def find(self, key: str) -> Found:
        return await self.find_for(self.name, key)

    async def find_for(self, name: str, key: str) -> Found:
        found = await super().find(key)
        if found is None:
            for upload, _, metadata in self.shared.rows("key = ?", key):
                if self.shared.runs[upload] != name:
                    return RunningUpload(upload, metadata, self.shared.runs[upload])
        return found

    async def reserve(
        self,
        upload: str,
        user: str,
        size: int,
        allow: Allow,
        ticket: SingleUse | None = None,
        resumable: Fixed | None = None,
        about: About | None = None,
    ) -> None:
        if resumable and await self.find(resumable.key) is not None:
            raise KeyTakenError("it is taken")
        await super().reserve(upload, user, size, allow, ticket, resumable, about)
        self.shared.runs[upload] = self.name

    async def resume(self, upload: str, allow: Allow) -> None:
        await super().resume(upload, allow)
        self.shared.runs[upload] = self.name

    async def enter_whole(self, entries: Sequence[WholeEntry]) -> Sequence[Entered]:
        results = list[Entered]()
        for entry in entries:
            found = await self.find(entry.resumable.key) if entry.resumable else None
            if isinstance(found, RunningUpload):
                results.append(found)
            else:
                results += await super().enter_whole([entry])
                self.shared.runs.setdefault(entry.upload, self.name)
        return results

    async def keep(
        self, upload: str, offset: int, durable: int, seconds: float, most: int
    ) -> Sequence[KeptUpload]:
        keys = self._keys([upload])
        kept = await super().keep(upload, offset, durable, seconds, most)
        self.shared.tell(keys)
        return kept

    async def release(self, upload: str) -> None:
        await self.release_whole([upload])

    async def release_whole(self, uploads: Sequence[str]) -> None:
        if self.fails:
            raise LedgerError("it fails")
        keys = self._keys(uploads)
        await super().release_whole(uploads)
        self.shared.tell(keys)

    async def commit_whole(self, commits: Sequence[Commit]) -> Sequence[LedgerError | None]:
        keys = self._keys([each.upload for each in commits])
        results = await super().commit_whole(commits)
        self.shared.tell(keys)
        return results

    def _keys(self, uploads: Sequence[str]) -> list[str]:
        return [key for upload, key, _ in self.shared.rows("key IS NOT NULL") if upload in uploads]
