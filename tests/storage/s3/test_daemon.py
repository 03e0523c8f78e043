"""The daemon and galileo-send, with files in object storage."""

import json
import subprocess
from pathlib import Path

import pytest
from helpers.clients import some_bytes
from helpers.daemon import Daemon, run_galileod
from helpers.engines.buckets import Bucket
from helpers.resuming import sha1
from helpers.s3_daemon import Start, contents, send
from helpers.s3_store import MIB, PART

pytestmark = pytest.mark.timeout(120)

LARGE = some_bytes(40 * MIB)


def files(host: Daemon, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run_galileod("files", *arguments, "--config", host.config)


def listed(host: Daemon) -> dict[str, str]:
    said = files(host, "list", "--json")
    assert (said.returncode, said.stderr) == (0, "")
    return {row["path"]: row["sha1"] for row in json.loads(said.stdout)["files"]}


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
