"""What a real daemon tells Prometheus, over real sockets and from a real disk."""

import socket
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from helpers.clients import (
    JavaScriptClient,
    Reply,
    ask,
    expect_ready,
    open_websocket,
    read_head,
    request,
    say,
    some_bytes,
    unique_name,
)
from helpers.daemon import DEADLINE, Daemon, Daemons, poll
from helpers.scraping import Scrape


def get(method: str = "GET", *headers: str) -> bytes:
    lines = [f"{method} /metrics HTTP/1.1", "Host: test", *headers, "", ""]
    return "\r\n".join(lines).encode()


def scraped(daemon: Daemon) -> Scrape:
    reply = ask(daemon, get())
    assert reply.status == 200, reply
    return Scrape(reply.body.decode())


def ask_from(daemon: Daemon, host: str) -> Reply:
    sock = socket.create_connection(daemon.address, DEADLINE, source_address=(host, 0))
    return ask(daemon, get(), sock=sock)


LARGE: Final = 300_000
"""Bytes of a file that is larger than `chunks.whole`, and so has a reservation in the ledger."""


def test_uploads_of_every_end_are_counted_with_the_time_of_the_disk(daemon: Daemons) -> None:
    host = daemon({"limits": {"max_file_size": "2MB"}})
    for size in (1_500_000, 0):
        assert JavaScriptClient(host.url, some_bytes(size)).run().ending == "stored"
    assert JavaScriptClient(host.url, some_bytes(2_000_001)).run().code == "too_large"
    with open_websocket(host.url) as websocket:
        say(websocket, name=unique_name(), size=LARGE)
        expect_ready(websocket)
        running = scraped(host)
    host.wait_for("upload.failed", code="disconnected")
    after = scraped(host)
    assert running("galileod_uploads_running") == 1
    assert running("galileod_connections") == 2
    assert running("galileod_granted_bytes") == LARGE
    assert running("galileod_quota_used_bytes") == 1_500_000 + LARGE
    assert after("galileod_uploads_running") == after("galileod_granted_bytes") == 0
    assert after("galileod_uploads_total", outcome="stored", code="") == 2
    assert after("galileod_uploads_total", outcome="failed", code="too_large") == 1
    assert after("galileod_uploads_total", outcome="failed", code="disconnected") == 1
    assert after.total("galileod_uploads_total") == 4
    assert after("galileod_upload_bytes_total") == after("galileod_chunk_bytes_sum") == 1_500_000
    assert after("galileod_quota_used_bytes") == 1_500_000
    assert after("galileod_upload_seconds_count") == 2
    assert after("galileod_fsync_seconds_count", of="file") == 2
    assert after("galileod_fsync_seconds_count", of="directory") == 2
    for name in ("write_seconds", "round_trip_seconds", "chunk_bytes"):
        assert after(f"galileod_{name}_count"), name
    assert after("galileod_disk_free_bytes")
    assert poll("a look at the loop", lambda: scraped(host)("galileod_loop_lag_seconds_count"))
    assert after.total("galileod_connections_refused_total") == 0
    assert not host.find("connection.refused")


def test_head_gets_the_head_alone_and_post_nothing(daemon: Daemons) -> None:
    host = daemon()
    head = ask(host, get("HEAD"))
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) > 1000
    assert head.headers["cache-control"] == "no-store"
    assert ask(host, get("POST", "Content-Length: 0")).status == 405


def test_only_the_allowed_networks_are_told(daemon: Daemons) -> None:
    host = daemon({"metrics": {"allow": ["127.0.0.2"]}})
    assert ask_from(host, "127.0.0.2").status == 200
    reply = ask_from(host, "127.0.0.1")
    assert (reply.status, reply.body) == (
        403, b"Only the networks in metrics.allow may read the metrics.\n",
    )  # fmt: skip
    assert host.wait_for("connection.refused", status=403)["reason"]


def test_a_proxy_that_nobody_trusts_opens_nothing(daemon: Daemons) -> None:
    host = daemon()
    reply = ask(host, get("GET", "X-Forwarded-For: 127.0.0.1"))
    assert reply.status == 403
    assert b"trusted proxy" in reply.body


@pytest.mark.parametrize(("allow", "status"), [(["127.0.0.1"], 200), (["192.0.2.1"], 403)])
def test_a_peer_on_a_unix_socket_is_on_this_machine(
    daemon: Daemons, tmp_path: Path, allow: Sequence[str], status: int
) -> None:
    path = tmp_path / "socket"
    host = daemon({"server": {"listen": [f"unix:{path}"]}, "metrics": {"allow": allow}})
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(DEADLINE)
        connection.connect(str(path))
        assert ask(host, get(), sock=connection).status == status


def test_a_daemon_that_is_full_is_scraped_all_the_same(daemon: Daemons) -> None:
    host = daemon({"server": {"max_connections": 1}})
    with closing(host.dial()) as connection:
        connection.sendall(request())
        assert read_head(connection).status == 101
        assert ask(host, request()).status == 503
        scrape = scraped(host)
    assert scrape("galileod_connections") == scrape("galileod_connections_limit") == 1
    assert scrape("galileod_connections_refused_total", status="503") == 1
