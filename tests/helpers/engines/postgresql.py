"""PostgreSQL, on a port of loopback and on a unix socket in its folder."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final, LiteralString
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Composed, Identifier

from .engine import Engine, Server

DEBIAN: Final = Path("/usr/lib/postgresql")
"""Where Debian has the programs, below the version, outside of PATH."""

NOBODY: Final = 65534
"""Who runs it if root runs the tests: the server refuses to run as root."""

ADMINISTRATOR: Final = "postgres"

SECRETIVE: Final = "galileod"

PASSWORD: Final = "a secret"  # noqa: S105  this is what tests know it by

ACCESS: Final = """
local all all trust
host all trusted 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""
"""The user `trusted` needs no password on the port, the others do; on the socket nobody does."""

FAST: Final = ("fsync=off", "full_page_writes=off")
"""A crash of the machine loses all, a crash of the server nothing."""

SETTINGS: Final = (
    "listen_addresses=127.0.0.1", "max_connections=200", "shared_buffers=64MB",
    "autovacuum=off", "log_min_messages=warning", "log_statement=none",
)  # fmt: skip


class Postgresql(Engine):
    """The process is `server`, which `spawn_server` starts again after it was killed."""

    name: ClassVar[str] = "postgresql"
    programs: ClassVar[Sequence[str]] = ("initdb", "postgres", "setpriv")
    needs: ClassVar[str] = "Debian's package postgresql"

    @classmethod
    def program(cls, name: str) -> str | None:
        """See Engine. The newest version is taken."""
        found = sorted(DEBIAN.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
        return str(found[-1]) if found else super().program(name)

    def start(self) -> Server:
        """See Engine."""
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
        self.server = Server(f"postgresql://trusted@127.0.0.1:{self.port()}/", SECRETIVE, PASSWORD)
        self.run(
            *_unprivileged(), str(self.program("initdb")), "--pgdata=data", "--auth=trust",
            f"--username={ADMINISTRATOR}", "--no-locale", "--encoding=UTF8", "--no-sync",
            "--no-instructions",
        )  # fmt: skip
        (self.folder / "data/pg_hba.conf").write_text(ACCESS)
        self.spawn_server()
        self.execute("CREATE ROLE trusted LOGIN CREATEDB")
        self.execute(f"CREATE ROLE {SECRETIVE} LOGIN CREATEDB PASSWORD '{PASSWORD}'")
        return self.server

    def spawn_server(self, *settings: str) -> None:
        """Start the server, also one that was killed; returns once it answers."""
        options = [f"-c{one}" for one in (*SETTINGS, *(settings or FAST))]
        self.spawn(
            "server", *_unprivileged(), str(self.program("postgres")), "-D", "data",
            "-k", str(self.folder), "-p", str(self._port), *options,
        )  # fmt: skip
        self.await_true("PostgreSQL", self._answers)

    def kill(self, name: str) -> None:
        """End the server with all of its processes, which would see its end a little later."""
        children = self._children()
        super().kill(name)
        for process in children:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has seen it
        self.await_true("its end", lambda: not any(map(_is_running, children)))

    def hang(self) -> None:
        """Stop the server and its processes, until `go_on`. What is sent to it is acknowledged."""
        self.signal("server", signal.SIGSTOP)  # so that it starts no more of them
        for process in self._children():
            os.kill(process, signal.SIGSTOP)

    def go_on(self) -> None:
        """End `hang`."""
        for process in self._children():
            os.kill(process, signal.SIGCONT)
        self.signal("server", signal.SIGCONT)

    def local(self, database: str) -> str:
        """The URL of a database for the administrator, at the unix socket."""
        return f"postgresql://{ADMINISTRATOR}@/{database}?host={self.folder}&port={self._port}"

    def execute(self, statement: LiteralString | Composed, database: str = "postgres") -> None:
        """Execute a statement of the administrator."""
        with psycopg.connect(self.local(database), autocommit=True) as connection:
            connection.execute(statement)

    def new_database(self, options: LiteralString = "", user: str = "trusted") -> str:
        """The URL of a new, empty database, for its owner."""
        name = f"test_{uuid4().hex}"
        create = SQL("CREATE DATABASE {} OWNER {} " + options)
        self.execute(create.format(Identifier(name), Identifier(user)))
        return f"{self.server.url.replace('trusted', user)}{name}"

    def _children(self) -> list[int]:
        server = self._processes["server"].pid
        try:
            children = Path(f"/proc/{server}/task/{server}/children").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return []  # it has ended
        return [int(one) for one in children.split()]

    def new_schema(self, database: str) -> str:
        """The URL of a new, empty schema of a database, which is faster to make."""
        name = f"test_{uuid4().hex}"
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(name)))
        return f"{database}?options=-csearch_path%3D{name}"

    @property
    def _port(self) -> int:
        return urlsplit(self.server.url).port or 0

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.local("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def _is_running(process: int) -> bool:
    """Whether it has files and memory still; nobody may have waited for one that has not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _unprivileged() -> list[str]:
    """What precedes a command that must not run as root, and what it sets up to end with this."""
    if os.geteuid() != 0:
        return []
    return [
        "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
        "--pdeathsig=KILL", "--",
    ]  # fmt: skip
