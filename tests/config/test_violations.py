"""Values that break a rule: each is named with its key and what was expected."""

from pathlib import Path

import pytest
from helpers.configs import complaint, setting, written

from galileod.auth.settings import MODE_EXPECTED
from galileod.config.file import Reading, load
from galileod.config.flags import Flags, with_flags
from galileod.config.model import EXPOSED, Config, ConfigError
from galileod.hooks.settings import HIDDEN, HOOK_EXPECTED
from galileod.ledger.settings import Ledger
from galileod.net.addresses import ADDRESS_EXPECTED, parse_address
from galileod.net.settings import ORIGIN_EXPECTED, PATH_EXPECTED, clashes
from galileod.units import DURATION_EXPECTED, SIZE_EXPECTED

ENDPOINT_EXPECTED = 'expected the URL of a server, such as "https://s3.example.org"'
HOOKS_TOLD = ", ".join(HIDDEN)


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
        ("server.paths", "[1]", "server.paths[0]: 1: expected a string"),
        (
            "server.paths",
            "[]",
            "server.paths: []: expected at least one path",
        ),
        (
            "server.max_connections",
            "0",
            "server.max_connections: 0: expected an integer of at least 1",
        ),
        (
            "server.max_connections",
            "true",
            "server.max_connections: True: expected an integer",
        ),
        ("server.max_connections", "5.0", "server.max_connections: 5.0: expected an integer"),
        (
            "server.max_connections",
            str(1 << 63),
            f"server.max_connections: {1 << 63}: expected an integer below 2^63",
        ),
        (
            "quota.user_files",
            "0x" + "f" * 5000,
            "quota.user_files: an integer of thousands of digits: expected an integer below 2^63",
        ),
        (
            "limits.max_file_size",
            "0x" + "f" * 5000,
            f"limits.max_file_size: an integer of thousands of digits: expected {SIZE_EXPECTED}",
        ),
        (
            "timeouts.idle",
            "[0x" + "f" * 5000 + "]",
            "timeouts.idle: a value with an integer of thousands of digits: expected "
            + DURATION_EXPECTED,
        ),
        (
            "server.listen",
            '["localhost:1", "[::1]:2", "localhost:1 proxy_protocol"]',
            "server.listen: 'localhost:1 proxy_protocol': expected each address once",
        ),
        (
            "server.listen",
            '["unix:/run/x", "unix:/run/x"]',
            "server.listen: 'unix:/run/x': expected each address once",
        ),
        (
            "server.max_connections_per_address",
            "-3",
            "server.max_connections_per_address: -3: expected an integer of at least 1",
        ),
        (
            "server.allowed_origins",
            '["a", true]',
            "server.allowed_origins[1]: True: expected a string",
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
                "https://*.example.org",
                "https://example.org:99999",
                "https://example.org:0",
                "https://example.org:",
                "https://ex\u00e4mple.org",
                "https://[::1",
                "https://a]b",
            )
        ),
        *(
            (
                "server.paths",
                f'["/", "{path}"]',
                f"server.paths: '{path}': expected {PATH_EXPECTED}",
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
            "tls.key: not set: expected the path of a file, since tls.certificate is set",
        ),
        (
            "tls.key",
            '"/x"',
            "tls.certificate: not set: expected the path of a file, since tls.key is set",
        ),
        (
            "server.trusted_proxies",
            '["10.0.0.1/8"]',
            (
                "server.trusted_proxies[0]: '10.0.0.1/8': expected"
                ' the address "10.0.0.1" alone, or its network "10.0.0.0/8"'
            ),
        ),
        (
            "metrics.allow",
            '["fd00::1/64"]',
            (
                "metrics.allow[0]: 'fd00::1/64': expected"
                ' the address "fd00::1" alone, or its network "fd00::/64"'
            ),
        ),
        ("timeouts.handshake", "0", "timeouts.handshake: 0.0: expected a duration above 0"),
        ("timeouts.metadata", '"0s"', "timeouts.metadata: 0.0: expected a duration above 0"),
        ("timeouts.idle", "0.0", "timeouts.idle: 0.0: expected a duration above 0"),
        ("timeouts.close", '"0ms"', "timeouts.close: 0.0: expected a duration above 0"),
        ("timeouts.ping", "0", "timeouts.ping: 0.0: expected a duration above 0"),
        (
            "timeouts.idle",
            "inf",
            'timeouts.idle: inf: expected a duration such as 60, "500ms", "60s", "2h" or "30d"',
        ),
        (
            "limits.max_file_size",
            '"big"',
            f"limits.max_file_size: 'big': expected {SIZE_EXPECTED}",
        ),
        ("chunks.min", "1023", "chunks.min: 1023: expected a size from 1KiB to 1GiB"),
        ("chunks.min", '"2GiB"', "chunks.min: '2GiB': expected a size from 1KiB to 1GiB"),
        (
            "chunks.max",
            "1024",
            "chunks.max: '1KiB': expected a size from chunks.min (64KiB) to 1GiB",
        ),
        (
            "chunks.max_in_flight",
            "0",
            "chunks.max_in_flight: 0: expected an integer from 1 to 1024",
        ),
        (
            "chunks.max_in_flight",
            "1025",
            "chunks.max_in_flight: 1025: expected an integer from 1 to 1024",
        ),
        ("resume.keep", '"a day"', f"resume.keep: 'a day': expected {DURATION_EXPECTED}"),
        ("resume.keep", "-1", f"resume.keep: -1: expected {DURATION_EXPECTED}"),
        ("resume.min_size", '"small"', f"resume.min_size: 'small': expected {SIZE_EXPECTED}"),
        (
            "resume.user_uploads",
            "0",
            "resume.user_uploads: 0: expected an integer of at least 1",
        ),
        ("resume.user_uploads", '"1"', "resume.user_uploads: '1': expected an integer"),
        ("storage.directory", '""', "storage.directory: '': expected the path of a directory"),
        (
            "storage.directory",
            '"a\\u0000b"',
            "storage.directory: 'a\\x00b': expected the path of a directory",
        ),
        (
            "storage.backend",
            '"swift"',
            'storage.backend: \'swift\': expected one of "local", "s3"',
        ),
        (
            "storage.s3.style",
            '"host"',
            'storage.s3.style: \'host\': expected one of "auto", "path", "virtual"',
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
        (
            "storage.ask",
            '"anna"',
            'storage.ask: \'anna\': expected one of "users", "everybody", "nobody"',
        ),
        (
            "storage.keep_modified",
            '"yes"',
            "storage.keep_modified: 'yes': expected true or false",
        ),
        (
            "storage.retention",
            "0",
            "storage.retention: 0.0: expected a duration of more than 0",
        ),
        (
            "storage.retention",
            "true",
            f"storage.retention: True: expected {DURATION_EXPECTED}",
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
    ("text", "line"),
    [
        ("timeout = 0", "hooks.timeout: 0.0: expected a duration above 0"),
        ("parallel = 0", "hooks.parallel: 0: expected an integer from 1 to 32"),
        ("parallel = 33", "hooks.parallel: 33: expected an integer from 1 to 32"),
        (
            "admit_timeout = 0",
            "hooks.admit_timeout: 0.0: expected a duration above 0, up to 60 seconds",
        ),
        (
            'admit_timeout = "61s"',
            "hooks.admit_timeout: 61.0: expected a duration above 0, up to 60 seconds",
        ),
        ("admit_parallel = 0", "hooks.admit_parallel: 0: expected an integer from 1 to 64"),
        ("admit_parallel = 65", "hooks.admit_parallel: 65: expected an integer from 1 to 64"),
        ('admit = "x"', f"hooks.admit: expected {HOOK_EXPECTED}"),
        ("removed = 5", f"hooks.removed: expected {HOOK_EXPECTED}"),
        ("admit_failure = 1", 'hooks.admit_failure: 1: expected one of "refuse", "accept"'),
        (
            'stored = ["a"]\nsecret_file = "/x"',
            f"hooks.secret_file: '/x': expected no file, since none of {HOOKS_TOLD} is a URL",
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


URL_EXPECTED = (
    "ledger.url: expected the URL of a database, such as"
    ' "postgresql://galileod@db.example.org/galileod"'
)
IN_URL_REFUSED = (
    "ledger.url: expected a URL without a password, which belongs into the file"
    " ledger.password_file"
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('url = ""', URL_EXPECTED),
        ('url = "postgres://host/name"', URL_EXPECTED),
        ('url = "postgresql:/host"', URL_EXPECTED),
        ('url = "host=db dbname=x"', URL_EXPECTED),
        ('url = "postgresql://host:port/name"', URL_EXPECTED),
        ('url = "postgresql://host/a name"', URL_EXPECTED),
        ('url = "postgresql://host/name#x"', URL_EXPECTED),
        ('url = "postgresql://host/name?sslpassword=x"', IN_URL_REFUSED),
        ('url = "postgresql://host/name?PASSWORD=x"', IN_URL_REFUSED),
        ('url = "postgresql://host/name?sslmode=require;pass%77ord=x"', IN_URL_REFUSED),
        ('url = "postgresql://host/name?sslmode"', URL_EXPECTED),
        ("url = 5", "ledger.url: expected a string"),
        ('url = "postgresql://me:secret@host/name"', IN_URL_REFUSED),
        ('url = "postgresql://me:@host/name"', IN_URL_REFUSED),
        ('url = "postgresql://host/name?pass%77ord=secret"', IN_URL_REFUSED),
        (
            'password_file = "/x"',
            "ledger.password_file: '/x': expected no file, since ledger.url is not set",
        ),
        (
            'url = "postgresql://host/name"\npassword_file = ""',
            "ledger.password_file: '': expected the path of a file",
        ),
        ('uri = ""', "ledger.uri: unknown key; the nearest known one is ledger.url"),
    ],
)
def test_a_wrong_setting_of_the_ledger_is_told_without_a_password(
    tmp_path: Path, text: str, line: str
) -> None:
    assert complaint(tmp_path, f"[ledger]\n{text}\n") == line


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me@host/name",
        "postgresql://[2001:db8::1]:5433/name?sslmode=verify-full",
        "postgresql:///name?host=/run/postgresql",
        "postgresql://one:5432,two:5433/name?target_session_attrs=read-write",
    ],
)
def test_each_url_of_a_database_is_accepted(tmp_path: Path, url: str) -> None:
    path = tmp_path / "galileod.toml"
    path.write_text(f'[ledger]\nurl = "{url}"\npassword_file = "/x"\n')
    assert load(str(path)).ledger == Ledger(url, "/x")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "storage.s3.bucket: not set: expected the name of a bucket"),
        ('bucket = "a/b"', "storage.s3.bucket: 'a/b': expected the name of a bucket"),
        ('bucket = "t:b"', "storage.s3.bucket: 't:b': expected the name of a bucket"),
        (
            'bucket = "b"\nendpoint = "s3.example.org"',
            f"storage.s3.endpoint: 's3.example.org': {ENDPOINT_EXPECTED}",
        ),
        (
            'bucket = "b"\nendpoint = "https://user@host/"',
            f"storage.s3.endpoint: 'https://user@host/': {ENDPOINT_EXPECTED}",
        ),
        (
            'bucket = "b"\nregion = ""',
            "storage.s3.region: '': expected the name of a region, such as \"eu-central-1\"",
        ),
        (
            'bucket = "b"\nregion = "a b"',
            "storage.s3.region: 'a b': expected the name of a region, such as \"eu-central-1\"",
        ),
        (
            'bucket = "b"\nprefix = "/a"',
            "storage.s3.prefix: '/a/': expected a prefix of at most 256 bytes, such as uploads/",
        ),
        (
            'bucket = "b"\ncredentials_file = ""',
            "storage.s3.credentials_file: '': expected the path of a file",
        ),
        (
            'bucket = "b"\npart_size = 5242879',
            'storage.s3.part_size: 5242879: expected a size from "5MiB" to "5GiB"',
        ),
        (
            'bucket = "b"\npart_size = "129MiB"',
            "storage.s3.part_size: '129MiB': expected at most half of chunks.memory (256MiB)",
        ),
    ],
)
def test_a_wrong_setting_of_the_object_storage_is_told(
    tmp_path: Path, text: str, line: str
) -> None:
    assert complaint(tmp_path, f'[storage]\nbackend = "s3"\n[storage.s3]\n{text}\n') == line


