"""docs/configuration.md and etc/galileod.toml have every key, with the default of the code."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import attrs
import pytest
from attrs import frozen
from docs.tables import DOCS, ROOT, codes, section

from galileod.config.file import load
from galileod.config.model import KEYS, Config, value_of
from galileod.daemon.reload import NEEDS_RESTART
from galileod.units import Duration, Size

TEXT: Final = (DOCS / "configuration.md").read_text()
ENTRY: Final = re.compile(r"^#### (\S+)\n\n(.+) · Default: (.+) · Reload: (.+)\n\n\S", re.MULTILINE)


@frozen
class Entry:
    """What stands below the heading of a key."""

    key: str
    type: str
    default: str
    reload: str


def entries(text: str) -> dict[str, Entry]:
    return {match[1]: Entry(*match.groups()) for match in ENTRY.finditer(text)}


ENTRIES: Final = entries(TEXT)
NOT_SET: Final = "not set"
RELOADS: Final = {"at once", "new connections", "new uploads", "restart"}
WORDS: Final[dict[object, str]] = {
    bool: "boolean",
    int: "integer",
    Size: "size",
    Duration: "duration",
}


def annotation(key: str) -> object:
    """The type of a key in its section, without None."""
    kind: Any = Config
    for name in key.split("."):
        kind = getattr(attrs.fields(kind), name).type
    members = [member for member in get_args(kind) if member is not type(None)]
    return members[0] if len(members) == 1 and get_origin(kind) is not tuple else kind


def test_the_document_has_every_key_in_the_order_of_the_code() -> None:
    assert tuple(ENTRIES) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_the_default_is_that_of_the_code(tmp_path: Path, key: str) -> None:
    default = value_of(Config(), key)
    told = ENTRIES[key].default
    if default is None:
        assert told == NOT_SET
        return
    (value,) = codes(told)
    file = tmp_path / "galileod.toml"
    table, _, name = key.rpartition(".")
    file.write_text(f"[{table}]\n{name} = {value}\n")
    assert value_of(load(str(file)), key) == default


@pytest.mark.parametrize("key", KEYS)
def test_the_type_is_that_of_the_code(key: str) -> None:
    kind, told = annotation(key), ENTRIES[key].type.lower()
    if get_origin(kind) is Literal:
        assert codes(ENTRIES[key].type) == [f'"{word}"' for word in get_args(kind)]
    elif kind in WORDS:
        assert told == WORDS[kind]
    elif kind is str:
        assert told in ("string", "path")
    else:
        assert "list of " in told


def test_what_needs_a_restart_is_what_the_code_keeps() -> None:
    assert {each.reload for each in ENTRIES.values()} == RELOADS
    restart = [each.key for each in ENTRIES.values() if each.reload == "restart"]
    assert restart == list(NEEDS_RESTART)


def test_each_key_stands_below_the_heading_of_its_section() -> None:
    for field in attrs.fields(Config):
        below = entries(section(TEXT, f"[{field.name}]"))
        assert list(below) == [key for key in KEYS if key.startswith(f"{field.name}.")]


def test_the_shipped_file_names_every_key_with_its_default() -> None:
    text = (ROOT / "etc" / "galileod.toml").read_text()
    shipped = tomllib.loads(text)
    for key in KEYS:
        *tables, name = key.split(".")
        assert re.search(rf"^(# )?{name} = ", text, re.MULTILINE), key
        table: Any = shipped
        for part in tables:
            table = table.get(part, {})
        # What has no default is there as a comment.
        assert (name in table) == (value_of(Config(), key) is not None), key


def test_the_shipped_file_differs_from_the_defaults_in_its_directory_alone() -> None:
    shipped, defaults = load(str(ROOT / "etc" / "galileod.toml")), Config()
    differing = [key for key in KEYS if value_of(shipped, key) != value_of(defaults, key)]
    assert differing == ["storage.directory"]
