"""Saves when each token was last used, while the daemon runs and when it ends."""

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod.auth.uses import SAVE_SECONDS, save_uses
from galileod.storage.state import token_uses_path
from galileod.uploads.context import Context

_log: FilteringBoundLogger = structlog.get_logger()


async def save_token_uses(context: Context) -> None:
    """Save the uses of tokens until cancelled, at most once in SAVE_SECONDS, and at the end."""
    saver = _Saver(context)
    try:
        while True:
            await context.authenticator.uses.wait()
            await saver.save()
            await trio.sleep(SAVE_SECONDS)
    finally:
        # Takes as long as the disk does, as all steps of the end.
        with trio.CancelScope(shield=True):
            await saver.save()


class _Saver:
    def __init__(self, context: Context) -> None:
        self._context = context
        config = context.config
        self._path = token_uses_path(config.storage.directory, config.ledger.node_name)
        self._last_error: str | None = None

    async def save(self) -> None:
        """Save what is not saved yet. A failure is logged if it differs from the last one."""
        authenticator = self._context.authenticator
        if authenticator.tokens is None:
            return
        known = await authenticator.tokens.current()
        uses = authenticator.uses.take()
        if not uses:
            return
        try:
            await trio.to_thread.run_sync(save_uses, self._path, uses, known)
        except trio.Cancelled:
            authenticator.uses.put_back(uses)
            raise
        except OSError as error:
            authenticator.uses.put_back(uses)
            reason = error.strerror or str(error)
            if reason != self._last_error:
                _log.warning("auth.uses_not_saved", path=self._path, reason=reason)
            self._last_error = reason
        else:
            self._last_error = None
