"""What is counted, and how."""

import pytest
import trio
from helpers.scraping import Scrape
from prometheus_client import generate_latest
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.metrics import DISCONNECTED, LAG_INTERVAL, Metrics, watch_loop
from galileod.protocol.errors import FaultCode


def shown(metrics: Metrics) -> Scrape:
    return Scrape(generate_latest(metrics.registry).decode())


def test_every_way_to_end_is_there_before_it_happens() -> None:
    scrape = shown(Metrics())
    assert scrape("galileod_uploads_total", outcome="stored", code="") == 0
    for code in (*FaultCode, DISCONNECTED):
        assert scrape("galileod_uploads_total", outcome="failed", code=str(code)) == 0
    assert scrape("galileod_connections_refused_total", status="503") == 0
    assert scrape("galileod_fsync_seconds_count", of="directory") == 0


def test_two_daemons_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.failed(FaultCode.IDLE)
    first.stored(0.5)
    assert shown(first).total("galileod_uploads_total") == 2
    assert shown(second).total("galileod_uploads_total") == 0


def test_a_connection_that_got_no_answer_is_counted_as_such() -> None:
    metrics = Metrics()
    metrics.refused(None)
    metrics.refused(404)
    metrics.refused(501)  # not among those that are there from the start
    scrape = shown(metrics)
    for status in ("none", "404", "501"):
        assert scrape("galileod_connections_refused_total", status=status) == 1


@pytest.mark.parametrize("late", [0.0, 7.0])
async def test_the_lag_of_the_loop_is_how_late_a_timer_fires(
    mock_clock: MockClock, late: float
) -> None:
    metrics = Metrics()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_loop, metrics, trio.current_time)
        await wait_all_tasks_blocked()
        mock_clock.jump(LAG_INTERVAL + late)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    scrape = shown(metrics)
    assert scrape("galileod_loop_lag_seconds_count") == 1
    assert scrape("galileod_loop_lag_seconds_sum") == pytest.approx(late)
