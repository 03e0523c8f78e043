"""What must be so after faults of the object storage, once all clients have what they wanted."""

import json
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import trio
from attrs import frozen
from helpers.daemon import Daemon, Settings, run_galileod
from helpers.engines.buckets import Bucket
from helpers.resuming import ledger_of, sha1
from helpers.s3_daemon import PREFIX
from helpers.s3_senders import Senders
from helpers.s3_store import PART, memory

from galileod.ledger.base import Ledger
from galileod.ledger.records import Selection
from galileod.ledger.sqlite import SqliteLedger
from galileod.storage.s3 import sweep
from galileod.storage.s3.client import Client
from galileod.storage.s3.store import S3Store
from galileod.storage.s3.sweep import LEAST_AGE, Sweeper
from galileod.storage.settings import S3, Storage
from galileod.units import Size

STATE: Final = ".galileod/"
EMPTY: Final = sha1(b"")

AT_ONCE: Final = """
import types, botocore.endpoint, galileod.storage.s3.client
at_once = types.SimpleNamespace(sleep=lambda seconds: None)
botocore.endpoint.time = galileod.storage.s3.client.time = at_once
"""
"""Has a daemon repeat requests at once."""


class Troubled(Daemon):
    """A daemon whose object storage fails. Its logs have no other errors."""

    def check_log(self) -> None:
        for path in self.folder.glob("stderr-*.log"):
            lines = path.read_text().splitlines()
            whole = lines if path == self.stderr else lines[:-1]  # one may have been killed
            for line in map(json.loads, whole):
                if line["level"] in ("error", "critical"):
                    assert line["event"] in ("upload.failed", "upload.kept"), line
                    assert line["code"] in ("storage_failed", "no_space"), line


def troubled(bucket: Bucket, folder: Path, *, before: str = "", **settings: Any) -> Troubled:  # noqa: ANN401  tables
    """One with its files in a bucket. `s3` and `storage` are further settings of these tables."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"prefix": PREFIX, "part_size": "5MiB", **settings.pop("s3", {})}
    s3 = bucket.settings(folder, **values)
    tables: Settings = {
        "timeouts": {"close": 1},
        "storage": {"backend": "s3", "s3": s3, **settings.pop("storage", {})},
        **settings,
    }
    return Troubled(folder / "daemon", tables, before=before)


@frozen
class Aftermath:
    """What is there: the hash of each object by its name, and of each file in the ledger."""

    objects: dict[str, str]
    recorded: dict[str, str | None]

    @property
    def unrecorded(self) -> dict[str, str]:
        """Objects that the ledger does not know: nobody was told of them."""
        return {name: hash_ for name, hash_ in self.objects.items() if name not in self.recorded}


def assert_intact(senders: Senders, bucket: Bucket, folder: Path) -> None:
    """Stop the daemon, sweep, and compare the bucket with what was confirmed."""
    host = senders.daemon
    assert isinstance(host, Daemon)
    assert host.stop() == 0
    with closing(SqliteLedger.open(str(ledger_of(host)))) as ledger:
        found = assert_nothing_lost(ledger, senders, bucket, folder)
    assert_usage(host, found)


def assert_nothing_lost(
    ledger: Ledger, senders: Senders, bucket: Bucket, folder: Path
) -> Aftermath:
    """Sweep, and compare the bucket with what was confirmed, once no daemon runs."""
    left = swept_with(ledger, bucket, folder)
    assert left == []
    found = found_with(ledger, bucket)
    assert bucket.unfinished() == 0
    for name, stored in senders.stored.items():
        assert found.objects.get(stored.path) == stored.sha1, (name, "confirmed, and lost")
        assert found.recorded.get(stored.path) == stored.sha1, (name, "confirmed, not recorded")
    assert set(found.objects.values()) <= set(senders.offered.values()), "in part, or of nobody"
    assert found.recorded.items() <= found.objects.items()
    once = {senders.offered[name] for name in senders.stored.keys() - senders.keyless} - {EMPTY}
    twice = [hash_ for hash_, times in Counter(found.recorded.values()).items() if times > 1]
    assert not once & set(twice), "stored twice"
    assert found.unrecorded == {}
    return found


def found_in(host: Daemon, bucket: Bucket, prefix: str = PREFIX) -> Aftermath:
    with closing(SqliteLedger.open(str(ledger_of(host)))) as ledger:
        return found_with(ledger, bucket, prefix)


def found_with(ledger: Ledger, bucket: Bucket, prefix: str = PREFIX) -> Aftermath:
    recorded = {entry.name: entry.sha1 for entry in ledger.files(Selection())}
    contents = bucket.contents()
    names = [key for key in contents if key.startswith(prefix)]
    objects = {key.removeprefix(prefix): sha1(contents[key]) for key in names}
    return Aftermath(objects, recorded)


def assert_usage(host: Daemon, found: Aftermath) -> None:
    """The ledger counts as many files as it has, and nothing that is on its way or kept."""
    said = run_galileod("usage", "--json", "--config", host.config)
    assert said.returncode == 0, said.stderr
    users = json.loads(said.stdout)["users"]
    assert sum(user["files"] for user in users) == len(found.recorded)
    for each in ("uploads", "reserved", "kept"):
        assert not any(user[each] for user in users), users


def swept(host: Daemon, bucket: Bucket, folder: Path, prefix: str = PREFIX) -> list[str]:
    """Sweep as a daemon does an hour later; returns what is left below `prefix` beside files."""
    with closing(SqliteLedger.open(str(ledger_of(host)))) as ledger:
        return swept_with(ledger, bucket, folder, prefix)


def swept_with(ledger: Ledger, bucket: Bucket, folder: Path, prefix: str = PREFIX) -> list[str]:
    values: Any = bucket.settings(folder, prefix=prefix)
    settings = S3(**{**values, "part_size": Size(PART)})
    with closing(Client.open(settings, requests=4)) as client:
        storage = Storage(backend="s3", s3=settings)
        store = S3Store(storage, client, ledger.objects, memory())
        sweeper = Sweeper(store.shared, lambda: 0, lambda: time.time() + LEAST_AGE + 100)
        trio.run(_sweep_at_once, sweeper)
        known = [one.upload for one in ledger.objects.all()]
        keys = [key for key, _ in client.list(f"{prefix}{STATE}", "", 1000)]
        parts = [key for key, _, _ in client.unfinished(prefix)]
        return [*known, *keys, *parts]


async def _sweep_at_once(sweeper: Sweeper) -> None:
    pause = sweep.PAUSE
    sweep.PAUSE = 0  # type: ignore[misc]
    try:
        await sweeper.sweep()
    finally:
        sweep.PAUSE = pause  # type: ignore[misc]
