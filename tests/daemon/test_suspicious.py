"""What check-config warns about, although it is valid."""

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from attrs import evolve
from helpers.certificates import make_certificate

from galileod.auth.settings import Auth, Modes, TicketSettings
from galileod.auth.tokens import make_token, write_tokens
from galileod.config.file import Reading
from galileod.config.flags import Flags, with_flags
from galileod.config.model import Config
from galileod.daemon.prepare import prepare
from galileod.daemon.suspicious import find_suspicious
from galileod.net.addresses import TcpAddress, UnixAddress, parse_address, parse_network
from galileod.net.settings import Metrics, Server, Tls
from galileod.policy.settings import Chunks, Limits, Quota, Resume
from galileod.storage.settings import S3, Storage
from galileod.units import Duration, Size

NOW = datetime.now(UTC)
EVERYBODY = (parse_network("10.0.0.0/8"), parse_network("::/0"))
REACHABLE = Server(listen=(TcpAddress("127.0.0.1", 1), TcpAddress("192.0.2.1", 1)))


@pytest.fixture
def plain(tmp_path: Path) -> Config:
    """A configuration that nothing is suspicious about."""
    return Config(storage=Storage(directory=str(tmp_path), min_free=Size(0)))


def warnings(config: Config, source: str | None = None) -> list[str]:
    reading = Reading(config, source)
    return find_suspicious(reading, prepare(reading))


def write_token_file(path: Path, *lifetimes: int) -> Auth:
    """A configuration with tokens that are valid for so many seconds."""
    tokens = [make_token("anna", NOW, NOW + timedelta(seconds=each))[1] for each in lifetimes]
    path.write_bytes(write_tokens(tokens))
    path.chmod(0o640)
    return Auth(Modes(("token",)), str(path))


def test_an_ordinary_configuration_is_not_suspicious(plain: Config, tmp_path: Path) -> None:
    assert warnings(plain) == []
    auth = write_token_file(tmp_path / "tokens", -1, 1000)
    reachable = evolve(
        plain, auth=auth, server=evolve(REACHABLE, trusted_proxies=(parse_network("10.0.0.0/8"),))
    )
    assert warnings(reachable) == []
    certificate = make_certificate(tmp_path)
    certificate.key.chmod(0o640)
    tls = Tls(str(certificate.chain), str(certificate.key))
    assert warnings(evolve(reachable, server=REACHABLE, tls=tls)) == []
    proxied = (parse_address("0.0.0.0:1 proxy_protocol"),)
    assert warnings(evolve(reachable, server=Server(listen=proxied))) == []
    small = Limits(max_file_size=Size(10))
    quota = Quota(total_bytes=Size(10), user_bytes=Size(11))
    off = Resume(keep=Duration(0))
    assert warnings(evolve(plain, limits=small, quota=quota, resume=off)) == []


OPEN = Auth(Modes(("none",)))

Change = Callable[[Config], Config]


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (
            lambda plain: evolve(plain, quota=Quota(user_bytes=Size(5 << 30))),
            ["quota.user_bytes: '5GiB': is less than limits.max_file_size (10GiB), so no"],
        ),
        (
            lambda plain: evolve(plain, quota=Quota(total_bytes=Size(0))),
            ["quota.total_bytes: 0: is less than limits.max_file_size (10GiB), so no"],
        ),
        (
            lambda plain: evolve(plain, limits=Limits(max_file_size=Size(1024))),
            ["resume.min_size: '1MiB': is more than limits.max_file_size (1KiB), so no"],
        ),
        (
            lambda plain: evolve(plain, chunks=Chunks(memory=Size(1 << 60))),
            ["chunks.memory: '1048576TiB': is more than the memory of this machine ("],
        ),
        (
            lambda plain: evolve(plain, storage=evolve(plain.storage, min_free=Size(1 << 60))),
            ["storage.min_free: '1048576TiB': is more than the size of the disk ("],
        ),
        (
            lambda plain: evolve(plain, server=REACHABLE, auth=OPEN),
            [
                "auth.mode: 'none': everybody who can connect to 192.0.2.1:1 may upload",
                "server.listen: ['127.0.0.1:1', '192.0.2.1:1']: without [tls], files",
            ],
        ),
        (
            lambda plain: evolve(plain, server=Server(trusted_proxies=EVERYBODY)),
            ["server.trusted_proxies: ['10.0.0.0/8', '::/0']: every client may claim"],
        ),
        (
            lambda plain: evolve(plain, metrics=Metrics(EVERYBODY)),
            ["metrics.allow: ['10.0.0.0/8', '::/0']: everybody who can connect may read /metrics"],
        ),
        (
            lambda plain: evolve(plain, server=Server(allowed_origins=("*",))),
            ["server.allowed_origins: ['*']: every web page that a user opens may upload, since"],
        ),
        (
            lambda plain: evolve(
                plain,
                auth=Auth(tokens_file="/x", ticket=TicketSettings(audience="here")),
            ),
            [
                "auth.tokens_file: '/x': is not used, since auth.mode does not contain \"token\"",
                "auth.ticket.audience: 'here': is not used, since auth.mode does not",
            ],
        ),
        (
            lambda plain: evolve(
                plain, storage=evolve(plain.storage, s3=S3("bucket", region="eu"))
            ),
            [
                "storage.s3.bucket: 'bucket': is not used, since storage.backend is not \"s3\"",
                "storage.s3.region: 'eu': is not used, since storage.backend is not \"s3\"",
            ],
        ),
        (
            lambda plain: evolve(
                plain, storage=evolve(plain.storage, backend="s3", s3=S3("bucket"))
            ),
            [],
        ),
    ],
)
def test_a_suspicious_value_is_told_with_the_reason(
    plain: Config, tmp_path: Path, change: Change, lines: list[str]
) -> None:
    file = tmp_path / "galileod.toml"
    file.touch(0o640)
    told = warnings(change(plain), str(file))
    assert len(told) == len(lines)
    for line, expected in zip(told, lines, strict=True):
        assert line.startswith(f"{file}: {expected}")
        assert line.isprintable()


