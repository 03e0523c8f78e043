"""`galileod status`: the text, the JSON object, and the exit status."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from helpers.clients import check_serves
from helpers.daemon import Daemons, run_galileod
from helpers.engines.postgresql import Postgresql
from helpers.reloading import rewrite
from helpers.responding import responding

from galileod.cli.status import _lines

NOW: Final = 1_800_000_000.0
GOOD: Final[Mapping[str, Any]] = {
    "healthy": True,
    "reason": None,
    "version": "1.0",
    "pid": 4711,
    "started": NOW - 7383,
    "node": {"name": "node1", "lease": "valid", "clock_ahead": 5.0},
    "listen": ["127.0.0.1:8750", "unix:/run/galileod.sock"],
    "draining": False,
    "connections": 3,
    "uploads": {"running": 2, "kept": 1, "kept_bytes": 40 << 20},
    "stored": {"files": 1, "bytes": 20 << 30},
    "storage": {"backend": "local", "place": "/srv", "error": None, "free": 5 << 30},
    "ledger": {"place": "postgresql://db/x", "error": None},
}
BAD: Final[Mapping[str, Any]] = {
    **GOOD,
    "healthy": False,
    "reason": "The storage does not work: it is away.",
    "node": None,
    "uploads": {"running": 2, "kept": None, "kept_bytes": None},
    "stored": {"files": None, "bytes": None},
    "storage": {"backend": "s3", "place": "s3://a", "error": "no answer", "free": None},
}


def test_the_text_has_a_line_for_each_part() -> None:
    assert list(_lines(dict(GOOD), NOW)) == [
        ("state", "ok"),
        ("version", "1.0, process 4711"),
        ("since", "2027-01-15T05:56:57Z (2:03:03)"),
        ("node", "node1, lease valid"),
        ("listening", "127.0.0.1:8750, unix:/run/galileod.sock"),
        ("connections", "3"),
        ("uploads", "2 running, 1 kept (40.0 MiB)"),
        ("stored", "1 file, 20.0 GiB"),
        ("storage", "local, /srv: ok, 5.0 GiB free"),
        ("ledger", "postgresql://db/x: ok"),
    ]


def test_what_does_not_work_is_told_with_its_reason() -> None:
    lines = dict(_lines(dict(BAD), NOW))
    assert lines["state"] == "The storage does not work: it is away."
    assert lines["storage"] == "s3, s3://a: no answer"
    assert (lines["uploads"], lines["stored"]) == ("2 running, unknown kept", "unknown")
    assert "node" not in lines


@pytest.mark.parametrize(
    ("ahead", "text"),
    [
        (7200, "2:00:00 ahead of that of the database"),
        (-7.5, "7.5 s behind that of the database"),
    ],
)
def test_a_clock_that_is_wrong_is_told(ahead: float, text: str) -> None:
    node = {"name": "node1", "lease": "valid", "clock_ahead": ahead}
    assert dict(_lines({**GOOD, "node": node}, NOW))["clock"] == text


@pytest.mark.parametrize(("found", "status"), [(GOOD, 0), (BAD, 1)])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_the_exit_status_says_whether_it_is_healthy(
    run_folder: Path, found: Mapping[str, Any], status: int, flags: list[str]
) -> None:
    body = json.dumps(found).encode() + b"\n"
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with responding(run_folder, reply, b"GET /status"):
        done = run_galileod("status", *flags, "--directory", str(run_folder))
    assert (done.returncode, done.stderr) == (status, "")
    if flags:
        assert json.loads(done.stdout) == {**found, "started": "2027-01-15T05:56:57Z"}
    else:
        assert done.stdout.startswith(f"state        {found['reason'] or 'ok'}\n")


def test_without_a_daemon_it_is_an_error(run_folder: Path) -> None:
    done = run_galileod("status", "--directory", str(run_folder))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"galileod: no running galileod uses storage.directory {run_folder};"
    )
    assert done.stderr.count("\n") == 1


def test_a_real_daemon_is_ok_until_a_quota_is_used_up(daemon: Daemons) -> None:
    host = daemon()
    done = run_galileod("status", "--config", host.config)
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line[:12].rstrip(): line[13:] for line in done.stdout.splitlines()}
    assert lines["state"] == "ok"
    assert lines["listening"] == host.listen[0]
    assert lines["storage"].startswith(f"local, {host.directory}: ok, ")
    assert lines["ledger"] == f"{host.directory}/.galileod/ledger.sqlite3: ok"
    check_serves(host)
    rewrite(host, {"quota": {"total_files": 1}})
    assert run_galileod("reload", "--config", host.config).returncode == 0
    done = run_galileod("status", "--directory", str(host.directory))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("state        Uploads are refused. quota.total_files is 1, ")


def test_it_answers_while_the_database_hangs(daemon: Daemons, own_postgresql: Postgresql) -> None:
    host = daemon({"ledger": {"url": own_postgresql.new_database(), "node": "one"}})
    own_postgresql.hang()
    try:
        done = run_galileod("status", "--config", host.config, "--json")
    finally:
        own_postgresql.go_on()
    assert (done.returncode, done.stderr) == (1, "")
    found = json.loads(done.stdout)
    assert found["ledger"]["error"] == "no answer within 5 seconds"
    assert found["storage"]["error"] is None
    assert found["node"]["name"] == "one"
