"""The slowest that a client may send while we wait for it."""

from galileod.protocol.errors import Fault, FaultCode


class RateMeter:
    """Bytes a second, averaged over `window` seconds of waiting; below `minimum` is too slow.

    Only time counts in which the client was waited for, so one that waits for us is never blamed.
    """

    def __init__(self, minimum: float, window: float) -> None:
        self._minimum = minimum
        self._window = window
        self._waited = 0.0
        self._received = 0

    @property
    def left(self) -> float:
        """Seconds of waiting until the window is full and its rate is judged."""
        return self._window - self._waited

    def add(self, waited: float, received: int) -> None:
        """We waited for so many seconds, and so many bytes have come since the last call.

        Raises a `too_slow` Fault at the end of a window that was too slow.
        """
        self._waited += waited
        self._received += received
        # Adding up many short waits leaves an error of rounding.
        if self._waited < self._window - 1e-9:
            return
        rate = self._received / self._waited
        self._waited, self._received = 0.0, 0
        if rate < self._minimum:
            raise Fault(
                FaultCode.TOO_SLOW,
                f"The data came too slowly: {rate:.0f} bytes a second over {self._window:g}"
                f" seconds. At least {self._minimum:g} are expected.",
                limit=self._minimum,
                rate=round(rate),
            )
