"""How much a client is asked for at once, and what comes of it over links and disks."""

import math
from collections import deque

import pytest
from helpers.paths import Bounds, Link, Paths, Upload, fairness
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.policy.pacing import (
    CHUNK_SECONDS,
    FIRST_CHUNK,
    FIRST_WINDOW,
    LEAST_CREDIT,
    Pacer,
    least_credit,
)

MIN, MAX = 64 * 1024, 8 * 1024 * 1024

SLOWEST, FASTEST = 1e5, 1e9

LONGEST_PATH = 16 * MAX / 2
"""Bytes that are on their way at once on the longest path that has to be filled."""


def spread(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers of all magnitudes."""
    return st.floats(0, 1).map(lambda part: low * (high / low) ** part)


def links(rate: float) -> st.SearchStrategy[Link]:
    """All round trips that the rate allows, with jitter of up to a fifth."""
    return st.builds(
        lambda round_trip, part: Link(rate, round_trip, part * round_trip),
        spread(0.001, min(0.5, LONGEST_PATH / rate)),
        st.just(0.0) | st.floats(0, 0.2),
    )


@st.composite
def crossings(
    draw: st.DrawFn, slowest: float = SLOWEST, fastest: float = FASTEST
) -> tuple[Link, float]:
    """A link, and the rate of a disk; either may be the slower one, and often they are alike."""
    slower = draw(spread(slowest, fastest))
    faster = slower * draw(spread(1, 1.3) | spread(1, FASTEST / slower))
    link = draw(links(slower))
    if draw(st.booleans()):
        return link, faster
    return Link(faster, link.round_trip, link.jitter), slower


HEAD_STARTS = st.sampled_from([0, 300_000, 1 << 20, 16 << 20])
SEEDS = st.integers(0, 1 << 32)


def warm_up(paths: Paths, upload: Upload) -> None:
    """Until the rate can be known: 20 round trips, or what was granted before it was."""
    paths.run_until_stored(upload, upload.pacer.window // 2)
    for _ in range(2):
        paths.run_until_stored(upload, upload.stored + upload.held)
    paths.run(max(paths.now, 20 * upload.link.round_trip))


def use(paths: Paths, upload: Upload) -> float:
    """How much of the path's rate is used, in a time of many chunks and round trips."""
    rate = min(upload.link.rate, paths.disk_rate)
    seconds = max(10.0, 20 * upload.link.round_trip, 60 * max(upload.credits) / rate)
    before = upload.stored
    paths.run(paths.now + seconds)
    return (upload.stored - before) / (seconds * rate)


def on_the_way(paths: Paths, upload: Upload) -> float:
    """Bytes that are on their way at once where the path is full."""
    link = upload.link
    return min(link.rate, paths.disk_rate) * (link.round_trip + link.jitter)


# What one upload gets.


@settings(deadline=None, derandomize=True, max_examples=80)
@given(crossings(), HEAD_STARTS, SEEDS)
def test_an_upload_soon_uses_what_there_is_and_holds_little(
    crossing: tuple[Link, float], head_start: int, seed: int
) -> None:
    link, disk = crossing
    paths = Paths(disk, Bounds(head_start=head_start), seed)
    upload = paths.start(link)
    warm_up(paths, upload)
    upload.forget()
    assert use(paths, upload) >= 0.9
    assert upload.peak <= 4 * on_the_way(paths, upload) + 2 * upload.largest


@settings(deadline=None, derandomize=True, max_examples=60)
@given(crossings(), HEAD_STARTS, SEEDS)
def test_a_chunk_takes_a_quarter_of_a_second_where_the_bounds_allow(
    crossing: tuple[Link, float], head_start: int, seed: int
) -> None:
    link, disk = crossing
    paths = Paths(disk, Bounds(head_start=head_start), seed)
    upload = paths.start(link)
    warm_up(paths, upload)
    use(paths, upload)
    chunk, usual = upload.pacer.chunk, CHUNK_SECONDS * min(link.rate, disk)
    assert min(0.8 * usual, MAX) <= chunk <= 1.2 * max(usual, FIRST_CHUNK)
    assert MIN <= min(upload.credits) <= max(upload.credits) <= 1.4 * max(usual, FIRST_CHUNK)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    crossings(),
    st.integers(1, 16),
    st.tuples(spread(1024, MAX), spread(1024, MAX)).map(sorted),
    HEAD_STARTS,
    SEEDS,
)
def test_no_chunk_takes_more_than_a_few_seconds_unless_its_bounds_say_so(
    crossing: tuple[Link, float],
    in_flight: int,
    chunks: list[float],
    head_start: int,
    seed: int,
) -> None:
    link, disk = crossing
    low, high = map(int, chunks)
    paths = Paths(disk, Bounds(low, high, in_flight, head_start), seed)
    upload = paths.start(link)
    warm_up(paths, upload)
    paths.run_until_stored(upload, upload.stored + 8 * upload.pacer.window)
    rate = min(link.rate, disk)
    assert upload.credits[-1] <= max(3 * rate, low, FIRST_CHUNK)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(spread(2e4, 1.1e5).flatmap(links), spread(1e6, FASTEST), SEEDS)
