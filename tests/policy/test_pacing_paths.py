"""What the pacer makes of links and disks, in simulated time."""

from helpers.crossings import (
    FASTEST,
    HEAD_STARTS,
    MAX,
    MIN,
    SEEDS,
    SHORT_LINKS,
    Crossing,
    alike,
    crossings,
    links,
    most,
    path_rate,
    spread,
    under_way,
    use,
)
from helpers.paths import Bounds, Link, Paths, fairness
from hypothesis import example, given, settings
from hypothesis import strategies as st

from galileod.policy.pacing import (
    CHUNK_SECONDS,
    FIRST_CHUNK,
    LEAST_CREDIT,
    MIN_PARTIAL,
)


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
    assert MIN <= min(upload.credits) <= max(upload.credits) <= MIN / MIN_PARTIAL


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
