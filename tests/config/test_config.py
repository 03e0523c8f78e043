from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, get_args

import pytest
from attrs import evolve, fields
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.auth.settings import MODE_EXPECTED, Algorithm, Auth, Modes, TicketSettings
from galileod.config.file import dump, find_file, load, with_flags
from galileod.config.model import EXPOSED, KEYS, Config, ConfigError
from galileod.hooks.settings import HOOK_EXPECTED, MAX_PARALLEL, Hooks
from galileod.logs.settings import Log, LogFormat, LogLevel
from galileod.net.addresses import ADDRESS_EXPECTED, TcpAddress, UnixAddress
from galileod.net.settings import ORIGIN_EXPECTED, Metrics, Server, Timeouts, Tls
from galileod.policy.settings import (
    MAX_CHUNK,
    MAX_IN_FLIGHT,
    MIN_CHUNK,
    Chunks,
    Hash,
    Limits,
    Quota,
)
from galileod.storage.settings import Durability, OnConflict, Storage
from galileod.units import DURATION_EXPECTED, SIZE_EXPECTED, Duration, Size

WRONG_FOR_ALL = ["1979-05-27", "{ a = 1 }", "[[1]]", "-1.5", "nan"]


def written(folder: Path, text: str) -> str:
    path = folder / "galileod.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def setting(key: str, value: str) -> str:
    section, _, name = key.rpartition(".")
    return f"[{section}]\n{name} = {value}\n"


