"""A bucket in memory, whose requests take time of trio's clock, which would not wait for threads.

It is for tests of what runs in which order. What a store really does is found out with an engine.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import trio
from attrs import define, field
from helpers.ledgers import open_inline_ledger

from galileod.storage.s3.client import Head
from galileod.storage.s3.memory import PartMemory
from galileod.storage.s3.shared import Shared
from galileod.storage.s3.store import S3Store
from galileod.storage.settings import S3, Storage
from galileod.units import Size

T = TypeVar("T")

MIB = 1 << 20


@define
class FakeClient:
    """Objects by their keys; `parts` are on their way or wait for their Complete."""

    bucket: str = "bucket"
    objects: dict[str, bytes] = field(factory=dict)
    metadata: dict[str, Mapping[str, str]] = field(factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(factory=dict)

    def create(self, key: str, metadata: Mapping[str, str]) -> str:
        self.uploads[key], self.metadata[key] = {}, metadata
        return key

    def upload_part(self, key: str, multipart: str, number: int, body: bytearray) -> str:
        assert key == multipart
        self.uploads[key][number] = bytes(body)
        return str(number)

    def complete(self, key: str, multipart: str, parts: Sequence[tuple[int, str]]) -> None:
        assert key == multipart
        sent = self.uploads.pop(key)
        assert parts == [(number, str(number)) for number in sorted(sent)]
        self.objects[key] = b"".join(sent[number] for number in sorted(sent))

    def abort(self, key: str, multipart: str) -> None:
        assert key == multipart
        self.uploads.pop(key, None)

    def put(self, key: str, body: bytearray, metadata: Mapping[str, str], *, new: bool) -> str:
        assert not new or key not in self.objects
        self.objects[key], self.metadata[key] = bytes(body), metadata
        return ""

    def head(self, key: str) -> Head | None:
        if key not in self.objects:
            return None
        return Head(len(self.objects[key]), 0, self.metadata[key], "")

    def get(self, key: str) -> bytes:
        return self.objects[key]

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def for_checks(self) -> "FakeClient":
        return self

    def close(self) -> None:
        """Nothing is open."""


class TimedShared(Shared):
    """Requests of one second, which are made at its end; none in a thread."""

    async def request(
        self, call: Callable[[], T], limiter: trio.CapacityLimiter | None = None
    ) -> T:
        async with limiter or self.threads.requests:
            await trio.sleep(1)
            return call()

    async def compute(self, call: Callable[[], T]) -> T:
        await trio.lowlevel.checkpoint()
        return call()


def open_fake(memory: PartMemory, part_size: int = MIB) -> tuple[S3Store, FakeClient]:
    """A store in a new bucket."""
    client: Any = FakeClient()
    s3 = S3(bucket="bucket", part_size=Size(part_size))
    store = S3Store(Storage(backend="s3", s3=s3), client, open_inline_ledger().objects, memory)
    shared = store.shared
    store.shared = TimedShared(shared.client, shared.objects, memory, "", shared.location)
    return store, client
