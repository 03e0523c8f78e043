"""Starts with another store than before: no record is lost, and none counts for the wrong place."""

import json
import tomllib
from collections.abc import Mapping
from typing import Any, Final

import pytest
from helpers.clients import some_bytes
from helpers.daemon import Daemon, run_galileod, write_config
from helpers.engines.buckets import Bucket
from helpers.resuming import ResumingClient, push
from helpers.s3_daemon import PREFIX, Start, contents

pytestmark = pytest.mark.timeout(120)

SMALL: Final = some_bytes(1000)
LARGE: Final = some_bytes(12 << 20)
OFFSET: Final = 7 << 20


def change(host: Daemon, s3: Mapping[str, object] | None = None, **storage: object) -> None:
    """Change settings of a daemon that does not run."""
    tables: dict[str, Any] = tomllib.loads(host.config.read_text())
    tables["storage"].update(storage)
    tables["storage"]["s3"].update(s3 or {})
    write_config(host.config, tables)


def refused(host: Daemon) -> str:
    """The reason why it does not start."""
    host.spawn()
    assert host.wait() == 1
    (line,) = host.log()
    host.stderr.unlink()  # the error was expected
    assert line["event"] == "server.failed"
    reason: str = line["reason"]
    assert reason.startswith(f"{host.directory}/.galileod/ledger.sqlite3: ")
    return reason


def records(host: Daemon) -> Any:  # noqa: ANN401  JSON
    said = run_galileod("files", "list", "--json", "--config", host.config)
    return json.loads(said.stdout)["files"]


def usage(host: Daemon) -> Any:  # noqa: ANN401  JSON
    return json.loads(run_galileod("usage", "--json", "--config", host.config).stdout)["users"]


def interrupt(host: Daemon, name: str) -> ResumingClient:
    client = ResumingClient(host.url, LARGE, name)
    with client.attempt() as attempt:
        attempt.send(OFFSET)
        attempt.cut()
    host.wait_for("upload.kept", offset=OFFSET)
    return client


def finish(host: Daemon, client: ResumingClient) -> None:
    with client.at(host.url).attempt() as attempt:
        assert attempt.offset == OFFSET
        assert attempt.finish() == client.stored()


def test_a_ledger_stays_with_its_files_or_goes_where_they_are(start: Start, bucket: Bucket) -> None:
    host = start({"backend": "local"})
    assert push(ResumingClient(host.url, SMALL, "a.bin")) == "stored"
    client = interrupt(host, "b.bin")
    before = usage(host)
    host.stop()

    change(host, backend="s3")
    assert "there are interrupted uploads to storage.directory" in refused(host)
    change(host, backend="local")
    host.start()
    assert usage(host) == before
    finish(host, client)
    before = records(host)
    host.stop()

    change(host, backend="s3")
    place = f"s3://{bucket.name}/files"
    assert f"'a.bin' is not in {place}" in refused(host)
    for name, path in host.visible().items():
        bucket.raw.put_object(Bucket=bucket.name, Key=f"{PREFIX}{name}", Body=path.read_bytes())
    host.start()
    moved = host.find("ledger.moved")
    assert moved
    assert (moved["before"], moved["now"]) == ("storage.directory", place)
    assert records(host) == before
    assert push(ResumingClient(host.url, SMALL, "a.bin")) == "stored"
    assert set(contents(bucket)) == {"a.bin", "a (1).bin", "b.bin"}
    host.stop()

    change(host, backend="local")
    assert "'a (1).bin' is not in storage.directory" in refused(host)
    change(host, backend="s3")
    host.start()
    assert not host.find("ledger.moved")
    assert len(records(host)) == 3


def test_an_upload_to_a_bucket_is_not_continued_in_another(start: Start, bucket: Bucket) -> None:
    host = start()
    client = interrupt(host, "a.bin")
    host.stop()
    for s3 in ({"prefix": "other"}, {"prefix": ""}):
        change(host, s3)
        assert f"there are interrupted uploads to s3://{bucket.name}/files" in refused(host)
    change(host, {"prefix": PREFIX})
    host.start()
    finish(host, client)
    host.stop()
    change(host, {"prefix": "other"})
    assert f"'a.bin' is not in s3://{bucket.name}/other" in refused(host)


def test_a_directory_is_moved_with_its_ledger(start: Start) -> None:
    host = start({"backend": "local"})
    assert push(ResumingClient(host.url, SMALL, "a.bin")) == "stored"
    host.stop()
    host.directory = host.directory.rename(host.directory.with_name("moved"))
    change(host, directory=str(host.directory))
    host.start()
    assert [record["path"] for record in records(host)] == ["a.bin"]
