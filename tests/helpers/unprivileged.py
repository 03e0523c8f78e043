"""Uploads by a process that has root's user id, and none of its privileges."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

_SCRIPT: Final = """
import json, os, sys
import trio
from galileod.storage.errors import StorageError
from galileod.storage.local import LocalStore
from galileod.storage.settings import Storage

directory, *paths = sys.argv[1:]
os.umask(0o077)  # that of the systemd unit

async def put(store, path):
    try:
        async with await store.create("1", path) as file:
            await file.write([b"data"])
            return (await file.commit()).name
    except StorageError as error:
        return f"{type(error).__name__}: {error}"

store = LocalStore.open(Storage(directory=directory))
print(json.dumps([trio.run(put, store, path) for path in paths]))
store.close()
"""


NO_CAPABILITIES: Final = (
    "setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--clear-groups",
)  # fmt: skip
USER_NAMESPACE: Final = ("unshare", "--user", "--map-root-user")
"""A namespace that has root, and no other user or group."""


def put_unprivileged(
    directory: Path, *paths: str, by: Sequence[str] = NO_CAPABILITIES
) -> list[str]:
    """Store a file at each path, in a process started by `by`; returns its name, or the error."""
    if os.geteuid() != 0:
        pytest.skip("giving files to another group needs root")
    if subprocess.run([*by, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip(f"{by[0]} does not work here")
    ended = subprocess.run(
        [*by, sys.executable, "-c", _SCRIPT, directory, *paths],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    answer: list[str] = json.loads(ended.stdout)
    return answer
