"""Requests to the control socket of the running daemon, and `galileod reload`, which sends one."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from tempfile import SpooledTemporaryFile
from typing import Any, Final

import click

from galileod.config.model import Config, ConfigError
from galileod.ledger.engines import place_of
from galileod.net.unixsocket import short_path
from galileod.storage.state import NODES, STATE_DIRECTORY, control_path, ledger_path

from .options import daemon_config, daemon_options

REPLY_SECONDS: Final = 60.0
"""Time limit for the response in seconds. A reload takes at most 10, and waits for earlier ones."""

MAX_BODY: Final = 512 * 1024
"""Maximum size of a response body in bytes, unless the caller gives another."""

MAX_ROWS_BODY: Final = 256 * 1024 * 1024
"""Maximum size of a response with rows in bytes: more than a million rows."""

MAX_SPOOLED: Final = 16 * 1024 * 1024
"""Bytes of a list of any length that are kept in memory; more are in a temporary file."""

Row = dict[str, Any]
"""A JSON object in a list of the daemon."""

_READ: Final = 64 * 1024
"""Bytes of a body that are read between two checks of the time limit."""


@click.command()
@daemon_options
def reload(path: str | None, directory: str | None) -> None:
    """Make the running daemon reload its configuration, and wait until it is in force.

    The exit status is 2, and all mistakes are printed, if the configuration is rejected.
    """
    status, text = ask(daemon_config(path, directory), "POST", "/reload")
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        raise ConfigError(*text.splitlines())
    check_status(status, text)
    click.echo(f"galileod: {text}")


class NotRunningError(click.ClickException):
    """No process listens on the control socket."""


def ask_rows(config: Config, target: str) -> list[Row]:
    """The list at `target` of the daemon with this configuration.

    Raises NotRunningError, and click.ClickException for other errors.
    """
    status, text = ask(config, "GET", target, max_body=MAX_ROWS_BODY)
    check_status(status, text)
    try:
        rows: list[Row] = [json.loads(line) for line in text.splitlines()]
    except ValueError:
        raise click.ClickException(
            f"the daemon's response cannot be understood: {text[:80]!r}"
        ) from None
    if rows and "error" in rows[-1]:
        raise _failed(config, rows[-1])
    return rows


def check_status(status: int, text: str) -> None:
    """Raise click.ClickException unless a response has succeeded."""
    if status != HTTPStatus.OK:
        raise click.ClickException(f"the daemon responded with status {status}: {text}")


def ask(
    config: Config,
    method: str,
    target: str,
    timeout: float = REPLY_SECONDS,
    max_body: int = MAX_BODY,
) -> tuple[int, str]:
    """Send a request to the daemon with this configuration.

    Returns the status and the text of the response. Connecting, each read, and the body may take
    `timeout` seconds. Raises NotRunningError, and click.ClickException if there is no complete
    response.
    """
    with _response(config, method, target, timeout) as response:
        return response.status, _text_of(response, timeout, max_body)


def ask_rows_one_by_one(
    config: Config, method: str, target: str, *, at_once: bool = False
) -> Iterator[Row]:
    """The list at `target` of a daemon, whatever its length, each row when it comes.

    With `at_once`, the whole response is read before the first row, to memory or to a temporary
    file, so that the daemon need not wait for a caller that pauses. Each row may take
    REPLY_SECONDS. Raises as `ask_rows` does.
    """
    with _response(config, method, target, REPLY_SECONDS) as response:
        if response.status != HTTPStatus.OK:
            check_status(response.status, _text_of(response, REPLY_SECONDS, MAX_BODY))
        if not at_once:
            yield from map(_row, _lines_of(response, config))
            return
        with SpooledTemporaryFile(MAX_SPOOLED) as spooled:
            for line in _lines_of(response, config):
                spooled.write(line)
            spooled.seek(0)
            yield from map(_row, spooled)


def _lines_of(response: HTTPResponse, config: Config) -> Iterator[bytes]:
    """The lines of a list. Raises click.ClickException if the last one is an error."""
    while line := response.readline(MAX_BODY):
        if not line.endswith(b"\n"):
            raise HTTPException
        if line.startswith(b'{"error": '):
            raise _failed(config, _row(line))
        yield line


def _failed(config: Config, row: Row) -> click.ClickException:
    """What the last row of a list says, of the ledger if it names nothing else."""
    where = (
        ""
        if row.get("of") == "storage"
        else f"{place_of(config.ledger, ledger_path(config.storage.directory))}: "
    )
    return click.ClickException(f"{where}{row['error']}")


def _row(line: bytes) -> Row:
    try:
        row: Row = json.loads(line)
    except ValueError:
        raise click.ClickException(
            f"the daemon's response cannot be understood: {line[:80]!r}"
        ) from None
    return row


@contextmanager
def _response(config: Config, method: str, target: str, timeout: float) -> Iterator[HTTPResponse]:
    """The response to a request, for the block. Raises what `ask` raises."""
    directory = config.storage.directory
    path = control_path(directory, config.ledger.node_name)
    connection = _UnixConnection(path, timeout)
    try:
        connection.request(method, target)
        with connection.getresponse() as response:
            yield response
    except (FileNotFoundError, ConnectionRefusedError):
        raise NotRunningError(_why_not_running(config)) from None
    except PermissionError:
        raise click.ClickException(
            f"{path}: permission denied; run this as the daemon's user or as root"
        ) from None
    except TimeoutError:
        raise click.ClickException(
            f"the daemon did not respond within {timeout:g} seconds"
        ) from None
    except (HTTPException, ConnectionError):
        raise click.ClickException(
            f"{path}: the daemon closed the connection before the end of its response"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from None
    finally:
        connection.close()


def _why_not_running(config: Config) -> str:
    directory, node = os.path.abspath(config.storage.directory), config.ledger.node_name
    if node is None and os.path.isdir(os.path.join(directory, STATE_DIRECTORY, NODES)):
        advice = "it belongs to nodes: name the configuration of one with --config"
    else:
        # A changed storage.directory is in force only after a restart.
        advice = (
            "if it is starting, its log says what it waits for; if the key was changed, restart"
            " galileod, or give its old value as --directory"
        )
    named = "" if node is None else f' as the node "{node}"'
    return f"no running galileod uses storage.directory {directory}{named}; {advice}"


def _text_of(response: HTTPResponse, timeout: float, max_body: int) -> str:
    """The body as a string.

    Raises HTTPException if it is incomplete, and TimeoutError. One that is larger than `max_body`
    or has no length counts as incomplete.
    """
    if response.length is None and not response.chunked:
        raise HTTPException
    end = time.monotonic() + timeout
    body = bytearray()
    while part := response.read(_READ):
        body += part
        if len(body) > max_body:
            raise HTTPException
        if time.monotonic() > end:
            raise TimeoutError
    if response.length:
        raise HTTPException
    return body.decode(errors="replace").rstrip("\n")


class _UnixConnection(HTTPConnection):
    """HTTP over the unix socket at `path`."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("galileod", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        with short_path(self._path) as path:
            self.sock.connect(path)
