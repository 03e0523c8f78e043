"""The limit on open files: how many connections fit below it."""

import resource
from typing import Final

import structlog
from attrs import evolve
from structlog.typing import FilteringBoundLogger

from galileod.config.model import Config

FILES_PER_CONNECTION: Final = 2
"""A socket and a spool file."""

FILES_PER_ATTEMPT: Final = 4
"""Of a hook: two pipes to a command, its process and what starting it takes; or a socket."""

OWN_FILES: Final = 128
"""Other descriptors: connections that are refused (64), listeners, log, ledger and store."""

_log: FilteringBoundLogger = structlog.get_logger()


def fit_open_files(config: Config) -> Config:
    """Raise the soft limit to the hard one; if it is still too low, lower `max_connections`."""
    server = config.server
    attempts = config.hooks.parallel if config.hooks.stored else 0
    reserved = OWN_FILES + FILES_PER_ATTEMPT * attempts
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
