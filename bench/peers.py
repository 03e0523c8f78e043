"""The servers that are compared: how to start each, and how to upload to it."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import install_servers
from clients import galileosend, put, tus
from install_servers import UnavailableError
from servers import OTHER, Command, Peer, Setup

BENCH = Path(__file__).resolve().parent

NAMES = ("galileod", "limit", "naive", "nginx", "tus", "copyparty")

GALILEOD = """\
log.format = "json"
server.listen = ["127.0.0.1:{port}"]
server.max_connections_per_address = 4096
storage.directory = "{store}"
storage.durability = "{durability}"
storage.min_free = 0
limits.max_file_size = "1TiB"
"""
GALILEOD_TLS = """\
tls.certificate = "{certificate}"
tls.key = "{certificate}"
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
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{port}{tls};
        root {place}/store;
        client_max_body_size 0;
        dav_methods PUT;
    }}
}}
"""


NGINX_TLS = (
    " ssl; ssl_protocols TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {certificate}"
)


def galileod(name: str, program: Command) -> Peer:
    """A build of galileod with the configuration GALILEOD."""

    def command(setup: Setup) -> Command:
        config = setup.place / "galileod.toml"
        text = GALILEOD + (GALILEOD_TLS if setup.certificate else "")
        config.write_text(
            text.format(
                port=setup.port,
                store=setup.store,
                durability=setup.durability,
                certificate=setup.certificate,
            )
        )
        return [*program, "--config", config]

    return Peer(name, command, galileosend)


def program_of(path: Path) -> Command:
    """The command to start the galileod at `path`, a program or a source directory."""
    if path.is_dir():
        # -P: otherwise a galileod in the current directory would be imported first.
        return ["env", f"PYTHONPATH={path.resolve()}", sys.executable, "-P", "-m", "galileod"]
    return [path.resolve()]


def _script(name: str, file: str) -> Peer:
    def command(setup: Setup) -> Command:
        return [sys.executable, BENCH / file, setup.store, str(setup.port)]

    return Peer(name, command, galileosend)


def _nginx(program: Path) -> Peer:
    def command(setup: Setup) -> Command:
        config = setup.place / "nginx.conf"
        # If nginx is started by root, its worker runs as another user, which cannot write here.
        user = "user root;" if os.geteuid() == 0 else ""
        tls = NGINX_TLS.format(certificate=setup.certificate) if setup.certificate else ""
        config.write_text(NGINX.format(user=user, place=setup.place, port=setup.port, tls=tls))
        return [program, "-p", setup.place, "-e", "stderr", "-c", config]

    return Peer("nginx", command, put)


def _tus(program: Path) -> Peer:
    def command(setup: Setup) -> Command:
        return ["node", program, setup.store, str(setup.port)]

    return Peer("tus", command, tus)


def _copyparty(folder: Path) -> Peer:
    def command(setup: Setup) -> Command:
        home = f"XDG_CONFIG_HOME={setup.place}"
        start = ["env", f"PYTHONPATH={folder}", home, sys.executable, "-P", "-m", "copyparty"]
        flags = ["-q", "--no-thumb", "-i", "127.0.0.1", "-p", str(setup.port)]
        # Without --wram it refuses to write to a tmpfs.
        return [*start, *flags, "--wram", "-v", f"{setup.store}::rw"]

    return Peer("copyparty", command, put)


def to_install(name: str, get: Callable[[], Path], make: Callable[[Path], Peer]) -> Peer:
    try:
        return make(get())
    except UnavailableError as reason:
        return Peer(name, lambda *_: [], put, missing=str(reason))


def find(names: Sequence[str], other: Path | None, *, may_install: bool) -> list[Peer]:
    """The peers with these names. Those that are not available have the reason in `missing`."""
    makers: dict[str, Callable[[], Peer]] = {
        "galileod": lambda: galileod("galileod", [Path(sys.executable).with_name("galileod")]),
        "limit": lambda: _script("limit", "minimal_receiver.py"),
        "naive": lambda: _script("naive", "naive_receiver.py"),
        "nginx": lambda: to_install(
            "nginx", lambda: install_servers.nginx(install=may_install), _nginx
        ),
        "tus": lambda: to_install("tus", lambda: install_servers.tus(install=may_install), _tus),
        "copyparty": lambda: to_install(
            "copyparty", lambda: install_servers.copyparty(install=may_install), _copyparty
        ),
    }
    peers = [makers[name]() for name in names]
    if other:
        peers.insert(1, galileod(OTHER, program_of(other)))
    return peers
