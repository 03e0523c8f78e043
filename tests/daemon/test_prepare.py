"""Preparation: what is made from a configuration, and how a file that is unusable is reported."""

import os
import sys
import tomllib
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import pytest
from attrs import evolve
from helpers.certificates import make_certificate

from galileod.auth.settings import Auth, Modes, TicketSettings
from galileod.auth.tokens import make_token, write_tokens
from galileod.config.file import Reading
from galileod.config.flags import Flags, with_flags
from galileod.config.model import Config, ConfigError
from galileod.daemon.prepare import prepare
from galileod.hooks.settings import Hooks
from galileod.ledger.settings import Ledger
from galileod.net.settings import Server, Tls
from galileod.storage.settings import S3, Storage

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A configuration that names a file of each kind."""
    certificate = make_certificate(tmp_path)
    for name in ("secret", "ticket"):
        (tmp_path / name).write_text("x" * 40)
        (tmp_path / name).chmod(0o600)
    _, token = make_token("anna", datetime.now(UTC))
    (tmp_path / "tokens").write_bytes(write_tokens([token]))
    (tmp_path / "tokens").chmod(0o600)
    return Config(
        tls=Tls(str(certificate.chain), str(certificate.key)),
        auth=Auth(
            Modes(("token", "ticket")),
            str(tmp_path / "tokens"),
            TicketSettings("HS256", str(tmp_path / "ticket"), "here"),
        ),
        hooks=Hooks("https://example.org/", secret_file=str(tmp_path / "secret")),
    )


def test_everything_that_is_configured_is_made(config: Config) -> None:
    prepared = prepare(Reading(config, "x.toml"))
    assert (prepared.config, prepared.source) == (config, "x.toml")
    assert prepared.tls is not None
    assert prepared.authenticator.tokens is not None
    assert prepared.authenticator.ticket_key is not None
    assert {"/", "/galileo.js"} <= prepared.static.keys()


def test_what_is_not_configured_is_not_made() -> None:
    prepared = prepare(Reading(Config(server=Server(page=False))))
    assert prepared.tls is None
    assert prepared.authenticator.is_open
    assert not prepared.static


def test_each_file_is_read_once(config: Config, tmp_path: Path) -> None:
    opened, real = Counter[str](), os.open

    def count(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        opened[path] += 1
        return real(path, flags, mode, dir_fd=dir_fd)

    with patch("os.open", count):
        prepared = prepare(Reading(config, "x.toml"))
        assert prepared.authenticator.tokens
        assert len(prepared.authenticator.tokens.read()) == 1, "the tokens are there already"
    assert {name: opened[str(tmp_path / name)] for name in ("tokens", "ticket", "secret")} == {
        "tokens": 1,
        "ticket": 1,
        "secret": 1,
    }


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("auth.tokens_file", "tokens"),
        ("auth.ticket.key_file", "ticket"),
        ("hooks.secret_file", "secret"),
        ("tls.certificate", "chain.pem"),
        ("tls.key", "key.pem"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_key(
    config: Config, tmp_path: Path, key: str, name: str
) -> None:
    path = tmp_path / name
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError) as error:
        prepare(Reading(config, "x.toml"))
    assert str(error.value).startswith(f"x.toml: {key}: {path}: ")


def test_a_file_of_credentials_is_read_for_the_object_storage_alone(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    storage = Storage("s3", str(tmp_path), s3=S3("bucket", credentials_file=str(keys)))
    with pytest.raises(ConfigError) as error:
        prepare(Reading(Config(storage=storage), "x.toml"))
    reason = "cannot be read: No such file or directory"
    assert str(error.value) == f"x.toml: storage.s3.credentials_file: {keys}: {reason}"
    prepare(Reading(Config(storage=evolve(storage, backend="local")), "x.toml"))


def test_a_library_that_is_missing_is_named(tmp_path: Path) -> None:
    storage = Storage("s3", str(tmp_path), s3=S3("bucket"))
    prepare(Reading(Config(storage=storage), "x.toml"))
    with (
        patch("galileod.daemon.prepare.find_spec", lambda _name: None),
        pytest.raises(ConfigError) as error,
    ):
        prepare(Reading(Config(storage=storage), "x.toml"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extra,) = project["optional-dependencies"]["s3"]
    install = f"{sys.executable} -m pip install '{extra}'"
    reason = f'"s3": needs the Python package botocore: {install}'
    assert str(error.value) == f"x.toml: storage.backend: {reason}"


def test_a_library_of_the_database_that_is_missing_is_named(tmp_path: Path) -> None:
    ledger = Ledger("postgresql://host/name")
    config = Config(storage=Storage(directory=str(tmp_path)), ledger=ledger)
    prepare(Reading(config, "x.toml"))
    with (
        patch("galileod.daemon.prepare.find_spec", lambda _name: None),
        pytest.raises(ConfigError) as error,
    ):
        prepare(Reading(config, "x.toml"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extra,) = project["optional-dependencies"]["postgresql"]
    install = f"{sys.executable} -m pip install '{extra}'"
    reason = f"needs the Python package psycopg: {install}"
    assert str(error.value) == f"x.toml: ledger.url: {reason}"


def test_a_file_that_others_may_read_is_reported_with_the_mode_that_is_expected(
    config: Config, tmp_path: Path
) -> None:
    (tmp_path / "secret").chmod(0o644)
    with pytest.raises(ConfigError, match=r"hooks\.secret_file: .*0644.*expected 0640"):
        prepare(Reading(config, "x.toml"))
    prepare(Reading(evolve(config, hooks=Hooks()), "x.toml"))


def test_all_mistakes_are_reported_together(config: Config, tmp_path: Path) -> None:
    for name in ("tokens", "ticket", "secret"):
        (tmp_path / name).chmod(0o644)
    broken = evolve(
        config,
        tls=Tls(str(tmp_path / "a"), str(tmp_path / "b")),
        storage=Storage(directory=str(tmp_path / "ticket" / "files")),
        hooks=evolve(
            config.hooks,
            stored=("/nowhere/program", "secret word"),
            removed=("/nowhere/program", "secret word"),
            admit=("/nowhere/program", "secret word"),
        ),
    )
    with pytest.raises(ConfigError) as error:
        prepare(Reading(broken, "x.toml", ["x.toml: log.level: 1: expected another"]))
    assert [mistake.split(": ")[:2] for mistake in error.value.mistakes] == [
        ["x.toml", key]
        for key in (
            "log.level",
            "auth.tokens_file",
            "auth.ticket.key_file",
            "tls.certificate",
            "tls.key",
            "storage.directory",
            "hooks.stored",
            "hooks.removed",
            "hooks.admit",
            "hooks.secret_file",
        )
    ]
    assert "secret word" not in str(error.value)


def test_a_value_that_is_known_to_be_wrong_is_not_used(config: Config) -> None:
    broken = evolve(config, tls=Tls("", "/nowhere"), server=Server(paths=()))
    wrong = frozenset({"tls.certificate", "server.paths"})
    with pytest.raises(ConfigError) as error:
        prepare(Reading(broken, "x.toml", ["one", "other"], wrong))
    assert error.value.mistakes == ("one", "other")


def test_a_mistake_in_a_flag_names_the_flag(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as error:
        prepare(with_flags(Reading(Config()), Flags(directory=str(tmp_path / "file"))))
    assert str(error.value).startswith(f"--directory: {tmp_path}/file: ")