def test_a_client_that_obeys_is_asked_for_the_smallest_chunks_on_a_slow_line(
    link: Link, disk: float, seed: int
) -> None:
    paths = Paths(disk, Bounds(), seed)
    upload = paths.start(link)
    warm_up(paths, upload)
    use(paths, upload)
    assert set(upload.credits) == {MIN}


@settings(deadline=None, derandomize=True, max_examples=40)
@given(crossings(slowest=1e6, fastest=1e8), HEAD_STARTS, SEEDS)
def test_a_client_with_a_chunk_of_its_own_is_asked_for_that_and_fills_what_its_credits_can(
    crossing: tuple[Link, float], head_start: int, seed: int
) -> None:
    link, disk = crossing
    paths = Paths(disk, Bounds(head_start=head_start), seed)
    upload = paths.start(link, own_chunk=LEAST_CREDIT)
    warm_up(paths, upload)
    rate = min(link.rate, disk)
    cycle = link.round_trip + link.jitter + LEAST_CREDIT / link.rate + LEAST_CREDIT / disk
    possible = min(1, 16 * LEAST_CREDIT / cycle / rate)
    # A little less than others: what it leaves over of the larger credits tried on it is held too.
    assert use(paths, upload) >= 0.7 * possible
    # It tries for more; at the end of a measure, and no more than twice as much.
    assert LEAST_CREDIT <= min(upload.credits) <= max(upload.credits) <= 2 * LEAST_CREDIT


@settings(deadline=None, derandomize=True, max_examples=40)
@given(spread(SLOWEST, 1e8), st.data(), HEAD_STARTS, SEEDS)
def test_one_chunk_in_flight_is_stop_and_wait_with_chunks_that_make_up_for_it(
    rate: float, data: st.DataObject, head_start: int, seed: int
) -> None:
    link = data.draw(links(rate).filter(lambda link: 4 * rate * link.round_trip < MAX))
    paths = Paths(10 * rate, Bounds(max_in_flight=1, head_start=head_start), seed)
    upload = paths.start(link)
    paths.run_until_stored(upload, 1)
    paths.run(paths.now + max(20, 20 * link.round_trip))
    upload.forget()
    assert use(paths, upload) >= 0.5
    assert upload.peak <= upload.largest
    assert upload.credits[-1] >= rate * link.round_trip


# What changes on the way.


@settings(deadline=None, derandomize=True, max_examples=40)
@given(crossings(), SEEDS)
def test_an_upload_recovers_when_the_disk_has_stood_still_for_a_second(
    crossing: tuple[Link, float], seed: int
) -> None:
    link, disk = crossing
    paths = Paths(disk, Bounds(), seed)
    upload = paths.start(link)
    warm_up(paths, upload)
    paths.stall(1.0)
    paths.run(paths.now + 3 + 20 * link.round_trip)
    assert use(paths, upload) >= 0.9


