"""The one check of a credential, wherever it comes from: a request or the metadata of an upload."""

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
) -> Grant:
    """What a credential that came from `network` allows.

    Raises Unauthorized after a delay that grows with the failures of that network; the failure is
    counted and logged then.
    """
    try:
        return await authenticator.check(credential, network)
    except Unauthorized as refused:
        metrics.credentials_refused.inc()
        log.warning("credentials.refused", reason=refused.why)
        raise
