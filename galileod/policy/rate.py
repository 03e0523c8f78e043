"""The minimum rate at which a client must send."""

from galileod.protocol.errors import Fault, FaultCode


class RateMeter:
    """Bytes per second, averaged over `window` seconds of waiting; below `minimum` is too slow.

    Only time in which the server waits for the client counts: the time that storing takes does
    not.
    """

    def __init__(self, minimum: float, window: float) -> None:
        self._minimum = minimum
        self._window = window
        self._waited = 0.0
        self._received = 0

    @property
    def left(self) -> float:
        """Seconds of waiting until the window ends and its rate is checked."""
        return self._window - self._waited

    def restart(self) -> None:
        """Begin a new window: what was waited for until now is not measured."""
        self._waited, self._received = 0.0, 0

    def add(self, waited: float, received: int) -> None:
        """Add `waited` seconds, and `received` bytes that came since the last call.

        Raises a `too_slow` Fault at the end of a window whose rate is below the minimum.
        """
        self._waited += waited
        self._received += received
        # The sum of many short waits has a rounding error.
        if self._waited < self._window - 1e-9:
            return
        rate = self._received / self._waited
        self.restart()
        if rate < self._minimum:
            raise Fault(
                FaultCode.TOO_SLOW,
                f"The data came too slowly: {rate:.0f} bytes per second over {self._window:g}"
                f" seconds. The minimum is {self._minimum:g}.",
                limit=self._minimum,
                rate=round(rate),
            )