@settings(deadline=None, derandomize=True, max_examples=40)
@given(crossings(slowest=1e6), SEEDS, st.integers(2, 10))
def test_an_upload_holds_less_when_the_disk_becomes_slower(
    crossing: tuple[Link, float], seed: int, slower: int
) -> None:
    link, disk = crossing
    paths = Paths(disk, Bounds(), seed)
    upload = paths.start(link)
    warm_up(paths, upload)
    paths.run(paths.now + 5 + 20 * link.round_trip)
    paths.disk_rate = min(link.rate, disk) / slower
    paths.run_until_stored(upload, upload.stored + 4 * upload.pacer.window)
    upload.forget()
    assert use(paths, upload) >= 0.9
    assert upload.peak <= 4 * on_the_way(paths, upload) + 2 * upload.largest
    assert upload.pacer.chunk <= 1.2 * max(CHUNK_SECONDS * paths.disk_rate, FIRST_CHUNK)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(crossings(), SEEDS, spread(2 * FIRST_CHUNK, 16 * MAX).map(int))
def test_two_credits_fit_into_a_memory_that_becomes_small(
    crossing: tuple[Link, float], seed: int, memory: int
) -> None:
    link, disk = crossing
    paths = Paths(disk, Bounds(), seed)
    upload = paths.start(link)
    warm_up(paths, upload)
    paths.memory = memory
    paths.run_until_stored(upload, upload.stored + upload.held + 3 * memory)
    upload.forget()
    upload.credits.clear()
    paths.run_until_stored(upload, upload.stored + 5 * memory)
    assert upload.peak <= memory
    assert max(upload.credits) <= memory // 2
    assert upload.peak >= 2 * min(upload.credits)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(crossings(slowest=1e6), SEEDS)
def test_a_client_that_paused_is_asked_for_little_until_it_is_back_at_its_rate(
    crossing: tuple[Link, float], seed: int
) -> None:
    link, disk = crossing
    paths = Paths(disk, Bounds(), seed)
    upload = paths.start(link)
    warm_up(paths, upload)
    paths.run(paths.now + 5 + 20 * link.round_trip)
    window = upload.pacer.window
    upload.silent_until = paths.now + 60
    paths.run(upload.silent_until)
    stored, least = upload.stored, upload.pacer.window
    while upload.stored < stored + 2 * window:
        paths.run_until_stored(upload, upload.stored + 1)
        least = min(least, upload.pacer.window)
    assert least <= max(0.75 * window, 3.6 * FIRST_CHUNK)
    paths.run(paths.now + 5 + 20 * link.round_trip)
    assert use(paths, upload) >= 0.9


# What many uploads get.


@settings(deadline=None, derandomize=True, max_examples=12)
@given(spread(2e7, 4e7) | spread(4e8, 1e9), st.data(), SEEDS)
def test_uploads_on_one_disk_share_it_alike(disk: float, data: st.DataObject, seed: int) -> None:
    paths = Paths(disk, Bounds(head_start=1 << 20), seed)
    share = disk / 50
    rates = spread(3 * share, 30 * share)
    for _ in range(50):
        paths.start(data.draw(rates.flatmap(links)))
    paths.run(10)
    before = [upload.stored for upload in paths.uploads]
    paths.run(30)
    stored = [upload.stored - then for upload, then in zip(paths.uploads, before, strict=True)]
    assert sum(stored) >= 0.95 * 20 * disk
    assert fairness(stored) >= 0.95


# Pacer by itself.


def test_a_client_that_has_shown_nothing_gets_one_credit_above_what_the_originals_send() -> None:
    pacer = Pacer(MIN, MAX, 16, 0)
    first = pacer.credit(0, 1 << 30)
    assert first == FIRST_WINDOW > LEAST_CREDIT
    assert pacer.credit(first, 1 << 30) == 0


def test_on_a_quiet_server_a_client_begins_in_full_run() -> None:
    pacer = Pacer(MIN, MAX, 16, 16 * FIRST_CHUNK)
    promised = 0
    while credit := pacer.credit(promised, 1 << 30):
        assert credit == FIRST_CHUNK
        promised += credit
    assert promised == 16 * FIRST_CHUNK


def test_a_head_start_is_never_exceeded_before_the_client_has_sent() -> None:
    pacer = Pacer(MIN, MAX, 16, 5_000_000)
    promised = 0
    while credit := pacer.credit(promised, 1 << 30):
        pacer.granted(credit, 0.0)
        promised += credit
    assert 4_000_000 < promised <= 5_000_000


def test_an_empty_chunk_that_answers_no_credit_changes_nothing() -> None:
    pacer = Pacer(MIN, MAX, 16, 0)
    pacer.arrived(0, 1.0, 1.0)
    pacer.stored(0, 2.0)
    assert (pacer.chunk, pacer.credit(0, 1 << 30)) == (FIRST_WINDOW, FIRST_WINDOW)


