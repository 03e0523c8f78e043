"""The command line of `galileo-send`."""

import os
import sys
import traceback
from typing import Final, NoReturn, get_args

import click

from galileod import __version__
from galileod.client.address import Address, find_proxy
from galileod.client.asking import SkipExisting
from galileod.client.errors import NotAskedError, OptionError
from galileod.client.options import TIMEOUT, Options
from galileod.client.rate_limit import SharedPace
from galileod.client.retry import RETRIES as DEFAULT_RETRIES
from galileod.client.retry import RetryPolicy
from galileod.client.stream import tls_context
from galileod.printable import printable
from galileod.protocol.sender import DEFAULT_CHUNK

from .flags import DURATION, PARALLEL, RETRIES, SIZE, URL, read_token
from .output import standard
from .report_text import Verbosity
from .run import Plan, run
from .stdin import STDIN

FAILED: Final = 1
USAGE_ERROR: Final = 2
INTERRUPTED: Final = 130

SKIP_EXISTING: Final = get_args(SkipExisting)
"""The values of --skip-existing; without a value it is the first one."""

SEND_ALL: Final = "Nothing was sent. Without --skip-existing all files are sent."

EXAMPLES: Final = """\b
Examples:
  galileo-send wss://uploads.example.org/upload report.pdf
  galileo-send --recursive --parallel 8 ws://127.0.0.1:8750/upload photos/
  galileo-send --recursive --skip-existing wss://uploads.example.org/upload photos/
  tar cz . | galileo-send --name backup.tgz ws+unix:/run/galileod.sock:/upload -
  GALILEO_TOKEN=... galileo-send --json wss://uploads.example.org/upload *.iso
"""


class _Command(click.Command):
    """A command of which one option may have a value, but only behind a `=`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write the default into --skip-existing without a value: click takes the next argument."""
        end = args.index("--") if "--" in args else len(args)
        for index in range(end):
            if args[index] == "--skip-existing":
                args[index] = f"--skip-existing={SKIP_EXISTING[0]}"
        return super().parse_args(ctx, args)


