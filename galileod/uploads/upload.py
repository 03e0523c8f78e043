"""An upload: the values that its metadata fixes, independent of the connection."""

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
    """One upload; immutable.

    `id` is unique; the log, the ledger and the hook use it. `config` is the configuration in force
    when the metadata came: a reload does not change an upload that has begun. `path` is where the
    file is to be stored, below the store's directory. `log` has the upload's fields bound.
    """

    id: str
    metadata: Metadata
    grant: Grant
    config: Config
    path: str
    log: FilteringBoundLogger


def path_for(metadata: Metadata, grant: Grant, config: Config) -> str:
    """Return where the file is to be stored, below the store's directory.

    Raises a Fault: `too_large`, `bad_name`, or `unauthorized` if the ticket is for another name.
    """
    check_size(metadata.size, largest(grant, config.limits.max_file_size))
    name = safe_name(metadata.name)
    if grant.name is not None and safe_name(grant.name) != name:
        raise Fault(FaultCode.UNAUTHORIZED, "The ticket is for a file of another name.")
    today = datetime.now(UTC).date().isoformat()
    return "/".join((*place(config.storage.layout, grant.user, today), name))