@pytest.mark.parametrize(
    "text",
    [
        'endpoint = "http://127.0.0.1:9000"',
        'endpoint = "https://[::1]:9000/"',
        'prefix = "a/b"',
        'part_size = "128MiB"',
    ],
)
def test_an_object_storage_may_be_set(tmp_path: Path, text: str) -> None:
    text = f'[storage]\nbackend = "s3"\n[storage.s3]\nbucket = "a.b-c_1"\n{text}\n'
    assert load(written(tmp_path, text)).storage.backend == "s3"


@pytest.mark.parametrize(
    ("listen", "told"),
    [
        (["a:1", "b:1", "a:2", "unix:/a", "unix:/b"], []),
        (["127.0.0.1:1", "127.0.0.2:1", "[::1]:1", "[::]:2"], []),
        (["0.0.0.0:1", "[::]:1", "0.0.0.0:2", "127.0.0.1:3"], []),
        (["127.0.0.1:0", "127.0.0.1:0", "0.0.0.0:0", "a:0", "a:0"], []),
        (["a:1", "a:2", "a:1 proxy_protocol", "a:1"], ["a:1 proxy_protocol", "a:1"]),
        (["unix:/a proxy_protocol", "unix:/a"], ["unix:/a"]),
        (["0.0.0.0:1", "[::1]:1", "127.0.0.1:1", "192.0.2.1:1"], ["127.0.0.1:1", "192.0.2.1:1"]),
        (["127.0.0.1:1", "192.0.2.1:1", "0.0.0.0:1"], ["0.0.0.0:1"]),
        (["[::1]:1", "[::]:1 proxy_protocol"], ["[::]:1 proxy_protocol"]),
    ],
)
def test_addresses_that_cannot_be_opened_together_are_told(
    listen: list[str], told: list[str]
) -> None:
    assert [address for address, _ in clashes(list(map(parse_address, listen)))] == told


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "example.org:1"])
def test_an_address_that_others_reach_needs_a_decision(tmp_path: Path, listen: str) -> None:
    text = f'[server]\nlisten = ["127.0.0.1:2", "{listen}"]\n'
    assert complaint(tmp_path, text) == f"server.listen: {listen!r}: expected {EXPOSED}"
    with pytest.raises(ConfigError, match=r"^--listen: .*auth\.mode"):
        with_flags(Reading(Config()), Flags((listen,))).checked()
    for mode in ("none", "token"):
        config = load(written(tmp_path, f'{text}[auth]\nmode = "{mode}"'))
        reading = with_flags(Reading(config), Flags((listen,)))
        assert reading.checked().auth.mode == (mode,)


@pytest.mark.parametrize(
    "listen",
    ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1", "unix:/run/x"],
)
def test_an_address_of_this_machine_alone_needs_none(tmp_path: Path, listen: str) -> None:
    assert load(written(tmp_path, f'[server]\nlisten = ["{listen}"]')).auth.mode is None
    assert with_flags(Reading(Config()), Flags((listen,))).checked().auth.mode is None


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
    assert complaint(tmp_path, text).startswith(f"auth.ticket.{missing}: not set: expected ")


def test_a_layout_that_is_none_is_refused(tmp_path: Path) -> None:
    told = complaint(tmp_path, '[storage]\nlayout = "../{name}"')
    assert told.startswith("storage.layout: '../{name}': expected a path that ends in")
