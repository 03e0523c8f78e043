"""The command `galileo-conformance`."""

import io
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import click
import trio
from rich.text import Text

from galileod import __version__
from galileod.conformance import cases as _registered  # noqa: F401  # the import registers them
from galileod.conformance.address import Address
from galileod.conformance.case import CLIENT_CASES, PROFILES, SERVER_CASES, Case
from galileod.conformance.client_command import command_starter, offers
from galileod.conformance.judge import KitError
from galileod.conformance.listen import listening
from galileod.conformance.options import (
    Common,
    client_command,
    common,
    judging,
    parse_listen,
    parse_profiles,
    parse_program,
    parse_stored,
    read_tokens,
    reads,
    take_common,
)
from galileod.conformance.proxy import Proxy
from galileod.conformance.runner import OPTIONS, AnyCase, choose, run_client_cases, run_server_cases
from galileod.conformance.session import Session
from galileod.conformance.target import Command, Directory, Target
from galileod.conformance.trial import DEFAULT_PATIENCE
from galileod.conformance.verdicts import Result, Verdict

NAME: Final = "galileo-conformance"
FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130
ERRORS: Final = 3
"""HARNESS-ERRORs in a row after which a run ends: the peer is not where the options say."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
@click.version_option(__version__, message=f"{NAME} %(version)s")
def cli() -> None:
    """Judge clients and servers of GalileoSend over the wire.

    Exit status: 0 no regression, 1 a regression, 2 usage error, 130 interrupted by SIGINT or
    SIGTERM.
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
    _conduct(session, chosen, nullcontext(run_server_cases(chosen, target, settings.patience)))


@cli.command()
@client_command()
@click.option(
    "--listen",
    metavar="[HOST:]PORT",
    callback=reads(parse_listen),
    help="Judge a page in a browser, which asks this address for files to send.",
)
@common
def client(
    *,
    words: tuple[str, ...] | None,
    listen: tuple[str, int] | None,
    **options: Any,  # noqa: ANN401  # see `take_common`
) -> None:
    """Judge a client: a command, or a page in a browser."""
    if (words is None) == (listen is None):
        raise click.UsageError("Expected one of --command and --listen.")
    settings = take_common(options)
    chosen = _choose(CLIENT_CASES.values(), settings.profiles, settings.numbers)
    subject = " ".join(words) if words else "a page in a browser"
    session = Session(settings, "client", subject)

    @asynccontextmanager
    async def results() -> AsyncIterator[AsyncIterator[Result]]:
        patience = settings.patience
        if words is not None:
            yield run_client_cases(chosen, partial(command_starter, words), offers(words), patience)
        if listen is not None:
            async with listening(*listen) as starter:
                session.console.print(f"Listening on http://{starter.address}/", markup=False)
                await starter.wait_for_page()
                yield run_client_cases(chosen, lambda: nullcontext(starter), frozenset(), patience)

    _conduct(session, chosen, results())


@cli.command()
@click.option(
    "--to",
    "address",
    metavar="URL",
    required=True,
    callback=reads(Address.parse),
    help="The server, with the scheme ws or wss. Path and Host are those that the client sends.",
)
@click.option(
    "--listen",
    "listen",
    metavar="[HOST:]PORT",
    default="127.0.0.1:9002",
    show_default=True,
    callback=reads(parse_listen),
    help="Where the client connects to.",
)
@click.option(
    "--cut",
    metavar="BYTES",
    type=click.IntRange(1),
    help="Reset the first connection after so many bytes from the client, the next one after twice"
    " as many, and so on.",
)
@judging
def proxy(
    *, address: Address, listen: tuple[str, int], cut: int | None, strict: bool, output: Path
) -> None:
    """Judge the dialogue of a client and a server, until SIGINT or SIGTERM."""
    settings = Common((), (), strict, {}, output, DEFAULT_PATIENCE)
    session = Session(settings, "proxy", address.public)

    async def run() -> None:
        proxy = Proxy(address, session.record, cut)
        listeners = await trio.open_tcp_listeners(listen[1], host=listen[0])
        port = listeners[0].socket.getsockname()[1]
        where = f"{listen[0]}:{port}, for {address.public}"
        session.console.print(f"Listening on {where}", markup=False)
        await trio.serve_listeners(proxy.serve, listeners)

    _run(run)
    sys.exit(session.conclude())


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


def _conduct(
    session: Session,
    cases: Sequence[Case],
    opened: AbstractAsyncContextManager[AsyncIterator[Result]],
) -> NoReturn:
    by_number = {case.number: case for case in cases}

    async def run() -> None:
        errors = 0
        async with opened as results:
            with session.console.status("") as status:
                done = 0
                async for result in results:
                    session.record(by_number[result.case], result)
                    done += 1
                    status.update(Text(f"{done} of {len(cases)} cases"))
                    errors = errors + 1 if result.verdict is Verdict.HARNESS_ERROR else 0
                    if errors == ERRORS and done < len(cases):
                        session.console.print(
                            f"{ERRORS} cases in a row could not be run: {len(cases) - done} are"
                            " left out."
                        )
                        break

    interrupted = _run(run)
    status = session.conclude()
    sys.exit(INTERRUPTED if interrupted else status)


def _run(run: Callable[[], Awaitable[None]]) -> bool:
    """Run until the end or a signal; return whether one came. An address in use is an error."""
    interrupted = False
    reason: Exception | None = None
    try:
        interrupted = trio.run(_until_signal, run)
    except* KeyboardInterrupt:  # before the signals are received, or the second one
        interrupted = True
    except* (KitError, OSError) as group:
        reason = next(iter(_leaves(group)))
    if reason is not None:  # raised above, it would be wrapped in a group
        raise click.ClickException(f"Cannot listen: {reason}.")
    return interrupted


async def _until_signal(run: Callable[[], Awaitable[None]]) -> bool:
    """Run until the end or SIGINT or SIGTERM; return whether one came.

    A second one ends the program as if nobody had waited for the first. One that the caller
    ignores stays ignored.
    """
    interrupted = False
    awaited = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]

    async def wait(task_status: trio.TaskStatus[None]) -> None:
        nonlocal interrupted
        with trio.open_signal_receiver(*awaited) as signals:
            task_status.started()
            await anext(signals)
        interrupted = True
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        if awaited:
            await nursery.start(wait)
        await run()
        nursery.cancel_scope.cancel()
    return interrupted


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


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
            needs = (
                "; needs " + ", ".join(sorted({OPTIONS[it] for it in case.needs}))
                if case.needs
                else ""
            )
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
