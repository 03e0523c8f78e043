"""Checks a credential from a request or from the metadata of an upload."""

from structlog.typing import FilteringBoundLogger

from galileod.metrics import Metrics

from .authenticator import Authenticator
from .grant import Grant, Unauthorized


async def check_credential(
    authenticator: Authenticator,
    credential: str,
    network: str,
    metrics: Metrics,
    log: FilteringBoundLogger,
    *,
    allow_expired: bool = False,
) -> Grant:
    """The grant of a credential that a client in `network` sent.

    With `allow_expired`, that of a ticket may be `expired`.
    If it is not valid, counts and logs that, and raises Unauthorized, after a delay that grows with
    the failures of that network.
    """
    try:
        return await authenticator.check(credential, network, allow_expired=allow_expired)
    except Unauthorized as refused:
        metrics.credentials_refused.inc()
        log.warning("credentials.refused", reason=refused.why)
        raise
