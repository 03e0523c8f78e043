"""Daemons with their files in a bucket."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from helpers.daemon import Daemon, Daemons
from helpers.engines.buckets import Bucket
from helpers.resuming import sha1
from helpers.sending import run_process

PREFIX: Final = "files/"

Start = Callable[..., Daemon]
"""Starts a daemon for a bucket. Settings of `[storage]` may be given, and other tables."""


def starting(daemon: Daemons, bucket: Bucket, folder: Path) -> Start:
    """With the credentials in a folder."""

    def start(storage: Mapping[str, object] | None = None, **settings: object) -> Daemon:
        s3 = bucket.settings(folder, prefix=PREFIX, part_size="5MiB")
        tables: dict[str, Any] = {
            "timeouts": {"close": 1},
            "storage": {"backend": "s3", "s3": s3, **(storage or {})},
            **settings,
        }
        return daemon(tables)

    return start


def contents(bucket: Bucket) -> dict[str, str]:
    """The hash of each object, by its name."""
    return {key.removeprefix(PREFIX): sha1(data) for key, data in bucket.contents().items()}


def send(host: Daemon, *paths: Path) -> None:
    sent = run_process(host.url, *paths)
    assert sent.returncode == 0, sent.stderr
