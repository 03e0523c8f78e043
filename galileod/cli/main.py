"""The command line of `galileod`."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn

import click
import structlog
import trio
from structlog.typing import FilteringBoundLogger

from galileod import __version__
from galileod.clock import ProcessClock
from galileod.config import file as config
from galileod.config.file import Reading
from galileod.config.flags import Flags, with_flags
from galileod.config.model import Config, ConfigError
from galileod.daemon import install
from galileod.daemon import run as daemon
from galileod.daemon.collector import collect_seldom
from galileod.daemon.connecting import try_storage
from galileod.daemon.prepare import prepare
from galileod.daemon.start import StartError
from galileod.daemon.suspicious import find_suspicious
from galileod.logs import setup as logs
from galileod.malloc import keep_freed_memory
from galileod.printable import printable

from .control import reload
from .files import files
from .options import DefaultGroup, config_option
from .output import keep_errors, status_of_output
from .status import status
from .token import token
from .uploads import uploads
from .usage import usage

FAILED: Final = 1
MISUSED: Final = 2
"""Exit status for an invalid flag or configuration."""

_log: FilteringBoundLogger = structlog.get_logger()


class _ServeByDefault(DefaultGroup):
    default = "serve"


@click.group(cls=_ServeByDefault, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="galileod %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Receive files over WebSocket with the GalileoSend protocol.

    The default command is serve.
    """
    if ctx.invoked_subcommand != "serve":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@cli.command()
@config_option()
@click.option(
    "--listen",
    metavar="ADDR",
    multiple=True,
    help="host:port, [v6]:port or unix:/path; repeatable.",
)
@click.option("--directory", metavar="DIR", help="Directory for stored files.")
@click.option(
    "--allow-origin",
    metavar="ORIGIN",
    multiple=True,
    help="Origin whose pages may upload, such as http://localhost:3000; * for all; repeatable.",
)
@click.option("--max-file-size", metavar="SIZE", help="Largest file, such as 500MB or 10GiB.")
def serve(
    path: str | None,
    listen: tuple[str, ...],
    directory: str | None,
    allow_origin: tuple[str, ...],
    max_file_size: str | None,
) -> None:
    """Run in the foreground until SIGTERM or SIGINT."""
    flags = Flags(listen, directory, allow_origin, max_file_size)
    # SIGHUP must not end the process before the daemon handles it; SIGINT ends it at once.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    def read() -> Reading:
        return with_flags(config.read(config.find_file(path, os.environ)), flags)

    prepared = prepare(read())
    log = prepared.config.log
    logs.set_up(log.level, log.format, sys.stderr, "https" if prepared.tls else "http")
    logs.set_node(prepared.config.ledger.node_name)
    keep_freed_memory()
    collect_seldom()
    try:
        trio.run(daemon.run, prepared, read, clock=ProcessClock())
    except StartError as error:
        _log.critical("server.failed", reason=str(error))
        sys.exit(FAILED)


@cli.command()
@config_option()
@click.option("--strict", is_flag=True, help="Fail also if there is a warning.")
@click.option(
    "--connect",
    is_flag=True,
    help="Try the storage and the database, and print the steps instead of the TOML.",
)
def check_config(path: str | None, strict: bool, connect: bool) -> None:
    """Check the configuration and the files that it names, and print it as TOML."""
    reading = config.read(config.find_file(path, os.environ))
    prepared = prepare(reading)
    warnings = find_suspicious(reading, prepared)
    if strict and warnings:
        raise ConfigError(*warnings)
    for warning in warnings:
        _complain(f"warning: {warning}")
    if not connect:
        click.echo(config.dump(prepared.config), nl=False)
    elif not _connect(prepared.config):
        sys.exit(FAILED)


def _connect(settings: Config) -> bool:
    """Print each step of trying the storage as it is done; returns whether all of them work."""
    works = True
    for step, failure in try_storage(settings):
        if failure is None:
            click.echo(f"{printable(step)}: ok")
        else:
            _complain(f"{step}: {failure}")
            works = False
    return works


cli.add_command(token)
cli.add_command(reload)
cli.add_command(status)
cli.add_command(usage)
cli.add_command(uploads)
cli.add_command(files)


_root_option: Final[Callable[..., Callable[..., None]]] = click.option(
    "--root",
    metavar="DIR",
    default="/",
    help="Root directory to write below, to build packages; systemd is not reloaded.",
)


@cli.command()
@_root_option
def install_service(root: str) -> None:
    """Write the systemd units, and /etc/galileod.toml if it does not exist."""
    install.install(root, click.echo)


@cli.command()
@_root_option
def uninstall_service(root: str) -> None:
    """Stop the service and remove its units; keep the configuration and all data."""
    install.uninstall(root, click.echo)


def main() -> NoReturn:
    """The entry point of `galileod`.

    Prints each error as one line. The exit status is 2 for invalid flags or configuration, else 1.
    """
    out = keep_errors()
    status = _run()
    sys.exit(status or status_of_output(out))


def _run() -> int:
    """Run the command line; returns the exit status."""
    try:
        return cli(prog_name="galileod", standalone_mode=False) or 0
    except click.UsageError as error:
        text = error.format_message()
        end = "" if text.endswith((".", "?")) else "."
        hint = f"{end} Try {error.ctx.command_path} --help." if error.ctx else ""
        _complain(f"{text}{hint}")
        return MISUSED
    except ConfigError as error:
        for mistake in error.mistakes:
            _complain(mistake)
        return MISUSED
    except (click.ClickException, install.InstallError) as error:
        _complain(str(error))
        return FAILED
    except click.exceptions.Abort:
        return FAILED


def _complain(text: str) -> None:
    """Write a line to standard error. Paths in it must not be able to control the terminal."""
    click.echo(f"galileod: {printable(text)}", err=True)
