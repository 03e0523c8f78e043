"""Finding and reading the file, and the flags that are applied to it."""

from pathlib import Path

import pytest
from helpers.configs import complaint

from galileod.config.file import Reading, find_file, load
from galileod.config.flags import Flags, with_flags
from galileod.config.model import Config, ConfigError
from galileod.net.addresses import ADDRESS_EXPECTED, TcpAddress, UnixAddress
from galileod.net.settings import ORIGIN_EXPECTED, Server
from galileod.storage.settings import Storage
from galileod.units import SIZE_EXPECTED


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
    reading = with_flags(
        Reading(FILE_CONFIG),
        Flags(("[::1]:2", "unix:/x"), "from-flag", ("http://a", "null"), "5MB"),
    )
    config = reading.checked()
    assert config.server.listen == (TcpAddress("::1", 2), UnixAddress("/x"))
    assert config.storage.directory == "from-flag"
    assert config.server.allowed_origins == ("http://a", "null")
    assert config.limits.max_file_size == 5_000_000
    assert config.server.max_connections == 7
    assert config.storage.on_conflict == "reject"


def test_without_flags_the_file_stands() -> None:
    assert with_flags(Reading(FILE_CONFIG), Flags()).checked() == FILE_CONFIG


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (Flags(listen=("[::1]:2", "nowhere")), f"--listen: 'nowhere': expected {ADDRESS_EXPECTED}"),
        (Flags(directory=""), "--directory: '': expected the path of a directory"),
        (
            Flags(allow_origin=("*", "http://a/")),
            f"--allow-origin: 'http://a/': expected {ORIGIN_EXPECTED}",
        ),
        (Flags(max_file_size="huge"), f"--max-file-size: 'huge': expected {SIZE_EXPECTED}"),
    ],
)
def test_a_wrong_flag_is_named_with_what_was_expected(flags: Flags, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_flags(Reading(Config()), flags).checked()
    assert str(caught.value) == told
