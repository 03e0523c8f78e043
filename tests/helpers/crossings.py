"""Links and disks of all kinds, for tests of the pacer."""

from helpers.paths import ENDLESS, Bounds, Link, Paths, Upload
from hypothesis import strategies as st

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
