"""A configuration that is printed reads back to the same."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any, get_args

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.auth.settings import Algorithm, Auth, Modes, TicketSettings
from galileod.config.file import dump, load
from galileod.config.model import KEYS, Config
from galileod.hooks.settings import (
    MAX_ADMIT_PARALLEL,
    MAX_ADMIT_TIMEOUT,
    MAX_PARALLEL,
    AdmitFailure,
    Hooks,
)
from galileod.ledger.settings import Ledger
from galileod.logs.settings import Log, LogFormat, LogLevel
from galileod.net.addresses import TcpAddress, UnixAddress
from galileod.net.settings import Metrics, Server, Timeouts, Tls, clashes
from galileod.policy.publication import Durability, OnConflict
from galileod.policy.settings import (
    MAX_CHUNK,
    MAX_IN_FLIGHT,
    MIN_CHUNK,
    Chunks,
    Hash,
    Limits,
    Quota,
    Resume,
)
from galileod.storage.settings import S3, Ask, Storage, Style
from galileod.units import Duration, Size

SIZES = st.integers(0, (1 << 63) - 1).map(Size)
COUNTS = st.integers(0, 1 << 40)
DURATIONS = st.floats(0, 1e9, exclude_min=True, exclude_max=True).map(Duration)
ADDRESSES = st.builds(
    TcpAddress,
    # A link-local one needs its zone.
    st.ip_addresses().filter(lambda one: not one.is_link_local).map(str) | st.just("localhost"),
    st.integers(0, 65535),
    st.booleans(),
) | st.builds(
    UnixAddress,
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20).map("/{}".format),
    st.booleans(),
)


def tuples(element: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(element, min_size=least, max_size=3).map(tuple)


def one_of(literal: object) -> st.SearchStrategy[Any]:
    return st.sampled_from(get_args(literal))


ARGUMENTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
WORDS = ARGUMENTS.filter(bool)

CONFIGS = st.builds(
    Config,
    server=st.builds(
        Server,
        listen=tuples(ADDRESSES, 1).filter(lambda listen: not list(clashes(listen))),
        paths=tuples(st.from_regex(r"/([a-z0-9_~%-][a-z0-9/_~%-]{0,20})?", fullmatch=True), 1),
        max_connections=st.integers(1, 1 << 40),
        max_connections_per_address=st.integers(1, 1 << 40),
        allowed_origins=tuples(
            st.from_regex(r"(\*|null|https://[a-z0-9.-]{1,20}(:8[0-9]{3})?)", fullmatch=True)
        ),
        trusted_proxies=tuples(st.ip_addresses().map(ip_network)),
        drain_timeout=DURATIONS | st.just(Duration(0)),
    ),
    tls=st.just(Tls()) | st.builds(Tls, WORDS, WORDS),
    timeouts=st.builds(
        Timeouts,
        handshake=DURATIONS,
        metadata=DURATIONS,
        idle=DURATIONS,
        close=DURATIONS,
        ping=DURATIONS,
    ),
    limits=st.builds(Limits, max_file_size=SIZES, min_rate=SIZES),
    quota=st.builds(
        Quota,
        total_bytes=SIZES | st.none(),
        total_files=COUNTS | st.none(),
        user_bytes=SIZES | st.none(),
        user_files=COUNTS | st.none(),
        user_uploads=COUNTS | st.none(),
    ),
    chunks=st.lists(st.integers(MIN_CHUNK, MAX_CHUNK), min_size=2, max_size=2)
    .map(sorted)
    .flatmap(
        lambda bounds: st.builds(
            Chunks,
            min=st.just(Size(bounds[0])),
            max=st.just(Size(bounds[1])),
            max_in_flight=st.integers(1, MAX_IN_FLIGHT),
            memory=st.integers(bounds[0], 1 << 40).map(Size),
        )
    ),
    resume=st.builds(
        Resume,
        keep=DURATIONS | st.just(Duration(0)),
        min_size=SIZES,
        user_uploads=st.integers(1, 1 << 40),
    ),
    storage=st.builds(
        Storage,
        directory=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
        layout=st.sampled_from(["{name}", "{user}/{folder}/{name}", "{date}/in-{user}/{name}"]),
        on_conflict=one_of(OnConflict),
        min_free=SIZES,
        durability=one_of(Durability),
        keep_modified=st.booleans(),
        ask=one_of(Ask),
        retention=DURATIONS | st.none(),
        s3=st.builds(
            S3,
            bucket=WORDS | st.none(),
            prefix=ARGUMENTS,
            endpoint=WORDS | st.none(),
            region=WORDS | st.none(),
            style=one_of(Style),
            credentials_file=WORDS | st.none(),
            part_size=SIZES,
        ),
    ),
    ledger=st.just(Ledger())
    | st.builds(
        Ledger,
        url=st.sampled_from(
            ["postgresql://host/name", "postgresql://me@[::1]:5433/a%20b?sslmode=require"]
        ),
        password_file=WORDS | st.none(),
    ),
    hash=st.builds(Hash, required=st.booleans()),
    auth=st.builds(
        Auth,
        mode=st.sampled_from(
            [Modes(("none",)), Modes(("token",)), Modes(("ticket",)), Modes(("token", "ticket"))]
        ),
        tokens_file=WORDS,
        ticket=st.builds(
            TicketSettings, algorithm=one_of(Algorithm), key_file=WORDS, audience=WORDS
        ),
    ),
    hooks=st.builds(
        Hooks,
        stored=st.just(()) | st.builds(lambda word, rest: (word, *rest), WORDS, tuples(ARGUMENTS)),
        timeout=DURATIONS,
        parallel=st.integers(1, MAX_PARALLEL),
        admit=st.just(()) | st.builds(lambda word: (word,), WORDS),
        admit_timeout=st.floats(0.001, MAX_ADMIT_TIMEOUT).map(Duration),
        admit_parallel=st.integers(1, MAX_ADMIT_PARALLEL),
        admit_failure=one_of(AdmitFailure),
    )
    | st.builds(
        Hooks,
        stored=st.from_regex(
            r"https?://[a-z0-9]{1,10}([.][a-z0-9]{1,9})?(:8[0-9]{3})?/[a-z?=%&]*", fullmatch=True
        ),
        secret_file=WORDS | st.none(),
    ),
    log=st.builds(Log, level=one_of(LogLevel), format=one_of(LogFormat)),
    metrics=st.builds(Metrics, allow=tuples(st.ip_addresses().map(ip_network))),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


@settings(max_examples=50)
@given(config=CONFIGS)
def test_any_configuration_reads_back_as_printed(folder: Path, config: Config) -> None:
    path = folder / "galileod.toml"
    path.write_bytes(dump(config).encode())
    assert load(str(path)) == config


def test_the_printed_configuration_has_every_key() -> None:
    quota = Quota(Size(1), 1, Size(1), 1, 1)
    hooks = Hooks("https://example.org/", secret_file="/etc/secret")  # noqa: S106  a path
    auth = Auth(Modes(("none",)), ticket=TicketSettings("ES256", "/etc/key", "here"))
    tls = Tls("/chain.pem", "/key.pem")
    s3 = S3("bucket", "uploads/", "https://s3.example.org", "eu", "path", "/etc/s3")
    storage = Storage(retention=Duration(1), s3=s3)
    config = evolve(Config(), quota=quota, hooks=hooks, auth=auth, tls=tls, storage=storage)
    config = evolve(config, ledger=Ledger("postgresql://host/name", "/etc/password", "one"))
    text = dump(config)
    for key in KEYS:
        section, _, name = key.rpartition(".")
        assert f"[{section}]" in text
        assert f"\n{name} = " in text


def test_a_limit_that_is_not_set_is_not_printed() -> None:
    assert "total_bytes" not in dump(Config())


def test_the_printed_configuration_uses_units() -> None:
    text = dump(Config())
    assert 'min = "64KiB"' in text
    assert 'idle = "60s"' in text
    assert '"127.0.0.1:8750"' in text
    assert 'keep = "1d"' in text
