"""The cases: their numbers and what they need, by role."""

import re
from collections.abc import Awaitable, Callable, Collection
from typing import Final, Literal

import attrs

from galileod.conformance.client import Client
from galileod.conformance.judge import Judge
from galileod.conformance.requirements import LEVELS
from galileod.conformance.server import Server

Profile = Literal["core", "resume", "next", "ask"]
PROFILES: Final[tuple[Profile, ...]] = ("core", "resume", "next", "ask")
SERVER_NEEDS: Final = frozenset({"listing", "restart", "kill", "token", "other_token"})
"""What the command line may give for a server; `--stored` is always there."""
CLIENT_NEEDS: Final = frozenset({"command", "files"})
"""`command`: the client is a command, not a browser; `files`: it sends many files at once."""
DEFAULT_SECONDS: Final = 60.0
"""The time limit of a case: a correct peer that takes a tenth of the patience for each signal keeps
it."""
MANY_SECONDS: Final = 240.0
"""The time limit of a case with some hundred signals."""
RESTART_SECONDS: Final = 90.0
"""The time limit of a case that restarts the server, or kills it."""

ServerRun = Callable[[Server, Judge], Awaitable[None]]
ClientRun = Callable[[Client, Judge], Awaitable[None]]

_NUMBER: Final = re.compile(r"(\d+)\.([12])\.(\d+)")
_ROLES: Final = {"1": "S", "2": "C"}


@attrs.frozen
class Case:
    """What all cases have."""

    number: str
    """`section.role.n`; role 1 judges a server, 2 a client."""
    title: str
    """One sentence."""
    requirements: tuple[str, ...]
    profile: Profile
    needs: frozenset[str]
    seconds: float
    """The time limit with the default patience; with a longer patience, it is longer too."""

    @property
    def key(self) -> tuple[int, ...]:
        """For sorting by number."""
        return tuple(int(part) for part in self.number.split("."))


@attrs.frozen
class ServerCase(Case):
    """Judges a server."""

    run: ServerRun


@attrs.frozen
class ClientCase(Case):
    """Judges a client."""

    run: ClientRun


SERVER_CASES: Final[dict[str, ServerCase]] = {}
CLIENT_CASES: Final[dict[str, ClientCase]] = {}


def server_case(
    number: str,
    title: str,
    *,
    requirements: Collection[str],
    profile: Profile = "core",
    needs: Collection[str] = (),
    seconds: float | None = None,
) -> Callable[[ServerRun], ServerRun]:
    """Register a function as a case that judges a server.

    Without requirements, the case describes what the server does: its verdict is INFO.
    Raises ValueError for a number that is taken or not of this role, and for an unknown requirement
    or need.
    """
    _validate(number, "1", requirements, needs, SERVER_NEEDS)
    restarts = not {"restart", "kill"}.isdisjoint(needs)
    limit = seconds or (RESTART_SECONDS if restarts else DEFAULT_SECONDS)

    def register(run: ServerRun) -> ServerRun:
        SERVER_CASES[number] = ServerCase(
            number, title, tuple(requirements), profile, frozenset(needs), limit, run
        )
        return run

    return register


def client_case(
    number: str,
    title: str,
    *,
    requirements: Collection[str],
    profile: Profile = "core",
    needs: Collection[str] = (),
    seconds: float | None = None,
) -> Callable[[ClientRun], ClientRun]:
    """Register a function as a case that judges a client; see `server_case`."""
    _validate(number, "2", requirements, needs, CLIENT_NEEDS)
    limit = seconds or DEFAULT_SECONDS

    def register(run: ClientRun) -> ClientRun:
        CLIENT_CASES[number] = ClientCase(
            number, title, tuple(requirements), profile, frozenset(needs), limit, run
        )
        return run

    return register


def _validate(
    number: str,
    role: str,
    requirements: Collection[str],
    needs: Collection[str],
    known: frozenset[str],
) -> None:
    match = _NUMBER.fullmatch(number)
    if match is None or match[2] != role:
        raise ValueError(f"{number} is no number of a case of role {role}")
    if number in SERVER_CASES or number in CLIENT_CASES:
        raise ValueError(f"the number {number} is taken")
    if unknown := [r for r in requirements if r not in LEVELS or r[0] != _ROLES[role]]:
        raise ValueError(f"case {number}: no such requirement: {', '.join(unknown)}")
    if unknown := sorted(set(needs) - known):
        raise ValueError(f"case {number}: no such need: {', '.join(unknown)}")
