"""The configuration as one value: its defaults, and all of its keys."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from attrs import evolve
from helpers.configs import setting, written

from galileod.auth.settings import Auth, Modes, TicketSettings
from galileod.config.file import load
from galileod.config.model import Config
from galileod.hooks.settings import Hooks
from galileod.ledger.settings import Ledger
from galileod.logs.settings import Log
from galileod.net.addresses import TcpAddress, UnixAddress
from galileod.net.settings import Metrics, Server, Timeouts, Tls
from galileod.policy.settings import (
    Chunks,
    Hash,
    Limits,
    Quota,
)
from galileod.storage.settings import S3, Storage
from galileod.units import Duration, Size


def test_no_file_gives_the_defaults() -> None:
    assert load(None) == Config()


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(written(tmp_path, "")) == Config()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("server.listen", (TcpAddress("127.0.0.1", 8750),)),
        ("server.paths", ("/", "/upload")),
        ("server.max_connections", 4096),
        ("server.max_connections_per_address", 256),
        ("server.allowed_origins", ()),
        ("server.trusted_proxies", ()),
        ("server.drain_timeout", 30.0),
        ("tls.certificate", None),
        ("tls.key", None),
        ("timeouts.handshake", 10.0),
        ("timeouts.metadata", 10.0),
        ("timeouts.idle", 60.0),
        ("timeouts.close", 5.0),
        ("timeouts.ping", 20.0),
        ("limits.max_file_size", 10 << 30),
        ("limits.min_rate", 1024),
        ("quota.total_bytes", None),
        ("quota.total_files", None),
        ("quota.user_bytes", None),
        ("quota.user_files", None),
        ("quota.user_uploads", None),
        ("hooks.stored", ()),
        ("hooks.timeout", 30),
        ("hooks.parallel", 4),
        ("hooks.removed", ()),
        ("hooks.admit", ()),
        ("hooks.admit_timeout", 5),
        ("hooks.admit_parallel", 16),
        ("hooks.admit_failure", "refuse"),
        ("hooks.secret_file", None),
        ("chunks.min", 64 << 10),
        ("chunks.max", 8 << 20),
        ("chunks.max_in_flight", 16),
        ("chunks.memory", 256 << 20),
        ("storage.backend", "local"),
        ("storage.directory", "uploads"),
        ("storage.on_conflict", "rename"),
        ("storage.min_free", 1 << 30),
        ("storage.durability", "full"),
        ("storage.layout", "{folder}/{name}"),
        ("storage.keep_modified", True),
        ("storage.ask", "users"),
        ("storage.retention", None),
        ("hash.required", False),
        ("log.level", "info"),
        ("log.format", "auto"),
        ("metrics.allow", (IPv4Network("127.0.0.0/8"), IPv6Network("::1"))),
    ],
)
def test_a_default_is_the_documented_one(key: str, value: object) -> None:
    section, _, name = key.rpartition(".")
    assert getattr(getattr(Config(), section), name) == value


def test_every_key_may_be_set(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [server]
        listen = ["0.0.0.0:1", "[::1]:2 proxy_protocol", "unix:/run/x"]
        paths = ["/a"]
        max_connections = 3
        max_connections_per_address = 2
        allowed_origins = ["https://example.org"]
        trusted_proxies = ["10.0.0.0/8", "::1"]
        drain_timeout = 0
        [tls]
        certificate = "/etc/chain.pem"
        key = "/etc/key.pem"
        [timeouts]
        handshake = "500ms"
        metadata = "2h"
        idle = 1.5
        close = 7
        [limits]
        max_file_size = "5MB"
        min_rate = 0
        [quota]
        total_bytes = "1TiB"
        total_files = 1
        user_bytes = 2
        user_files = 3
        user_uploads = 0
        [chunks]
        min = "1KiB"
        max = 1024
        max_in_flight = 1
        memory = 33554432
        [storage]
        backend = "s3"
        directory = "/srv/x"
        layout = "in/{user}/{name}"
        on_conflict = "replace"
        min_free = 0
        durability = "none"
        keep_modified = false
        ask = "everybody"
        retention = "30d"
        [storage.s3]
        bucket = "a-bucket"
        prefix = "uploads"
        endpoint = "https://s3.example.org:9000"
        region = "eu-central-1"
        style = "path"
        credentials_file = "/etc/s3"
        part_size = "16MiB"
        [ledger]
        url = "postgresql://galileod@db.example.org/galileod"
        password_file = "/etc/password"
        [hash]
        required = true
        [auth]
        mode = ["ticket", "token"]
        tokens_file = "/etc/t"
        [auth.ticket]
        algorithm = "EdDSA"
        key_file = "/etc/k"
        audience = "here"
        [hooks]
        stored = "https://example.org/stored"
        timeout = "5s"
        parallel = 2
        secret_file = "/etc/secret"
        [log]
        level = "debug"
        format = "json"
        [metrics]
        allow = ["192.0.2.0/24"]
        """,
    )
    assert load(path) == Config(
        server=Server(
            listen=(
                TcpAddress("0.0.0.0", 1),  # noqa: S104
                TcpAddress("::1", 2, proxy_protocol=True),
                UnixAddress("/run/x"),
            ),
            paths=("/a",),
            max_connections=3,
            max_connections_per_address=2,
            allowed_origins=("https://example.org",),
            trusted_proxies=(IPv4Network("10.0.0.0/8"), IPv6Network("::1/128")),
            drain_timeout=Duration(0),
        ),
        tls=Tls("/etc/chain.pem", "/etc/key.pem"),
        timeouts=Timeouts(Duration(0.5), Duration(7200), Duration(1.5), Duration(7)),
        limits=Limits(Size(5_000_000), Size(0)),
        quota=Quota(Size(1 << 40), 1, Size(2), 3, 0),
        chunks=Chunks(Size(1024), Size(1024), 1, Size(32 << 20)),
        storage=Storage(
            "s3",
            "/srv/x",
            "in/{user}/{name}",
            "replace",
            Size(0),
            "none",
            keep_modified=False,
            ask="everybody",
            retention=Duration(30 * 86400),
            s3=S3(
                "a-bucket",
                "uploads/",
                "https://s3.example.org:9000",
                "eu-central-1",
                "path",
                "/etc/s3",
                Size(16 << 20),
            ),
        ),
        ledger=Ledger("postgresql://galileod@db.example.org/galileod", "/etc/password"),
        hash=Hash(required=True),
        auth=Auth(Modes(("token", "ticket")), "/etc/t", TicketSettings("EdDSA", "/etc/k", "here")),
        hooks=Hooks(
            stored="https://example.org/stored",
            timeout=Duration(5),
            parallel=2,
            secret_file="/etc/secret",  # noqa: S106  a path
        ),
        log=Log("debug", "json"),
        metrics=Metrics((IPv4Network("192.0.2.0/24"),)),
    )


def test_a_key_that_is_not_set_keeps_its_default(tmp_path: Path) -> None:
    config = load(written(tmp_path, setting("chunks.max_in_flight", "3")))
    assert config == evolve(Config(), chunks=Chunks(max_in_flight=3))
