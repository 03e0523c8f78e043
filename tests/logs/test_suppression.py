"""Lines about failures that repeat: written up to a limit, and counted beyond it."""

import textwrap
from typing import Any

import pytest
from helpers.logged import lines

pytestmark = pytest.mark.timeout(30)


REPEATED = """
    def refuse(port, address="192.0.2.1", code=400):
        who = {"peer": f"{address}:{port}", "network": address}
        log.info("connection.refused", status=code, reason="no", **who)
"""


def of(told: list[Any], event: str) -> list[Any]:
    return [line for line in told if line["event"] == event]


def test_failures_that_repeat_are_counted_and_told_when_the_minute_is_over() -> None:
    told = lines(
        textwrap.dedent(REPEATED)
        + textwrap.dedent("""
        for port in range(100):
            refuse(port)
            who = {"peer": f"192.0.2.1:{port}", "network": "192.0.2.1"}
            log.warning("upload.failed", code="idle", reason="r", **who)
        refuse(1, code=404)
        refuse(1, "192.0.2.2")
        logs.log_suppressed()
        refuse(1)
        logs.log_suppressed()
        """)
    )
    assert len(of(told, "connection.refused")) == 23
    assert len(of(told, "upload.failed")) == 20
    suppressed = [
        {key: line[key] for key in ("level", "of", "code", "count")}
        for line in of(told, "log.suppressed")
    ]
    assert suppressed == [
        {"level": "warning", "of": "connection.refused", "code": "400", "count": 80},
        {"level": "warning", "of": "upload.failed", "code": "idle", "count": 80},
    ]
    assert told[-1]["event"] == "connection.refused"


def test_what_is_stored_is_always_written_and_errors_are_unless_a_client_meets_too_many() -> None:
    told = lines(
        textwrap.dedent(REPEATED)
        + textwrap.dedent("""
        for port in range(50):
            refuse(port)
            who = {"peer": f"192.0.2.1:{port}", "network": "192.0.2.1"}
            log.info("upload.stored", **who)
            log.info("connection.closed", stored=True, **who)
            log.error("upload.failed", code="storage_failed", **who)
            try:
                raise ValueError
            except ValueError:
                log.exception("connection.error", **who)
            log.error("hook.failed", name="a")
        logs.log_suppressed()
        """)
    )
    for event in ("upload.stored", "connection.closed", "hook.failed"):
        assert len(of(told, event)) == 50
    for event in ("connection.refused", "upload.failed", "connection.error"):
        assert len(of(told, event)) == 20
    assert {line["of"]: line["count"] for line in of(told, "log.suppressed")} == {
        "connection.refused": 30,
        "upload.failed": 30,
        "connection.error": 30,
    }


def test_a_flood_hides_no_line_that_no_client_caused() -> None:
    told = lines(
        textwrap.dedent(REPEATED)
        + textwrap.dedent("""
        for number in range(2000):
            refuse(1, f"10.0.{number // 250}.{number % 250}")
        log.warning("config.rejected", reason="r")
        """)
    )
    assert len(of(told, "connection.refused")) == 1000
    assert len(of(told, "config.rejected")) == 1


def test_a_server_with_many_sound_uploads_writes_the_story_of_each() -> None:
    told = lines(
        """
        for port in range(1000):
            who = {"peer": f"192.0.2.1:{port}", "network": "192.0.2.1"}
            for event in ("connection.opened", "upload.started", "upload.stored"):
                log.info(event, **who)
            log.info("connection.closed", stored=True, **who)
        logs.log_suppressed()
        """
    )
    assert len(told) == 4000


def test_connections_that_come_to_nothing_are_counted_from_their_beginning() -> None:
    told = lines(
        """
        for port in range(1000):
            who = {"peer": f"[2001:db8::{port:x}]:1", "network": "2001:db8::/64"}
            log.info("connection.opened", **who)
            log.info("connection.closed", stored=False, **who)
        log.info("connection.opened", peer="192.0.2.1:1", network="192.0.2.1")
        logs.log_suppressed()
        """
    )
    assert len(told) == 21 + 20 + 1 + 2
    assert {line["of"]: line["count"] for line in of(told, "log.suppressed")} == {
        "connection.opened": 979,
        "connection.closed": 980,
    }


def test_the_network_is_not_written_whatever_the_line_reports() -> None:
    told = lines(
        """
        bound = log.bind(peer="192.0.2.1:1", network="192.0.2.1")
        for event in ("upload.stored", "upload.started", "upload.failed", "connection.error"):
            bound.info(event)
        bound.info("connection.closed", stored=False)
        """
    )
    assert len(told) == 5
    assert not any("network" in line for line in told)


def test_two_peers_of_one_network_count_together_and_one_name_in_two_networks_apart() -> None:
    told = lines(
        """
        for port in range(15):
            log.info("connection.refused", peer=f"192.0.2.1:{port}", network="here", status=400)
            log.info("connection.refused", peer=f"192.0.2.2:{port}", network="here", status=400)
            log.info("connection.refused", peer=f"192.0.2.1:{port}", network="there", status=400)
        """
    )
    assert [line["peer"][:9] for line in told].count("192.0.2.2") == 10
    assert len(told) == 20 + 15
