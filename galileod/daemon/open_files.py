"""The limit on open files, and the number of connections that it allows."""

import resource
from typing import Final

import structlog
from attrs import evolve
from structlog.typing import FilteringBoundLogger

from galileod.config.model import Config

FILES_PER_CONNECTION: Final = 2
"""A socket and a spool file."""

FILES_PER_ATTEMPT: Final = 4
"""For an attempt of a hook: two pipes to the command, its pidfd, and a reserve for starting it. A
request to a URL takes one socket."""

FILES_PER_QUESTION: Final = 5
"""For a question to `hooks.admit`: a third pipe."""

OWN_FILES: Final = 128
"""For everything else: refused connections (at most 64), listeners, log, ledger and store."""

_log: FilteringBoundLogger = structlog.get_logger()


def fit_open_files(config: Config) -> Config:
    """Raise the soft limit on open files to the hard limit.

    Returns `config`. If the limit is too low for `server.max_connections`, that is lowered in the
    result, and a warning is logged.
    """
    server = config.server
    hooks, reserved = config.hooks, OWN_FILES
    if hooks.stored or hooks.removed:
        reserved += FILES_PER_ATTEMPT * hooks.parallel
    if hooks.admit:
        reserved += FILES_PER_QUESTION * hooks.admit_parallel
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    fitting = max(1, (hard - reserved) // FILES_PER_CONNECTION)
    if fitting >= server.max_connections:
        return config
    _log.warning(
        "server.file_limit",
        limit=hard,
        max_connections=fitting,
        reason=f"the limit on open files is too low for {server.max_connections} connections",
    )
    return evolve(config, server=evolve(server, max_connections=fitting))
