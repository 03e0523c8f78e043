"""The command line of `galileo-send`."""

import os
import sys
import traceback
from typing import Final, NoReturn

import click

from galileod import __version__
from galileod.client.address import Address, find_proxy
from galileod.client.dial import tls_context
from galileod.client.errors import OptionError
from galileod.client.rate import SharedPace
from galileod.client.texts import plain
from galileod.client.values import TIMEOUT, Options
from galileod.protocol.sender import DEFAULT_CHUNK

from .flags import DURATION, PARALLEL, RETRIES, SIZE, URL, read_token
from .output import standard
from .people import Verbosity
from .retry import RETRIES as TRIED_AGAIN
from .retry import RetryPolicy
from .run import Plan, run
from .stdin import LABEL

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130

_STANDARD_ERROR: Final = 2

EXAMPLES: Final = """\b
Examples:
  galileo-send wss://uploads.example.org/upload report.pdf
  galileo-send --recursive --parallel 8 ws://127.0.0.1:8750/upload photos/
  tar cz . | galileo-send --name backup.tgz ws+unix:/run/galileod.sock:/upload -
  GALILEO_TOKEN=... galileo-send --json wss://uploads.example.org/upload *.iso
"""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXAMPLES,
)
@click.argument("address", metavar="URL", type=URL)
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(allow_dash=True, readable=False),
)
@click.option("-r", "--recursive", is_flag=True, help="Send the files in folders, at any depth.")
@click.option("-n", "--name", help="The name to send one file under.")
@click.option("--size", type=SIZE, help="The size of standard input, which is then not put aside.")
@click.option(
    "-p", "--parallel", default=3, show_default=True, metavar="N", type=PARALLEL,
    help="Files that are sent at once.",
)  # fmt: skip
@click.option(
    "--hash", "kind", default="sha1", show_default=True, metavar="KIND",
    help="sha1, sha256, sha512, blake2b or none.",
)  # fmt: skip
@click.option(
    "--chunksize", type=SIZE, default=DEFAULT_CHUNK, show_default=True,
    help="Bytes in a chunk, for a server that names no size.",
)  # fmt: skip
@click.option("--limit-rate", type=SIZE, help="Bytes a second, for all files together.")
@click.option(
    "--retries", default=TRIED_AGAIN, show_default=True, metavar="N", type=RETRIES,
    help="More attempts, each from the first byte on, where the connection failed or the server "
    "is busy.",
)  # fmt: skip
@click.option(
    "--retry-delay", type=DURATION, default="500ms", show_default=True,
    help="The first wait between attempts at the most; each is twice as long, up to 30 s.",
)  # fmt: skip
@click.option(
    "--timeout", type=DURATION, default=f"{TIMEOUT:g}s", show_default=True,
    help="How long the server may take to answer, or be silent.",
)  # fmt: skip
@click.option(
    "--token-file", type=click.Path(), help="A file with the token. [else $GALILEO_TOKEN]"
)
@click.option(
    "--ca", type=click.Path(), help="Certificates to trust in place of the system's (PEM)."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on standard output.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what failed.")
@click.option("-v", "--verbose", is_flag=True, help="Say more.")
@click.version_option(__version__, message="galileo-send %(version)s")
def cli(  # noqa: PLR0913  one for each flag; they become a plan at once
    *,
    address: Address,
    files: tuple[str, ...],
    recursive: bool,
    name: str | None,
    size: int | None,
    parallel: int,
    kind: str,
    chunksize: int,
    limit_rate: int | None,
    retries: int,
    retry_delay: float,
    timeout: float,
    token_file: str | None,
    ca: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Send files to a GalileoSend server over WebSocket.

    URL is ws://, wss://, or ws+unix:/path/of.sock:/upload. A FILE of - is standard input. A file
    counts as sent only when the server has said that it is stored.

    Exit status: 0 all stored, 1 some failed, 2 wrong usage, 130 interrupted.
    """
    if "" in files:
        raise click.UsageError("A FILE must not be empty.")
    if files.count(LABEL) > 1:
        raise click.UsageError("Standard input can be sent only once.")
    if size is not None and files != (LABEL,):
        raise click.UsageError(
            "--size is for standard input alone: FILE must be - and nothing else."
        )
    if name is not None and (len(files) > 1 or recursive):
        raise click.UsageError("--name is for one file.")
    if name == "":
        raise click.UsageError("--name must not be empty.")
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other.")
    if limit_rate == 0:
        raise click.UsageError("--limit-rate must be above 0.")
    proxy = find_proxy(address, os.environ)
    if address.secure or (proxy and proxy.secure):
        tls_context(ca)  # a file that cannot be used is wrong usage, and not each file's failure
    options = Options(
        hash=kind,
        chunksize=chunksize,
        timeout=timeout,
        token=read_token(token_file),
        ca=ca,
        pace=None if limit_rate is None else SharedPace(limit_rate),
    )
    verbosity: Verbosity = "quiet" if quiet else "verbose" if verbose else "normal"
    return run(
        Plan(
            address=address,
            proxy=proxy,
            files=files,
            name=name,
            size=size,
            recursive=recursive,
            options=options,
            policy=RetryPolicy(retries, retry_delay),
            parallel=parallel,
            verbosity=verbosity,
            as_json=as_json,
            token_file=token_file,
        )
    )


def main() -> NoReturn:
    """The entry point. Whatever goes wrong is a sentence, and never a traceback."""
    _open_what_is_closed()
    try:
        status = cli.main(prog_name="galileo-send", standalone_mode=False)
    except (click.UsageError, OptionError) as error:
        text = error.format_message() if isinstance(error, click.UsageError) else str(error)
        _complain(f"{text} Try galileo-send --help.", MISUSED)
    except click.ClickException as error:
        _complain(error.format_message(), FAILED)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _complain("interrupted.", INTERRUPTED)
    except OSError as error:
        _complain(f"stopped by the system: {error.strerror or error}.", FAILED)
    except Exception as error:  # noqa: BLE001  the last resort, so that nobody sees a traceback
        place = traceback.extract_tb(error.__traceback__)[-1]
        _complain(
            f"a mistake of ours, please report it: {type(error).__name__}: {error} "
            f"({os.path.basename(place.filename)}:{place.lineno}).",
            FAILED,
        )
    sys.exit(status)


def _complain(text: str, status: int) -> NoReturn:
    standard(sys.stderr).write(f"galileo-send: {plain(text)}")
    sys.exit(status)


def _open_what_is_closed() -> None:
    """Standard streams that the caller closed lead nowhere, and never into a socket or a file.

    From an input that was closed nothing can be read: it is an error, and no empty file.
    """
    while (descriptor := os.open(os.devnull, os.O_WRONLY)) <= _STANDARD_ERROR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    # Python has None for them, and no code here expects that.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
