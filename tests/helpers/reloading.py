"""SIGHUP to a daemon whose configuration was rewritten, and an upload to see what is in force."""

import signal
import tomllib

from helpers.clients import JavaScriptClient
from helpers.daemon import Daemon, Settings, poll, write_config


def count(host: Daemon, event: str) -> int:
    return sum(line["event"] == event for line in host.log())


def hang_up(host: Daemon, event: str) -> dict[str, object]:
    """Send SIGHUP, and give the line that answers it."""
    before = count(host, event)
    host.send_signal(signal.SIGHUP)
    poll(event, lambda: count(host, event) > before, host.text)
    return host.wait_for(event)


def rewrite(host: Daemon, settings: Settings) -> None:
    """Put `settings` over those in the daemon's file, which is never seen half written."""
    tables = tomllib.loads(host.config.read_text())
    for name, table in settings.items():
        tables.setdefault(name, {}).update(table)
    write_config(host.config.with_suffix(".new"), tables).replace(host.config)


def reload(host: Daemon, settings: Settings) -> dict[str, object]:
    rewrite(host, settings)
    return hang_up(host, "config.reloaded")


def code(host: Daemon, size: int = 10, name: str | None = None) -> str | None:
    """How an upload without a hash fails, or None."""
    return JavaScriptClient(host.url, bytes(size), name).run().code
