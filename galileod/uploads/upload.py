"""An upload: the values that its metadata fixes, independent of the connection."""

import time
from datetime import UTC, datetime
from typing import Final

from attrs import evolve, frozen
from structlog.typing import FilteringBoundLogger

from galileod.auth.grant import Grant, largest
from galileod.config.model import Config
from galileod.hooks.receipt import make_receipt
from galileod.ledger.base import KeptUpload, Resumable
from galileod.ledger.records import About
from galileod.net.peer import Peer
from galileod.policy.folders import place_of, safe_folder
from galileod.policy.layout import place
from galileod.policy.limits import check_size
from galileod.policy.modified import believable
from galileod.policy.names import safe_name
from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import HashClaim, Metadata

from .claims import Claim

MAX_MODIFIED: Final = 2**53
"""Maximum number of milliseconds, before or after 1970, of a modification time that is recorded:
the largest that every JSON parser reads exactly."""


@frozen(eq=False)
class Upload:
    """One upload; immutable.

    `id` is unique; the log, the ledger and the hook use it. `config` is the configuration in force
    when the metadata came: a reload does not change an upload that has begun. `path` is where the
    file is to be stored, below the store's directory. `log` has the upload's fields bound, and
    `about` is what the ledger records of it. `resumable` is None if the upload cannot be resumed,
    `kept` if it begins now.
    """

    id: str
    metadata: Metadata
    grant: Grant
    config: Config
    path: str
    log: FilteringBoundLogger
    about: About
    resumable: Resumable | None = None
    kept: KeptUpload | None = None

    @property
    def keep_seconds(self) -> int:
        """For how long it is kept if it is interrupted, as the client is told."""
        return max(1, round(self.config.resume.keep))

    @property
    def modified(self) -> int | None:
        """The modification time of its file, in nanoseconds since 1970; None: when it is stored."""
        if not self.config.storage.keep_modified:
            return None
        return believable(self.metadata.modified, time.time())

    @property
    def keeps(self) -> bool:
        """Whether what has come of the file is kept if the upload is interrupted."""
        return self.resumable is not None and self.metadata.size >= self.config.resume.min_size

    def receipt(self, peer: Peer, sha1: str, claim: HashClaim | None) -> str | None:
        """The receipt for the hook, as `make_receipt` returns it; None without a hook."""
        if not self.config.hooks.stored:
            return None
        size, user = self.metadata.size, self.grant.user
        return make_receipt(self.id, size, sha1, claim, user, peer.name, self.about)


def begin(
    upload: str,
    metadata: Metadata,
    grant: Grant,
    config: Config,
    claim: Claim,
    log: FilteringBoundLogger,
) -> Upload:
    """The upload with the id `upload`, which begins with `metadata`. `log` has its fields bound.

    Raises a Fault: `too_large`, `bad_name`, or `unauthorized` if the ticket is for another name.
    """
    path = path_for(metadata, grant, config)
    resumable = None
    if claim.key is not None:
        settings = config.storage
        resumable = Resumable(
            claim.key,
            claim.metadata,
            path.rpartition("/")[2],
            path,
            settings.on_conflict,
            settings.durability,
            authenticated=not grant.anonymous,
        )
    return Upload(upload, metadata, grant, config, path, log, about(metadata, grant), resumable)


def resume(
    metadata: Metadata, grant: Grant, config: Config, kept: KeptUpload, log: FilteringBoundLogger
) -> Upload:
    """The upload `kept`, which goes on. What was decided at its beginning stays."""
    log = log.bind(upload=kept.upload, user=kept.user)
    grant = evolve(grant, user=kept.user, anonymous=not kept.resumable.authenticated)
    path, known = kept.resumable.path, kept.about or about(metadata, grant)
    return Upload(kept.upload, metadata, grant, config, path, log, known, kept.resumable, kept)


def about(metadata: Metadata, grant: Grant) -> About:
    """What is recorded of a file with this metadata. Raises a Fault: `bad_name`."""
    modified = metadata.modified
    if modified is not None and abs(modified) > MAX_MODIFIED:
        modified = None
    return About(
        _storable(metadata.name),
        None if metadata.folder is None else _storable(metadata.folder),
        place_of(metadata.folder, metadata.name),
        modified,
        grant.retention,
        grant.ticket,
        grant.meta,
    )


def _storable(text: str) -> str:
    """The text without what cannot be stored: NUL, and halves of surrogate pairs."""
    pairs = text.encode("utf-16-le", "surrogatepass")
    return pairs.decode("utf-16-le", "replace").replace("\0", "\ufffd")


def path_for(metadata: Metadata, grant: Grant, config: Config) -> str:
    """Return where the file is to be stored, below the store's directory.

    Raises a Fault: `too_large`, `bad_name`, or `unauthorized` if the ticket is for another name.
    """
    check_size(metadata.size, largest(grant, config.limits.max_file_size))
    name = safe_name(metadata.name)
    if grant.name is not None and safe_name(grant.name) != name:
        raise Fault(FaultCode.UNAUTHORIZED, "The ticket is for a file of another name.")
    today = datetime.now(UTC).date().isoformat()
    folder = safe_folder(metadata.folder)
    return "/".join((*place(config.storage.layout, grant.user, today, folder), name))