@given(st.lists(st.integers(1, LEAST_CREDIT), min_size=1, max_size=30), st.floats(0.001, 100))
def test_a_client_with_short_chunks_may_always_go_back_to_the_originals(
    lengths: list[int], seconds: float
) -> None:
    pacer = Pacer(MIN, MAX, 16, 1 << 20)
    now = 0.0
    for length in lengths:
        credit = pacer.credit(0, 1 << 30)
        assert credit >= LEAST_CREDIT
        pacer.granted(credit, now)
        now += seconds
        pacer.arrived(length, now, now)
        pacer.stored(length, now)


def test_chunks_that_take_no_time_at_all_are_no_measure() -> None:
    pacer = Pacer(MIN, MAX, 16, 0)
    pacer.granted(FIRST_WINDOW, 5.0)
    pacer.arrived(FIRST_WINDOW, 5.0, 5.0)
    pacer.stored(FIRST_WINDOW, 5.0)
    assert pacer.chunk == pacer.window == FIRST_WINDOW


Step = tuple[float, float, float, int]
"""How long a chunk takes, how much of its credit it fills, how soon it began; the room there is."""

STEPS = st.lists(
    st.tuples(
        st.just(0.0) | spread(1e-6, 1e4),
        st.sampled_from([1.0, 1.0, 1.0, 0.0]) | st.floats(0, 1),
        st.floats(0, 1),
        st.integers(0, 1 << 31),
    ),
    min_size=1,
    max_size=60,
)


@settings(deadline=None)
@given(
    bounds=st.tuples(spread(1024, 1 << 30), spread(1024, 1 << 30)).map(sorted),
    max_in_flight=st.integers(1, 1024),
    head_start=st.just(0) | spread(1, 1 << 40).map(int),
    steps=STEPS,
)
def test_no_bound_is_ever_broken(
    bounds: list[float], max_in_flight: int, head_start: int, steps: list[Step]
) -> None:
    low, high = map(int, bounds)
    pacer = Pacer(low, high, max_in_flight, head_start)
    now, out = 0.0, deque[tuple[int, float]]()
    for seconds, filled, soon, room in steps:
        while len(out) < max_in_flight:
            promised = sum(credit for credit, _ in out)
            left = max(0, room - promised)
            credit = pacer.credit(promised, left)
            assert bool(credit) or bool(out) or not left
            if not credit:
                break
            assert min(low, left) <= credit <= min(high, left)
            assert not out or promised + credit <= pacer.window
            pacer.granted(credit, now)
            out.append((credit, now))
        now += seconds
        if out:
            credit, since = out.popleft()
            length = int(filled * credit)
            pacer.arrived(length, since + soon * (now - since), now)
            pacer.stored(length, now)
        assert low <= pacer.chunk <= high
        assert pacer.chunk <= pacer.window
        assert math.isfinite(pacer.window)


@given(
    room=st.integers(2 * FIRST_CHUNK, 1 << 30),
    head_start=st.integers(0, 1 << 30),
    own=st.integers(0, 1 << 30),
    obeys=st.booleans(),
)
def test_where_there_is_room_for_two_credits_neither_takes_it_all(
    room: int, head_start: int, own: int, *, obeys: bool
) -> None:
    pacer = Pacer(MIN, MAX, 16, head_start)
    if obeys:
        first = pacer.credit(0, room)
        pacer.granted(first, 0.0)
        pacer.arrived(min(first, own), 0.5, 1.0)
        pacer.stored(min(first, own), 1.0)
    first = pacer.credit(0, room)
    assert MIN <= first <= room // 2


@pytest.mark.parametrize(
    ("chunk_min", "chunk_max", "memory", "least"),
    [
        (MIN, MAX, 1 << 28, 250_000),
        (300_000, MAX, 1 << 28, 300_000),
        (MIN, MIN, 1 << 28, MIN),
        (MIN, MAX, 100_000, 100_000),
    ],
)
def test_the_least_credit_fits_a_client_that_knows_only_the_originals_chunk(
    chunk_min: int, chunk_max: int, memory: int, least: int
) -> None:
    assert least_credit(chunk_min, chunk_max, memory) == least
