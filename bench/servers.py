"""The servers that are compared ("peers"): how to start each, and how to upload to it.

Each has its own directory, and stores files in `store` below it.
"""

import hashlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import install_servers
from clients import Connection, Exchange, Part, close_websocket, galileosend, put, tus
from install_servers import UnavailableError
from processes import free_port, running

BENCH = Path(__file__).resolve().parent
Command = Sequence[str | Path]

GALILEOD = """\
log.format = "json"
server.listen = ["127.0.0.1:{port}"]
server.max_connections_per_address = 4096
storage.directory = "{store}"
storage.durability = "{durability}"
storage.min_free = 0
limits.max_file_size = "1TiB"
"""

NGINX = """\
{user}
daemon off;
worker_processes 1;
pid {place}/pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {place}/temp;
    proxy_temp_path {place}/temp;
    fastcgi_temp_path {place}/temp;
    uwsgi_temp_path {place}/temp;
    scgi_temp_path {place}/temp;
    server {{
        listen 127.0.0.1:{port};
        root {place}/store;
        client_max_body_size 0;
        dav_methods PUT;
    }}
}}
"""


class Void(Exception):  # noqa: N818  the result of a run, not an error of the benchmark
    """A run is void: a server or command failed, or the stored files differ from those sent."""


@dataclass(frozen=True)
class Peer:
    """A server to measure.

    `command` returns the command to start it in a directory, on a port and with a durability.
    """

    name: str
    command: Callable[[Path, int, str], Command]
    upload: Callable[[Connection, Part], Exchange]
    missing: str = ""
    """The reason why it is not available; empty if it is."""

    @property
    def is_websocket(self) -> bool:
        """Whether a connection to it ends with a Close frame."""
        return self.upload is galileosend

    @contextmanager
    def started(self, place: Path, durability: str = "none") -> Iterator["Running"]:
        """Start the server on a free port, in the directory `place`, which is removed at the end.

        If the server does not start, `failure` of the result has the reason.
        """
        store, port = place / "store", free_port()
        store.mkdir(parents=True)
        log, pid, failure = place / "log", 0, ""
        try:
            with ExitStack() as stack:
                try:
                    command = self.command(place, port, durability)
                    pid = stack.enter_context(running(command, log, port))
                except (OSError, RuntimeError) as error:
                    failure = f"it does not start: {error}"
                yield Running(self, port, pid, store, log, failure)
        finally:
            shutil.rmtree(place)


@dataclass(frozen=True)
class Running:
    """A running server. If it did not start, `failure` is the reason, and `connect` raises Void."""

    peer: Peer
    port: int
    pid: int
    store: Path
    log: Path
    failure: str

    def connect(self, port: int | None = None) -> Connection:
        """Connect to the server, or to a proxy for it on `port`. Raises Void if it has failed."""
        if self.failure:
            raise Void(self.failure)
        return Connection(("127.0.0.1", port or self.port))

    def close(self, connection: Connection) -> Exchange:
        """Close a connection, with a Close frame if it is a WebSocket."""
        if self.peer.is_websocket:
            yield from close_websocket(connection)

    def check_and_remove(self, parts: Sequence[Part]) -> None:
        """Verify and remove the stored files. Raises Void unless they are what was sent."""
        files = [path for path in self.store.iterdir() if path.is_file()]
        # tus chooses the name of each file, and stores a description in a .json file next to it.
        stored = Counter(_sha1(path) for path in files if path.suffix != ".json")
        for path in files:
            path.unlink()
        if stored != Counter(part.sha1 for part in parts):
            raise Void("the stored files differ from those that were sent")


def _sha1(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def galileod(name: str, program: Command) -> Peer:
    """A build of galileod with the configuration GALILEOD."""

    def command(place: Path, port: int, durability: str) -> Command:
        config = place / "galileod.toml"
        config.write_text(GALILEOD.format(port=port, store=place / "store", durability=durability))
        return [*program, "--config", config]

    return Peer(name, command, galileosend)


def program_of(path: Path) -> Command:
    """The command to start the galileod at `path`, a program or a source directory."""
    if path.is_dir():
        # -P: otherwise a galileod in the current directory would be imported first.
        return ["env", f"PYTHONPATH={path.resolve()}", sys.executable, "-P", "-m", "galileod"]
    return [path.resolve()]


def _script(name: str, file: str) -> Peer:
    def command(place: Path, port: int, _: str) -> Command:
        return [sys.executable, BENCH / file, place / "store", str(port)]

    return Peer(name, command, galileosend)


def _nginx(program: Path) -> Peer:
    def command(place: Path, port: int, _: str) -> Command:
        config = place / "nginx.conf"
        # If nginx is started by root, its worker runs as another user, which cannot write here.
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(NGINX.format(user=user, place=place, port=port))
        return [program, "-p", place, "-e", "stderr", "-c", config]

    return Peer("nginx", command, put)


def _tus(program: Path) -> Peer:
    def command(place: Path, port: int, _: str) -> Command:
        return ["node", program, place / "store", str(port)]

    return Peer("tus", command, tus)


def _copyparty(folder: Path) -> Peer:
    def command(place: Path, port: int, _: str) -> Command:
        start = ["env", f"PYTHONPATH={folder}", f"XDG_CONFIG_HOME={place}", sys.executable, "-P"]
        flags = ["-q", "--no-thumb", "-i", "127.0.0.1", "-p", str(port)]
        # Without --wram it refuses to write to a tmpfs.
        return [*start, "-m", "copyparty", *flags, "--wram", "-v", f"{place / 'store'}::rw"]

    return Peer("copyparty", command, put)


def _to_install(name: str, get: Callable[[], Path], make: Callable[[Path], Peer]) -> Peer:
    try:
        return make(get())
    except UnavailableError as reason:
        return Peer(name, lambda *_: [], put, missing=str(reason))


NAMES = ("galileod", "limit", "naive", "nginx", "tus", "copyparty")
OTHER = "other galileod"


def find(names: Sequence[str], other: Path | None, *, may_install: bool) -> list[Peer]:
    """The peers with these names. Those that are not available have the reason in `missing`."""
    makers: dict[str, Callable[[], Peer]] = {
        "galileod": lambda: galileod("galileod", [Path(sys.executable).with_name("galileod")]),
        "limit": lambda: _script("limit", "minimal_receiver.py"),
        "naive": lambda: _script("naive", "naive_receiver.py"),
        "nginx": lambda: _to_install(
            "nginx", lambda: install_servers.nginx(install=may_install), _nginx
        ),
        "tus": lambda: _to_install("tus", lambda: install_servers.tus(install=may_install), _tus),
        "copyparty": lambda: _to_install(
            "copyparty", lambda: install_servers.copyparty(install=may_install), _copyparty
        ),
    }
    peers = [makers[name]() for name in names]
    if other:
        peers.insert(1, galileod(OTHER, program_of(other)))
    return peers


def available(peers: Sequence[Peer]) -> list[Peer]:
    """The peers that are available."""
    return [peer for peer in peers if not peer.missing]


def galileod_builds(peers: Sequence[Peer]) -> list[Peer]:
    """The peers that are builds of galileod."""
    return [peer for peer in peers if peer.name in ("galileod", OTHER)]
