"""How much a client is asked for at once, and what comes of it over links and disks."""

import math
from collections import deque

import pytest
from helpers.paths import ENDLESS, Bounds, Link, Paths, Upload, fairness
from hypothesis import example, given, settings
from hypothesis import strategies as st

from galileod.policy.pacing import (
    CHUNK_SECONDS,
    FIRST_CHUNK,
    FIRST_WINDOW,
    LEAST_CREDIT,
    SMALLER,
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


Crossing = tuple[Link, float]
"""A link, and the rate of a disk."""


@st.composite
def crossings(draw: st.DrawFn, slowest: float = SLOWEST, fastest: float = FASTEST) -> Crossing:
    """Either may be the slower one, and often they are alike."""
    slower = draw(spread(slowest, fastest))
    faster = slower * draw(spread(1, 1.3) | spread(1, FASTEST / slower))
    link = draw(links(slower))
    if draw(st.booleans()):
        return link, faster
    return Link(faster, link.round_trip, link.jitter), slower


SHORT_LINKS = (
    spread(SLOWEST, 1e8).flatmap(links).filter(lambda link: 4 * link.rate * link.round_trip < MAX)
)
"""Those that one chunk can fill half of."""

HEAD_STARTS = st.sampled_from([0, 300_000, 1 << 20, 16 << 20])
SEEDS = st.integers(0, 1 << 32)


def alike(rate: float, round_trip: float, jitter: float = 0.0) -> Crossing:
    """A link onto a disk of the same rate: a chunk takes as long on either."""
    return Link(rate, round_trip, jitter), rate


def under_way(
    crossing: Crossing, seed: int, bounds: Bounds | None = None, own_chunk: int = ENDLESS
) -> tuple[Paths, Upload]:
    """An upload whose rate can be known: after 20 round trips, or what was granted before it was.

    From here on its `peak` counts.
    """
    link, disk = crossing
    paths = Paths(disk, bounds or Bounds(), seed)
    upload = paths.start(link, own_chunk)
    paths.run_until_stored(upload, upload.pacer.window // 2)
    for _ in range(2):
        paths.run_until_stored(upload, upload.stored + upload.held)
    paths.run(max(paths.now, 20 * link.round_trip))
    upload.forget()
    return paths, upload


def path_rate(paths: Paths, upload: Upload) -> float:
    """What the slower of link and disk allows."""
    return min(upload.link.rate, paths.disk_rate)


def use(paths: Paths, upload: Upload) -> float:
    """How much of the path's rate is used, in a time of many chunks and round trips."""
    rate = path_rate(paths, upload)
    seconds = max(20 * upload.link.round_trip, 100 * max(upload.credits) / rate)
    before = upload.stored
    paths.run(paths.now + seconds)
    return (upload.stored - before) / (seconds * rate)


def most(paths: Paths, upload: Upload, chunk: float = 0) -> float:
    """Bytes that may be held: two chunks, and four times what is on its way where a path is full.

    A chunk is the largest that the pacer had in mind, or `chunk` where that is more.
    """
    link = upload.link
    on_the_way = path_rate(paths, upload) * (link.round_trip + link.jitter)
    return 4 * on_the_way + 2 * max(upload.largest, chunk)


# What one upload gets.


@settings(max_examples=50)
@given(crossings(), HEAD_STARTS, SEEDS)
@example(alike(342_289.0, 0.5, 0.03), 0, 1)  # three chunks are too many, and two too few
@example(alike(889_498.0, 0.19), 0, 1)
@example(alike(183_774.0, 0.0927, 0.0185), 300_000, 1)  # the same, on a slow line
@example(alike(100_000.0, 0.1966, 0.0393), 0, 1)
@example((Link(23_891_780.0, 0.001, 0.0002), 78_568_404.0), 1 << 20, 1)  # a rate once too high
def test_an_upload_soon_uses_what_there_is_and_holds_little(
    crossing: Crossing, head_start: int, seed: int
) -> None:
    paths, upload = under_way(crossing, seed, Bounds(head_start=head_start))
    assert use(paths, upload) >= 0.9
    assert upload.peak <= most(paths, upload)


@settings(max_examples=30)
@given(crossings(), HEAD_STARTS, SEEDS)
def test_a_chunk_takes_a_quarter_of_a_second_where_the_bounds_allow(
    crossing: Crossing, head_start: int, seed: int
) -> None:
    paths, upload = under_way(crossing, seed, Bounds(head_start=head_start))
    use(paths, upload)
    usual = CHUNK_SECONDS * path_rate(paths, upload)
    assert min(0.8 * usual, MAX) <= upload.pacer.chunk <= 1.2 * max(usual, FIRST_CHUNK)
    assert MIN <= min(upload.credits) <= max(upload.credits) <= 1.2 * max(usual, FIRST_CHUNK)


@settings(max_examples=30)
@given(
    crossings(),
    st.integers(1, 16),
    st.tuples(spread(1024, MAX), spread(1024, MAX)).map(sorted),
    HEAD_STARTS,
    SEEDS,
)
def test_no_chunk_takes_more_than_a_few_seconds_unless_its_bounds_say_so(
    crossing: Crossing, in_flight: int, chunks: list[float], head_start: int, seed: int
) -> None:
    low, high = map(int, chunks)
    paths, upload = under_way(crossing, seed, Bounds(low, high, in_flight, head_start))
    paths.run_until_stored(upload, upload.stored + 8 * upload.pacer.window)
    assert upload.credits[-1] <= max(3 * path_rate(paths, upload), low, FIRST_CHUNK)


@settings(max_examples=25)
@given(spread(2e4, 1.1e5).flatmap(links), spread(1e6, FASTEST), SEEDS)
def test_a_client_that_obeys_is_asked_for_little_on_a_slow_line(
    link: Link, disk: float, seed: int
) -> None:
    paths, upload = under_way((link, disk), seed)
    use(paths, upload)
    assert MIN <= min(upload.credits) <= max(upload.credits) <= MIN / SMALLER


@settings(max_examples=40)
@given(crossings(), st.just(LEAST_CREDIT) | spread(LEAST_CREDIT, MAX).map(int), HEAD_STARTS, SEEDS)
@example(alike(2_217_407.0, 0.041), LEAST_CREDIT, 1 << 20, 1)
@example(alike(1_924_773.0, 0.0107, 0.00214), LEAST_CREDIT, 16 << 20, 1)
@example(alike(1_709_973.0, 0.001), 644_328, 16 << 20, 1)  # what credits leave over
@example(alike(644_309.1104380805, 0.001), 389_106, 16 << 20, 1074)
def test_a_client_with_a_chunk_of_its_own_is_asked_for_that_and_fills_what_its_credits_can(
    crossing: Crossing, own_chunk: int, head_start: int, seed: int
) -> None:
    paths, upload = under_way(crossing, seed, Bounds(head_start=head_start), own_chunk)
    link, rate = upload.link, path_rate(paths, upload)
    usual = CHUNK_SECONDS * rate
    # No more than 16 chunks can be out, and the way of one takes so long if it waits nowhere.
    chunk = min(own_chunk, max(upload.credits))
    way = link.round_trip + link.jitter + chunk / link.rate + chunk / paths.disk_rate
    possible = min(1, 16 * chunk / way / rate)
    assert use(paths, upload) >= 0.9 * possible
    assert MIN <= min(upload.credits) <= max(upload.credits) <= max(own_chunk, 1.2 * usual)
    assert own_chunk > LEAST_CREDIT or set(upload.credits) == {LEAST_CREDIT}
    # What others may hold, in more and smaller chunks.
    assert upload.peak <= most(paths, upload, max(1.2 * usual, FIRST_CHUNK))


@settings(max_examples=30)
@given(SHORT_LINKS, HEAD_STARTS, SEEDS)
def test_one_chunk_in_flight_is_stop_and_wait_with_chunks_that_make_up_for_it(
    link: Link, head_start: int, seed: int
) -> None:
    paths = Paths(10 * link.rate, Bounds(max_in_flight=1, head_start=head_start), seed)
    upload = paths.start(link)
    paths.run_until_stored(upload, 1)
    paths.run(paths.now + max(20, 20 * link.round_trip))
    upload.forget()
    assert use(paths, upload) >= 0.5
    assert upload.peak <= upload.largest
    assert upload.credits[-1] >= link.rate * link.round_trip


# What changes on the way.


@settings(max_examples=30)
@given(crossings(), SEEDS)
def test_an_upload_recovers_when_the_disk_has_stood_still_for_a_second(
    crossing: Crossing, seed: int
) -> None:
    paths, upload = under_way(crossing, seed)
    paths.stall(1.0)
    paths.run(paths.now + 3 + 20 * upload.link.round_trip)
    assert use(paths, upload) >= 0.9


@settings(max_examples=25)
@given(crossings(slowest=1e6), SEEDS, st.integers(2, 10))
def test_an_upload_holds_less_when_the_disk_becomes_slower(
    crossing: Crossing, seed: int, slower: int
) -> None:
    paths, upload = under_way(crossing, seed)
    paths.run(paths.now + 5 + 20 * upload.link.round_trip)
    paths.disk_rate = path_rate(paths, upload) / slower
    paths.run_until_stored(upload, upload.stored + 4 * upload.pacer.window)
    upload.forget()
    assert use(paths, upload) >= 0.9
    assert upload.peak <= most(paths, upload)
    assert upload.pacer.chunk <= 1.2 * max(CHUNK_SECONDS * paths.disk_rate, FIRST_CHUNK)


@settings(max_examples=30)
@given(crossings(), SEEDS, spread(2 * FIRST_CHUNK, 16 * MAX).map(int))
def test_two_credits_fit_into_a_memory_that_becomes_small(
    crossing: Crossing, seed: int, memory: int
) -> None:
    paths, upload = under_way(crossing, seed)
    paths.memory = memory
    paths.run_until_stored(upload, upload.stored + upload.held + 3 * memory)
    upload.forget()
    upload.credits.clear()
    paths.run_until_stored(upload, upload.stored + 5 * memory)
    assert upload.peak <= memory
    assert max(upload.credits) <= memory // 2
    assert upload.peak >= 2 * min(upload.credits)


@settings(max_examples=25)
@given(crossings(slowest=1e6), SEEDS)
@example(alike(3_963_583.0855521397, 0.0027252110523120036), 1)  # chunks stayed unequal
def test_a_client_that_paused_is_asked_for_little_until_it_is_back_at_its_rate(
    crossing: Crossing, seed: int
) -> None:
    paths, upload = under_way(crossing, seed)
    paths.run(paths.now + 5 + 20 * upload.link.round_trip)
    window = upload.pacer.window
    upload.silent_until = paths.now + 60
    paths.run(upload.silent_until)
    stored, least = upload.stored, upload.pacer.window
    while upload.stored < stored + 2 * window:
        paths.run_until_stored(upload, upload.stored + 1)
        least = min(least, upload.pacer.window)
    assert least <= max(0.75 * window, 3.6 * FIRST_CHUNK)
    paths.run(paths.now + 5 + 20 * upload.link.round_trip)
    assert use(paths, upload) >= 0.9


# What many uploads get.


@st.composite
def crowds(draw: st.DrawFn) -> tuple[float, list[Link]]:
    """The rate of a disk, and 50 links that could each carry more than their share of it."""
    disk = draw(spread(2e7, FASTEST))
    crowd = spread(3 * disk / 50, 30 * disk / 50).flatmap(links)
    return disk, draw(st.lists(crowd, min_size=50, max_size=50))


@settings(max_examples=8)
@given(crowds(), SEEDS)
def test_uploads_on_one_disk_share_it_alike(crowd: tuple[float, list[Link]], seed: int) -> None:
    disk, uplinks = crowd
    paths = Paths(disk, Bounds(head_start=1 << 20), seed)
    for link in uplinks:
        paths.start(link)
    paths.run(10)
    before = [upload.stored for upload in paths.uploads]
    paths.run(30)
    stored = [upload.stored - then for upload, then in zip(paths.uploads, before, strict=True)]
    assert sum(stored) >= 0.95 * 20 * disk
    assert fairness(stored) >= 0.95


# Pacer by itself.


def answer(pacer: Pacer, length: int, seconds: float) -> None:
    """A credit is granted at 0, answered by a chunk of `length` bytes, and that stored."""
    pacer.granted(pacer.credit(0, 1 << 30), 0.0)
    pacer.arrived(length, seconds / 2, seconds)
    pacer.stored(length, seconds)


def test_a_client_that_once_sent_less_is_never_asked_for_more() -> None:
    pacer = Pacer(MIN, MAX, 16, 0)
    answer(pacer, LEAST_CREDIT, 0.01)
    for _ in range(20):
        answer(pacer, LEAST_CREDIT, 0.01)
        assert pacer.credit(0, 1 << 30) == LEAST_CREDIT


@pytest.mark.parametrize(
    ("left", "credit"),
    [
        (FIRST_CHUNK, FIRST_CHUNK),
        (FIRST_CHUNK - 1, FIRST_CHUNK - 1),
        (int(SMALLER * FIRST_CHUNK), int(SMALLER * FIRST_CHUNK)),
        (int(SMALLER * FIRST_CHUNK) - 1, 0),
        (0, 0),
        (-1, 0),
    ],
)
def test_most_of_a_chunk_is_asked_for_where_a_whole_one_has_no_room(left: int, credit: int) -> None:
    pacer = Pacer(MIN, MAX, 16, 16 * FIRST_CHUNK)
    assert pacer.credit(pacer.window - left, 1 << 30) == credit


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
    assert pacer.arrived(0, 1.0, 1.0) is None
    pacer.stored(0, 2.0)
    assert (pacer.chunk, pacer.credit(0, 1 << 30)) == (FIRST_WINDOW, FIRST_WINDOW)


def test_a_chunk_is_told_how_long_ago_it_was_asked_for() -> None:
    pacer = Pacer(MIN, MAX, 16, 0)
    for asked in (1.0, 2.0):
        pacer.granted(MIN, asked)
    assert pacer.arrived(MIN, 1.5, 3.0) == 0.5
    assert pacer.arrived(MIN, 6.0, 7.0) == 4.0


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
    now, promised, out = 0.0, 0, deque[tuple[int, float]]()
    for seconds, filled, soon, room in steps:
        while len(out) < max_in_flight:
            left = max(0, room - promised)
            credit = pacer.credit(promised, left)
            assert bool(credit) or bool(out) or not left
            if not credit:
                break
            assert min(low, left) <= credit <= min(high, left)
            assert not out or promised + credit <= pacer.window
            pacer.granted(credit, now)
            out.append((credit, now))
            promised += credit
        now += seconds
        if out:
            credit, since = out.popleft()
            promised -= credit
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
