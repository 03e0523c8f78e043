"""An upload: what its metadata fixes, apart from the connection that it comes over."""

from datetime import UTC, datetime

from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.auth.grant import Grant, largest
from galileod.config.model import Config
from galileod.policy.layout import place
from galileod.policy.limits import check_size
from galileod.policy.names import safe_name
from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import Metadata


@frozen(eq=False)
class Upload:
    """One upload. Nothing of it changes.

    `id` is unique; the log, the ledger and the hook use it. `config` is the configuration at the
    time of the metadata: a reload changes no upload that has begun. `path` is where the file is
    to be stored, below the store's directory. `log` is bound to all of this.
    """

    id: str
    metadata: Metadata
    grant: Grant
    config: Config
    path: str
    log: FilteringBoundLogger


def path_for(metadata: Metadata, grant: Grant, config: Config) -> str:
    """Where the file is to be stored.

    Raises a Fault if the size, the name, or the ticket's name forbids it.
    """
    check_size(metadata.size, largest(grant, config.limits.max_file_size))
    name = safe_name(metadata.name)
    if grant.name is not None and safe_name(grant.name) != name:
        raise Fault(FaultCode.UNAUTHORIZED, "The ticket is for a file of another name.")
    today = datetime.now(UTC).date().isoformat()
    return "/".join((*place(config.storage.layout, grant.user, today), name))
