"""Tries everything that the store asks of the object storage, for `check-config --connect`."""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from typing import Final

from galileod.storage.errors import StorageError
from galileod.storage.settings import S3

from .client import UPLOAD, Client

FOLDER: Final = ".galileod/check/"
"""Where the objects of a trial are, below the prefix. All of them are removed again."""

Outcome = tuple[str, StorageError | None]
"""What was tried, and why it does not work."""


def try_all(client: Client, settings: S3) -> Iterator[Outcome]:
    """Each step as it is done. If the bucket cannot be used at all, it is the only one."""
    trial = _Trial(client, f"{settings.prefix}{FOLDER}{secrets.token_hex(8)}")
    bucket = _tried(f'use the bucket "{settings.bucket}"', client.check)
    yield bucket
    if bucket[1] is None:
        yield _tried("store an object", trial.put)
        yield _tried("read it", trial.get)
        yield _tried("find it in the listing", trial.find)
        yield _tried("store an object in parts", trial.multipart)
        yield _tried("abort a multipart upload", trial.abort)
        yield _tried("remove objects", trial.delete)


class _Trial:
    """The steps. Each raises StorageError."""

    def __init__(self, client: Client, key: str) -> None:
        self._client = client
        self._key, self._parts = key, f"{key}-parts"
        self._data, self._metadata = secrets.token_bytes(64), {UPLOAD: "check"}

    def put(self) -> None:
        self._client.put(self._key, self._data, self._metadata, new=True)

    def get(self) -> None:
        self._look(self._key)

    def find(self) -> None:
        if (self._key, len(self._data)) not in self._client.list(self._key, "", 2):
            raise StorageError("the listing does not have the object that was stored")

    def multipart(self) -> None:
        upload = self._client.create(self._parts, self._metadata)
        try:
            etag = self._client.upload_part(self._parts, upload, 1, self._data)
            self._client.is_unfinished(self._parts, upload)
            self._client.complete(self._parts, upload, [(1, etag)])
        except StorageError:
            with contextlib.suppress(StorageError):  # what is told is why it does not work
                self._client.abort(self._parts, upload)
            raise
        self._look(self._parts)

    def abort(self) -> None:
        self._client.abort(self._parts, self._client.create(self._parts, self._metadata))
        for _ in self._client.unfinished(self._key):
            raise StorageError("a multipart upload that was aborted is still there")

    def delete(self) -> None:
        for key in (self._key, self._parts):
            self._client.delete(key)
            if self._client.head(key) is not None:
                raise StorageError("an object that was removed is still there")

    def _look(self, key: str) -> None:
        head = self._client.head(key)
        if head is None or head.metadata != self._metadata or self._client.get(key) != self._data:
            raise StorageError("the object is not the one that was stored")


def _tried(step: str, do: Callable[[], object]) -> Outcome:
    try:
        do()
    except StorageError as error:
        return step, error
    return step, None