@click.command(
    cls=_Command,
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
@click.option("-r", "--recursive", is_flag=True, help="Send the files in directories.")
@click.option(
    "--flat", is_flag=True, help="With --recursive, send the files without their directories."
)
@click.option(
    "--skip-existing", "skip", type=click.Choice(SKIP_EXISTING), metavar="[=modified|hash]",
    help="Ask the server first which files it has, and send the others. A file is known by its "
    "size and modification time, or by its hash.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="List what would be sent, and send nothing.")
@click.option("-n", "--name", help="The name to store a single file under.")
@click.option("--size", type=SIZE, help="The size of standard input, which is then streamed.")
@click.option(
    "-p", "--parallel", default=3, show_default=True, metavar="N", type=PARALLEL,
    help="The number of connections.",
)  # fmt: skip
@click.option(
    "--hash", "kind", default="sha1", show_default=True, metavar="KIND",
    help="sha1, sha256, sha512, blake2b or none.",
)  # fmt: skip
@click.option(
    "--chunksize", type=SIZE, default=DEFAULT_CHUNK, show_default=True,
    help="The chunk size if the server names none.",
)  # fmt: skip
@click.option("--limit-rate", type=SIZE, help="Bytes per second, for all files together.")
@click.option(
    "--retries", default=DEFAULT_RETRIES, show_default=True, metavar="N", type=RETRIES,
    help="Further attempts after the connection failed or the server was busy. They are counted "
    "while nothing gets through.",
)  # fmt: skip
@click.option(
    "--retry-delay", type=DURATION, default="500ms", show_default=True,
    help="The maximum wait before the first retry; it doubles with each retry, up to 30 s.",
)  # fmt: skip
@click.option(
    "--retry-connrefused", is_flag=True,
    help="Make all retries also if no connection was ever accepted; else they end after 5 s.",
)  # fmt: skip
@click.option(
    "--no-resume", is_flag=True,
    help="Send each file from its first byte, at each attempt, and remember nothing.",
)  # fmt: skip
@click.option(
    "--timeout", type=DURATION, default=f"{TIMEOUT:g}s", show_default=True,
    help="The maximum time without a response or other activity of the server.",
)  # fmt: skip
@click.option(
    "--token-file", type=click.Path(), help="The file with the token. [default: $GALILEO_TOKEN]"
)
@click.option(
    "--ca", type=click.Path(), help="A PEM file with CAs to trust instead of the system's."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Write one JSON object per line to standard output."
)
@click.option("-q", "--quiet", is_flag=True, help="Report failures only.")
@click.option("-v", "--verbose", is_flag=True, help="Report more.")
@click.version_option(__version__, message="galileo-send %(version)s")
def cli(  # noqa: PLR0913  one for each flag
    *,
    address: Address,
    files: tuple[str, ...],
    recursive: bool,
    flat: bool,
    skip: SkipExisting | None,
    dry_run: bool,
    name: str | None,
    size: int | None,
    parallel: int,
    kind: str,
    chunksize: int,
    limit_rate: int | None,
    retries: int,
    retry_delay: float,
    retry_connrefused: bool,
    no_resume: bool,
    timeout: float,
    token_file: str | None,
    ca: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Send files to a GalileoSend server over WebSocket.

    URL is ws://, wss://, or ws+unix:/path/of.sock:/upload. FILE may be - for standard input. A file
    counts as sent only when the server has confirmed that it is stored.

    Exit status: 0 all stored or already there, 1 some failed or were replaced, 2 usage error, 130
    interrupted.
    """
    if "" in files:
        raise click.UsageError("FILE must not be empty.")
    if files.count(STDIN) > 1:
        raise click.UsageError("Standard input can be sent only once.")
    if size is not None and files != (STDIN,):
        raise click.UsageError("--size is for standard input only: FILE must be - alone.")
    if name is not None and (len(files) > 1 or recursive):
        raise click.UsageError("--name is for a single file.")
    if name == "":
        raise click.UsageError("--name must not be empty.")
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose exclude each other.")
    if limit_rate == 0:
        raise click.UsageError("--limit-rate must be above 0.")
    proxy = find_proxy(address, os.environ)
    if address.secure or (proxy and proxy.secure):
        tls_context(ca)  # an unusable CA file is a usage error, not a failure of each file
    options = Options(
        hash=kind,
        chunksize=chunksize,
        timeout=timeout,
        token=read_token(token_file),
        ca=ca,
        pace=None if limit_rate is None else SharedPace(limit_rate),
        resume=not no_resume,
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
            flat=flat,
            options=options,
            policy=RetryPolicy(retries, retry_delay, retry_connrefused),
            parallel=parallel,
            verbosity=verbosity,
            as_json=as_json,
            token_file=token_file,
            skip=skip,
            dry_run=dry_run,
        )
    )


def main() -> NoReturn:
    """The entry point. Every error is reported as one line, without a traceback."""
    try:
        status = cli.main(prog_name="galileo-send", standalone_mode=False)
    except (click.UsageError, OptionError) as error:
        text = error.format_message() if isinstance(error, click.UsageError) else str(error)
        _exit(f"{text} Try galileo-send --help.", USAGE_ERROR)
    except NotAskedError as error:
        _exit(f"{error} {SEND_ALL}", USAGE_ERROR)
    except click.ClickException as error:
        _exit(error.format_message(), FAILED)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _exit("interrupted.", INTERRUPTED)
    except OSError as error:
        _exit(f"system error: {error.strerror or error}.", FAILED)
    except Exception as error:  # noqa: BLE001  a bug; no traceback for users
        place = traceback.extract_tb(error.__traceback__)[-1]
        _exit(
            f"internal error, please report it: {type(error).__name__}: {error} "
            f"({os.path.basename(place.filename)}:{place.lineno}).",
            FAILED,
        )
    sys.exit(status)


def _exit(text: str, status: int) -> NoReturn:
    standard(sys.stderr).write(f"galileo-send: {printable(text)}")
    sys.exit(status)
