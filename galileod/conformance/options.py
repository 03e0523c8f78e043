"""The options of the command, and how their values are read."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import attrs
import click

from galileod.conformance.case import CLIENT_CASES, PROFILES, SERVER_CASES
from galileod.conformance.client_command import parse_command
from galileod.conformance.commands import split
from galileod.conformance.expected import parse_expected
from galileod.conformance.target import Command, Directory
from galileod.conformance.trial import DEFAULT_PATIENCE
from galileod.conformance.verdicts import Verdict

MAX_PATIENCE: Final = 600.0
"""Seconds."""
MAX_FILE: Final = 1024 * 1024
"""Bytes of a file that an option names."""
MAX_PORT: Final = 65_535
USERS: Final = 2
"""Tokens that are read."""

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


@attrs.frozen
class Common:
    """What the commands that judge have in common."""

    profiles: tuple[str, ...]
    numbers: tuple[str, ...]
    """Of `--case`; empty: all cases."""
    strict: bool
    expected: Mapping[str, Verdict]
    output: Path
    patience: float


def reads(parse: Callable[[str], Any], default: object = None) -> Callable[..., Any]:
    """A callback for an option: its value is parsed, and what `parse` raises is a usage error."""

    def callback(_context: click.Context, _option: click.Parameter, value: str | None) -> object:
        if value is None:
            return default
        try:
            return parse(value)
        except OSError as error:
            raise click.BadParameter(f"cannot read {value!r}: {error.strerror}.") from None
        except ValueError as error:
            raise click.BadParameter(f"{error}.") from None

    return callback


def parse_program(command: str) -> tuple[str, ...]:
    """The words of a command whose program exists. Raises ValueError."""
    return _existing(split(command))


def parse_stored(value: str) -> Directory | Command:
    """A directory, or a command. Raises ValueError where it is neither."""
    path = Path(value)
    if path.is_dir():
        return Directory(path)
    words = split(value)
    if shutil.which(words[0]) is None:
        raise ValueError(f"{value!r} is neither a directory nor a command")
    return Command(tuple(words))


def parse_profiles(value: str) -> tuple[str, ...]:
    """Profiles between commas. Raises ValueError for an unknown one."""
    profiles = _parts(value)
    for profile in profiles:
        if profile not in PROFILES:
            raise ValueError(f"{profile!r} is none of {', '.join(PROFILES)}")
    return profiles


def read_tokens(value: str) -> tuple[str, ...]:
    """The tokens of the first USERS lines of a file. Raises OSError and ValueError."""
    tokens = tuple(filter(None, (line.strip() for line in _read(value).split("\n"))))[:USERS]
    if not tokens:
        raise ValueError(f"{value!r} has no token")
    return tokens


def read_expected(value: str) -> dict[str, Verdict]:
    """The known failures that a file lists. Raises OSError and ValueError."""
    try:
        return parse_expected(_read(value), frozenset(SERVER_CASES) | frozenset(CLIENT_CASES))
    except ValueError as error:
        raise ValueError(f"{value!r}, {error}") from None


def parse_listen(value: str) -> tuple[str, int]:
    """A host and a port, written as HOST:PORT, [V6]:PORT or PORT. Raises ValueError."""
    host, _, port = value.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > MAX_PORT:
        raise ValueError(f"{value!r} is no address: expected HOST:PORT")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def client_command() -> Decorator:
    """The option of a client that is a command."""
    return click.option(
        "--command",
        "words",
        metavar="COMMAND",
        callback=reads(lambda command: _existing(parse_command(command))),
        help="Judge this command; {url} and {file} in it are replaced. If it can send many files,"
        " the word {files} instead of {file} stands for all paths. Its exit status 0 says success,"
        " of all files. It is not run by a shell.",
    )


def judging(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all commands that judge have."""
    options = (
        click.option("--strict", is_flag=True, help="Count NON-STRICT as a regression."),
        click.option(
            "--output",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path("conformance-report"),
            show_default=True,
            metavar="DIR",
            help="Write the reports into this directory.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def common(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the commands that run cases; see `take_common`."""
    options = (
        click.option(
            "--profile",
            "profiles",
            metavar="LIST",
            callback=reads(parse_profiles, PROFILES),
            help="Run the cases of these profiles: core, resume, next, ask. [default: all]",
        ),
        click.option(
            "--case",
            "numbers",
            metavar="LIST",
            multiple=True,
            help="Run these cases: numbers or their beginnings, such as 3 or 3.2; repeatable.",
        ),
        click.option(
            "--expected",
            metavar="FILE",
            callback=reads(read_expected, MappingProxyType({})),
            help="Known failures, with lines CASE VERDICT # why. One that does not occur is a"
            " regression.",
        ),
        click.option(
            "--patience",
            type=click.FloatRange(0.1, MAX_PATIENCE),
            default=DEFAULT_PATIENCE,
            show_default=True,
            metavar="SECONDS",
            help="Wait so long for a signal.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return judging(function)


def take_common(options: dict[str, Any]) -> Common:
    """What `common` has added."""
    numbers = tuple(number for part in options.pop("numbers") for number in _parts(part))
    return Common(numbers=numbers, **options)


def _parts(value: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in value.split(","))))


def _existing(words: Sequence[str]) -> tuple[str, ...]:
    if shutil.which(words[0]) is None:
        raise ValueError(f"there is no program {words[0]!r}")
    return tuple(words)


def _read(value: str) -> str:
    """A file's text. Raises OSError, and ValueError where it is too long or not UTF-8."""
    with Path(value).open("rb") as file:
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ValueError(f"the file has more than {MAX_FILE} bytes")
    return data.decode("utf-8")