def complaint(folder: Path, text: str) -> str:
    """The one line of the error, after the file's name."""
    path = written(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize("value", WRONG_FOR_ALL)
@pytest.mark.parametrize("key", KEYS)
def test_a_value_of_the_wrong_type_is_refused_in_one_line(
    tmp_path: Path, key: str, value: str
) -> None:
    line = complaint(tmp_path, setting(key, value))
    assert line.startswith(key)
    assert ": expected " in line


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("server.listen", '"a:1"', "server.listen: 'a:1': expected a list"),
        ("server.listen", "[]", "server.listen: []: expected at least one address"),
        (
            "server.listen",
            '["a:1", "nowhere"]',
            f"server.listen[1]: 'nowhere': expected {ADDRESS_EXPECTED}",
        ),
        (
            "server.listen",
            "[8750]",
            f"server.listen[0]: 8750: expected {ADDRESS_EXPECTED}",
        ),
        ("server.paths", "[1]", "server.paths[0]: 1: expected a text"),
        (
            "server.paths",
            "[]",
            "server.paths: []: expected at least one path",
        ),
        (
            "server.max_connections",
            "0",
            "server.max_connections: 0: expected a whole number from 1 up",
        ),
        (
            "server.max_connections",
            "true",
            "server.max_connections: True: expected a whole number",
        ),
        ("server.max_connections", "5.0", "server.max_connections: 5.0: expected a whole number"),
        (
            "server.max_connections_per_address",
            "-3",
            "server.max_connections_per_address: -3: expected a whole number from 1 up",
        ),
        (
            "server.allowed_origins",
            '["a", true]',
            "server.allowed_origins[1]: True: expected a text",
        ),
        *(
            (
                "server.allowed_origins",
                f'["https://ok.example", "{origin}"]',
                f"server.allowed_origins: '{origin}': expected {ORIGIN_EXPECTED}",
            )
            for origin in (
                "example.org",
                "https://example.org/",
                "https://Example.org",
                "https://example.org:443",
                "http://example.org:80",
                "https://user@example.org",
            )
        ),
        *(
            (
                "server.paths",
                f'["/", "{path}"]',
                (
                    f"server.paths: '{path}': expected a path as in a URL: from its \"/\", without"
                    " query and spaces"
                ),
            )
            for path in ("up", "/up?x=1", "/up#x", "/a b", "/\u00e9", "//up", "/a/../b", "/a<b")
        ),
        (
            "server.drain_timeout",
            '"soon"',
            f"server.drain_timeout: 'soon': expected {DURATION_EXPECTED}",
        ),
        (
            "tls.certificate",
            '"/x"',
            "tls.key: None: expected the path of a file, beside tls.certificate: both or neither",
        ),
        (
            "tls.key",
            '"/x"',
            "tls.certificate: None: expected the path of a file, beside tls.key: both or neither",
        ),
        ("timeouts.handshake", "0", "timeouts.handshake: 0.0: expected a duration above 0"),
        ("timeouts.metadata", '"0s"', "timeouts.metadata: 0.0: expected a duration above 0"),
        ("timeouts.idle", "0.0", "timeouts.idle: 0.0: expected a duration above 0"),
        ("timeouts.close", '"0ms"', "timeouts.close: 0.0: expected a duration above 0"),
        (
            "timeouts.idle",
            "inf",
            'timeouts.idle: inf: expected a duration such as 60, "500ms", "60s" or "2h"',
        ),
        (
            "limits.max_file_size",
            '"big"',
            f"limits.max_file_size: 'big': expected {SIZE_EXPECTED}",
        ),
        ("chunks.min", "1023", "chunks.min: 1023: expected from 1KiB to 1GiB"),
        ("chunks.min", '"2GiB"', "chunks.min: 2147483648: expected from 1KiB to 1GiB"),
        ("chunks.max", "1024", "chunks.max: 1024: expected from chunks.min (64KiB) to 1GiB"),
        ("chunks.max_in_flight", "0", "chunks.max_in_flight: 0: expected from 1 to 1024"),
        ("chunks.max_in_flight", "1025", "chunks.max_in_flight: 1025: expected from 1 to 1024"),
        ("storage.directory", '""', "storage.directory: '': expected the path of a directory"),
        (
            "storage.directory",
            '"a\\u0000b"',
            "storage.directory: 'a\\x00b': expected the path of a directory",
        ),
        (
            "storage.on_conflict",
            '"Rename"',
            'storage.on_conflict: \'Rename\': expected one of "rename", "reject", "replace"',
        ),
        (
            "storage.durability",
            "true",
            'storage.durability: True: expected one of "full", "none"',
        ),
        ("hash.required", "1", "hash.required: 1: expected true or false"),
        ("hash.required", '"yes"', "hash.required: 'yes': expected true or false"),
        (
            "log.level",
            '"loud"',
            'log.level: \'loud\': expected one of "debug", "info", "warning", "error"',
        ),
        ("log.format", "5", 'log.format: 5: expected one of "auto", "console", "json"'),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_was_expected(
    tmp_path: Path, key: str, value: str, line: str
) -> None:
    assert complaint(tmp_path, setting(key, value)) == line


@pytest.mark.parametrize(
    ("text", "unknown", "nearest"),
    [
        (setting("server.lisen", "[]"), "server.lisen", "server.listen"),
        (setting("storage.dir", '"x"'), "storage.dir", "storage.directory"),
        (setting("chunks.maximum", "1"), "chunks.maximum", "chunks.max"),
        (setting("timeouts.idel", "1"), "timeouts.idel", "timeouts.idle"),
        ("[sever]\n", "sever", "server"),
        ('listen = ["a:1"]\n', "listen", "server.listen"),
        ("on_conflict = 1\n", "on_conflict", "storage.on_conflict"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(
    tmp_path: Path, text: str, unknown: str, nearest: str
) -> None:
    line = f"{unknown}: unknown key; the nearest known one is {nearest}"
    assert complaint(tmp_path, text) == line


@pytest.mark.parametrize("text", ['[server]\n"bad\\nkey" = 1\n', '"bad\\u001bkey" = 1\n'])
def test_an_unknown_key_with_control_characters_is_told_in_one_line(
    tmp_path: Path, text: str
) -> None:
    assert "unknown key" in complaint(tmp_path, text)


@pytest.mark.parametrize("section", [section.name for section in fields(Config)])
@pytest.mark.parametrize("value", ["5", "[]", '"x"'])
def test_a_section_that_is_no_table_is_refused(tmp_path: Path, section: str, value: str) -> None:
    line = complaint(tmp_path, f"{section} = {value}\n")
    assert line.startswith(f"{section}: ")
    assert line.endswith(": expected a table of keys")


@pytest.mark.parametrize(
    "text",
    [
        "[server",
        "a = ",
        "a = 1\na = 2",
        "[server]\n[server]",
        "a = 2021-02-30",
        "a = '\x01'",
        "a = " + "1" * 5000,
        "a = " + "[" * 50_000,
    ],
    ids=lambda text: repr(text[:20]),
)
def test_a_text_that_is_not_toml_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    assert complaint(tmp_path, text).startswith("is not TOML: ")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "galileod.toml"
    path.write_bytes(b"\xef\xbb\xbf[server]\npage = false\n")
    assert not load(str(path)).server.page


def test_a_file_that_is_not_utf_8_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "galileod.toml"
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match=r"is not TOML: .*utf-8.*$"):
        load(str(path))


def test_a_file_that_is_not_there_is_told_with_the_reason(tmp_path: Path) -> None:
    path = str(tmp_path / "none.toml")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}: cannot be read: No such file or directory"


def test_a_directory_in_place_of_a_file_is_told_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        load(str(tmp_path))


def test_a_long_wrong_value_is_cut(tmp_path: Path) -> None:
    line = complaint(tmp_path, setting("log.level", '"' + "x" * 5000 + '"'))
    assert len(line) < 300
    assert line.startswith("log.level: 'xxx")
    assert '...: expected one of "debug"' in line


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
        ("hooks.secret_file", None),
        ("chunks.min", 64 << 10),
        ("chunks.max", 8 << 20),
        ("chunks.max_in_flight", 16),
        ("chunks.memory", 256 << 20),
        ("storage.directory", "uploads"),
        ("storage.on_conflict", "rename"),
        ("storage.min_free", 1 << 30),
        ("storage.durability", "full"),
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
        memory = 2048
        [storage]
        directory = "/srv/x"
        layout = "in/{user}/{name}"
        on_conflict = "replace"
        min_free = 0
        durability = "none"
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
        chunks=Chunks(Size(1024), Size(1024), 1, Size(2048)),
        storage=Storage("/srv/x", "in/{user}/{name}", "replace", Size(0), "none"),
        hash=Hash(required=True),
        auth=Auth(Modes(("token", "ticket")), "/etc/t", TicketSettings("EdDSA", "/etc/k", "here")),
        hooks=Hooks("https://example.org/stored", Duration(5), 2, "/etc/secret"),
        log=Log("debug", "json"),
        metrics=Metrics((IPv4Network("192.0.2.0/24"),)),
    )


def test_a_key_that_is_not_set_keeps_its_default(tmp_path: Path) -> None:
    config = load(written(tmp_path, setting("chunks.max_in_flight", "3")))
    assert config == evolve(Config(), chunks=Chunks(max_in_flight=3))


TEXT = st.text(max_size=12)
SIZES = st.integers(0, (1 << 63) - 1).map(Size)
COUNTS = st.integers(0, 1 << 40)
DURATIONS = st.floats(0, 1e9, exclude_min=True, exclude_max=True).map(Duration)
ADDRESSES = st.builds(
    TcpAddress,
    st.ip_addresses().map(str) | st.just("localhost"),
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
        listen=tuples(ADDRESSES, 1),
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
        Timeouts, handshake=DURATIONS, metadata=DURATIONS, idle=DURATIONS, close=DURATIONS
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
    storage=st.builds(
        Storage,
        directory=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
        layout=st.sampled_from(["{name}", "{user}/{name}", "{date}/in-{user}/{name}"]),
        on_conflict=one_of(OnConflict),
        min_free=SIZES,
        durability=one_of(Durability),
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
    text = dump(evolve(Config(), quota=quota, hooks=hooks, auth=auth, tls=tls))
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


@pytest.mark.parametrize(
    "value",
    [
        '"ftp://anna:hunter2@example.org/"',
        '"https://example.org/ token=hunter2"',
        '["notify", "--token=hunter2", 1]',
        '{ url = "https://hunter2@example.org" }',
    ],
)
def test_a_wrong_hook_is_not_shown_since_it_may_be_secret(tmp_path: Path, value: str) -> None:
    line = complaint(tmp_path, setting("hooks.stored", value))
    assert line == f"hooks.stored: expected {HOOK_EXPECTED}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("timeout = 0", "hooks.timeout: 0.0: expected a duration above 0"),
        ("parallel = 0", "hooks.parallel: 0: expected from 1 to 32"),
        ("parallel = 33", "hooks.parallel: 33: expected from 1 to 32"),
        (
            'stored = ["a"]\nsecret_file = "/x"',
            "hooks.secret_file: '/x': expected none, unless hooks.stored is a URL",
        ),
        (
            'stored = "http://x/"\nsecret_file = ""',
            "hooks.secret_file: '': expected the path of a file",
        ),
        ("store = []", "hooks.store: unknown key; the nearest known one is hooks.stored"),
    ],
)
def test_a_wrong_setting_of_the_hook_is_told(tmp_path: Path, text: str, line: str) -> None:
    assert complaint(tmp_path, f"[hooks]\n{text}\n") == line


ENVIRON = {"GALILEOD_CONFIG": "/from/environ"}


@pytest.mark.parametrize(
    ("flag", "environ", "exists", "found"),
    [
        ("/from/flag", ENVIRON, True, "/from/flag"),
        ("/from/flag", {}, False, "/from/flag"),
        (None, ENVIRON, True, "/from/environ"),
        (None, ENVIRON, False, "/from/environ"),
        (None, {"GALILEOD_CONFIG": ""}, True, "default"),
        (None, {}, True, "default"),
        (None, {}, False, None),
    ],
)
def test_the_file_is_the_flags_else_the_environments_else_the_default(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flag: str | None,
    environ: dict[str, str],
    found: str | None,
    *,
    exists: bool,
) -> None:
    default = tmp_path / "default.toml"
    monkeypatch.setattr("galileod.config.file.DEFAULT_FILE", str(default))
    if exists:
        default.write_text("", encoding="utf-8")
    assert find_file(flag, environ) == (str(default) if found == "default" else found)


FILE_CONFIG = Config(
    server=Server(listen=(TcpAddress("10.0.0.1", 1),), max_connections=7),
    storage=Storage(directory="from-file", on_conflict="reject"),
)


def test_flags_win_over_the_file() -> None:
    config = with_flags(FILE_CONFIG, ("[::1]:2", "unix:/x"), "from-flag")
    assert config.server.listen == (TcpAddress("::1", 2), UnixAddress("/x"))
    assert config.storage.directory == "from-flag"
    assert config.server.max_connections == 7
    assert config.storage.on_conflict == "reject"


def test_without_flags_the_file_stands() -> None:
    assert with_flags(FILE_CONFIG, (), None) == FILE_CONFIG


def test_a_wrong_flag_is_named_with_what_was_expected() -> None:
    with pytest.raises(ConfigError) as caught:
        with_flags(Config(), ("nowhere",), None)
    assert str(caught.value) == f"--listen: 'nowhere': expected {ADDRESS_EXPECTED}"


# Who may upload.


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "example.org:1"])
def test_an_address_that_others_reach_needs_a_decision(tmp_path: Path, listen: str) -> None:
    text = f'[server]\nlisten = ["127.0.0.1:1", "{listen}"]\n'
    assert complaint(tmp_path, text) == f"server.listen: {listen!r}: expected {EXPOSED}"
    with pytest.raises(ConfigError, match=r"^--listen: .*auth\.mode"):
        with_flags(Config(), (listen,), None)
    for mode in ("none", "token"):
        config = load(written(tmp_path, f'{text}[auth]\nmode = "{mode}"'))
        assert with_flags(config, (listen,), None).auth.mode == (mode,)


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1", "unix:/run/x"]
)
def test_an_address_of_this_machine_alone_needs_none(tmp_path: Path, listen: str) -> None:
    assert load(written(tmp_path, f'[server]\nlisten = ["{listen}"]')).auth.mode is None
    assert with_flags(Config(), (listen,), None).auth.mode is None


@pytest.mark.parametrize(
    "mode", ['"no"', "[]", '["none", "token"]', '["token", "token"]', "true", '[["token"]]', '""']
)
def test_a_mode_that_is_none_is_refused(tmp_path: Path, mode: str) -> None:
    assert complaint(tmp_path, f"[auth]\nmode = {mode}").endswith(f"expected {MODE_EXPECTED}")


@pytest.mark.parametrize("missing", ["algorithm", "key_file", "audience"])
def test_tickets_need_all_that_they_are_checked_with(tmp_path: Path, missing: str) -> None:
    keys = {"algorithm": "ES256", "key_file": "/etc/key", "audience": "here"}
    lines = [f'{key} = "{value}"' for key, value in keys.items() if key != missing]
    text = '[auth]\nmode = "ticket"\n[auth.ticket]\n' + "\n".join(lines)
    assert complaint(tmp_path, text).startswith(f"auth.ticket.{missing}: None: expected ")


def test_a_layout_that_is_none_is_refused(tmp_path: Path) -> None:
    told = complaint(tmp_path, '[storage]\nlayout = "../{name}"')
    assert told.startswith("storage.layout: '../{name}': expected a path that ends in")
