"""The command `galileo-conformance`."""

import io
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final, NoReturn

import click
import trio
from rich.text import Text

from galileod import __version__
from galileod.conformance import cases as _registered  # noqa: F401  # the import registers them
from galileod.conformance.address import Address
from galileod.conformance.case import CLIENT_CASES, PROFILES, SERVER_CASES, Case
from galileod.conformance.options import (
    client_command,
    common,
    parse_profiles,
    parse_program,
    parse_stored,
    read_tokens,
    reads,
    take_common,
)
from galileod.conformance.runner import AnyCase, choose, run_client_cases, run_server_cases
from galileod.conformance.session import Session
from galileod.conformance.target import Command, Directory, Target
from galileod.conformance.verdicts import Result

NAME: Final = "galileo-conformance"
FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message=f"{NAME} %(version)s")
def cli() -> None:
    """Judge clients and servers of GalileoSend over the wire.

    Exit status: 0 no regression, 1 a regression, 2 usage error, 130 interrupted.
    """


@cli.command()
@click.option(
    "--url",
    "address",
    metavar="URL",
    required=True,
    callback=reads(Address.parse),
    help="The server, with the scheme ws or wss.",
)
@click.option(
    "--stored",
    metavar="DIR|COMMAND",
    required=True,
    callback=reads(parse_stored),
    help="Where the server stores files: a directory, or a command that gets a name as its last"
    " argument and writes the stored file to standard output, or fails where there is none.",
)
@click.option(
    "--restart",
    metavar="COMMAND",
    callback=reads(parse_program),
    help="Restarts the server in order.",
)
@click.option(
    "--kill",
    metavar="COMMAND",
    callback=reads(parse_program),
    help="Kills the server, and starts it again.",
)
@click.option(
    "--token-file",
    "tokens",
    metavar="FILE",
    callback=reads(read_tokens, ()),
    help="Tokens of two users, one on each line.",
)
@common
def server(  # one for each option
    *,
    address: Address,
    stored: Directory | Command,
    restart: tuple[str, ...] | None,
    kill: tuple[str, ...] | None,
    tokens: tuple[str, ...],
    **options: Any,  # noqa: ANN401  # see `take_common`
) -> None:
    """Judge a server."""
    settings = take_common(options)
    target = Target(address, stored, restart, kill, tokens)
    chosen = _choose(SERVER_CASES.values(), settings.profiles, settings.numbers)
    session = Session(settings, "server", address.public)
    _conduct(session, chosen, run_server_cases(chosen, target, settings.patience))


@cli.command()
@client_command()
@common
def client(*, words: tuple[str, ...] | None, **options: Any) -> None:  # noqa: ANN401  # see `take_common`
    """Judge a client."""
    if words is None:
        raise click.UsageError("Missing option '--command'.")
    settings = take_common(options)
    chosen = _choose(CLIENT_CASES.values(), settings.profiles, settings.numbers)
    session = Session(settings, "client", " ".join(words))
    _conduct(session, chosen, run_client_cases(chosen, words, settings.patience))


def _choose(
    cases: Iterable[AnyCase], profiles: Sequence[str], numbers: Sequence[str]
) -> list[AnyCase]:
    try:
        chosen = choose(cases, profiles, numbers)
    except ValueError as error:
        raise click.UsageError(f"Invalid value for '--case': {error}.") from None
    if not chosen:
        raise click.UsageError("No case is left by --profile and --case.")
    return chosen


def _conduct(session: Session, cases: Sequence[Case], results: AsyncIterator[Result]) -> NoReturn:
    by_number = {case.number: case for case in cases}
    judged: list[tuple[Case, Result]] = []

    async def run() -> None:
        with session.console.status("") as status:
            async for result in results:
                judged.append((by_number[result.case], result))
                status.update(Text(f"{len(judged)} of {len(cases)} cases"))

    interrupted = False
    try:
        trio.run(run)
    except* KeyboardInterrupt:  # nurseries wrap it in groups
        interrupted = True
    status = session.conclude(judged)
    sys.exit(INTERRUPTED if interrupted else status)


@cli.command("list")
@click.option(
    "--profile",
    "profiles",
    metavar="LIST",
    callback=reads(parse_profiles, PROFILES),
    help="List the cases of these profiles. [default: all]",
)
def list_cases(*, profiles: tuple[str, ...]) -> None:
    """List the cases: number, profile, title and requirements."""
    every: list[Case] = [*SERVER_CASES.values(), *CLIENT_CASES.values()]
    for case in sorted(every, key=lambda case: case.key):
        if case.profile in profiles:
            needs = f"; needs {', '.join(sorted(case.needs))}" if case.needs else ""
            about = f"{', '.join(case.requirements)}{needs}"
            click.echo(f"{case.number:<8}{case.profile:<8}{case.title} ({about})")


def main() -> None:
    """Run the command; an error is one line on standard error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the locale may not have every character
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        click.echo(f"{NAME}: {error.format_message()} Try {NAME} --help.", err=True)
        sys.exit(MISUSED if isinstance(error, click.UsageError) else FAILED)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
