"""The daemon and galileo-send, with files in object storage."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.clients import some_bytes
from helpers.daemon import Daemon, Daemons, run_galileod
from helpers.engines.buckets import Bucket
from helpers.resuming import sha1
from helpers.s3_store import MIB, PART
from helpers.sending import run_process

pytestmark = pytest.mark.timeout(120)

LARGE = some_bytes(40 * MIB)

Start = Callable[..., Daemon]


@pytest.fixture
def start(daemon: Daemons, bucket: Bucket, tmp_path: Path) -> Start:
    """Starts a daemon for the bucket; settings of `[storage]` may be given."""

    def make(storage: Mapping[str, object] | None = None, **settings: object) -> Daemon:
        s3 = bucket.settings(tmp_path, prefix="files/", part_size="5MiB")
        tables: dict[str, Any] = {
            "timeouts": {"close": 1},
            "storage": {"backend": "s3", "s3": s3, **(storage or {})},
            **settings,
        }
        return daemon(tables)

    return make


def contents(bucket: Bucket) -> dict[str, str]:
    """The hash of each object, by its name."""
    return {key.removeprefix("files/"): sha1(data) for key, data in bucket.contents().items()}


def files(host: Daemon, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_galileod("files", *arguments, "--config", host.config)


def listed(host: Daemon) -> dict[str, str]:
    said = files(host, "list", "--json")
    assert (said.returncode, said.stderr) == (0, "")
    return {row["path"]: row["sha1"] for row in json.loads(said.stdout)["files"]}


def send(host: Daemon, *paths: Path) -> None:
    sent = run_process(host.url, *paths)
    assert sent.returncode == 0, sent.stderr


def test_files_of_all_sizes_are_stored_listed_and_removed(
    start: Start, bucket: Bucket, tmp_path: Path
) -> None:
    host = start()
    assert host.find("server.started", directory=f"s3://{bucket.name}/files")
    sizes = {f"{number}.bin": number * 1000 for number in range(50)}
    sizes |= {"part.bin": PART, "more.bin": PART + 1, "large.bin": len(LARGE)}
    folder = tmp_path / "sent"
    folder.mkdir()
    paths = [folder / name for name in sizes]
    for path in paths:
        path.write_bytes(LARGE[: sizes[path.name]])
    send(host, *paths)
    expected = {path.name: sha1(path.read_bytes()) for path in paths}
    assert contents(bucket) == listed(host) == expected
    assert bucket.unfinished() == 0
    assert files(host, "remove", "large.bin", "1.bin").returncode == 0
    del expected["large.bin"], expected["1.bin"]
    assert contents(bucket) == listed(host) == expected