def test_a_unix_socket_that_cannot_be_created_is_told(plain: Config, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(tmp_path / "old"))
    fine = (f"{tmp_path}/new", f"{tmp_path}/old", "/run/no-such-service/x", "/var/run/none/x")
    wrong = (f"{tmp_path}/file", f"{tmp_path}/none/x", f"{tmp_path}/file/x")
    listen = tuple(UnixAddress(path) for path in (*fine, *wrong))
    told = warnings(evolve(plain, server=Server(listen=listen)))
    assert [line.rpartition(": ")[2] for line in told] == [
        f"{tmp_path}/file exists and is not a socket",
        f"{tmp_path}/none is not a directory that exists",
        f"{tmp_path}/file is not a directory that exists",
    ]


def test_a_directory_that_does_not_exist_is_told_with_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reading = with_flags(Reading(Config(storage=Storage(min_free=Size(0)))), Flags(directory="new"))
    (line,) = find_suspicious(reading, prepare(reading))
    assert line == (
        f"--directory: 'new': {tmp_path}/new does not exist; it is created at the start"
    )


@pytest.mark.parametrize("lifetimes", [None, (), (-1, -2)])
def test_a_token_file_without_a_valid_token_is_told(
    plain: Config, tmp_path: Path, lifetimes: tuple[int, ...] | None
) -> None:
    path = tmp_path / "tokens"
    auth = write_token_file(path, *(lifetimes or ()))
    if lifetimes is None:
        path.unlink()
    assert warnings(evolve(plain, auth=auth)) == [
        f"auth.tokens_file: '{path}': has no token that is valid"
    ]


@pytest.mark.parametrize(
    ("begin", "end", "told"),
    [(-20, -10, "has expired on "), (10, 20, "is valid only from ")],
)
def test_a_certificate_that_is_not_valid_now_is_told(
    plain: Config, tmp_path: Path, begin: int, end: int, told: str
) -> None:
    issued = trustme.CA().issue_cert(
        "localhost",
        not_before=NOW + timedelta(days=begin),
        not_after=NOW + timedelta(days=end),
    )
    pem, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(pem)
    issued.private_key_pem.write_to_path(key)
    key.chmod(0o600)
    (line,) = warnings(evolve(plain, tls=Tls(str(pem), str(key))))
    day = NOW + timedelta(days=end if end < 0 else begin)
    assert line == f"tls.certificate: '{pem}': {told}{day:%Y-%m-%d}"


def test_a_key_that_every_user_may_read_is_told(plain: Config, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    certificate.key.chmod(0o644)
    (line,) = warnings(evolve(plain, tls=Tls(str(certificate.chain), str(certificate.key))))
    assert line == f"tls.key: '{certificate.key}': has mode 0644, so every user may read it"


def test_a_file_that_every_user_may_change_is_told(plain: Config, tmp_path: Path) -> None:
    file = tmp_path / "galileod.toml"
    file.touch()
    file.chmod(0o646)
    assert warnings(plain, str(file)) == [f"{file}: has mode 0646, so every user may change it"]
    assert warnings(plain, os.devnull) == []
