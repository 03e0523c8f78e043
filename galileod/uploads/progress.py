"""Statistics of an upload for the log."""

from attrs import define

from galileod.metrics import Metrics


@define
class Progress:
    """Statistics of an upload for the log. Sizes are bytes; empty chunks are not counted.

    It `began`, in trio's time, with the connection, or with the metadata of a further file.
    `transferred` are the bytes of the file that have come on this connection.
    """

    began: float
    transferred: int = 0
    chunks: int = 0
    chunk_min: int | None = None
    chunk_max: int = 0
    in_flight_max: int = 0

    def stored(self, length: int) -> None:
        """A chunk of `length` bytes was stored."""
        self.chunks += 1
        self.transferred += length
        self.chunk_min = length if self.chunk_min is None else min(self.chunk_min, length)
        self.chunk_max = max(self.chunk_max, length)

    def granted(self, outstanding: int) -> None:
        """Credits were granted; `outstanding` have not been answered."""
        self.in_flight_max = max(self.in_flight_max, outstanding)


def count_chunk(metrics: Metrics, progress: Progress, length: int) -> None:
    """Count a chunk of `length` bytes that has come, unless it is empty."""
    if length:
        progress.stored(length)
        metrics.upload_bytes.inc(length)
        metrics.chunk_bytes.observe(length)
