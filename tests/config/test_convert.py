"""Values of the wrong type and unknown keys: each is one line that says what was expected."""

from pathlib import Path

import pytest
from attrs import fields
from helpers.configs import complaint, setting

from galileod.config.model import KEYS, Config
from galileod.hooks.settings import HOOK_EXPECTED

WRONG_FOR_ALL = ["1979-05-27", "{ a = 1 }", "[[1]]", "-1.5", "nan"]


@pytest.mark.parametrize("value", WRONG_FOR_ALL)
@pytest.mark.parametrize("key", KEYS)
def test_a_value_of_the_wrong_type_is_refused_in_one_line(
    tmp_path: Path, key: str, value: str
) -> None:
    line = complaint(tmp_path, setting(key, value))
    assert line.startswith(key)
    assert ": expected " in line


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
    assert line.endswith(": expected a table")


def test_a_long_wrong_value_is_cut(tmp_path: Path) -> None:
    line = complaint(tmp_path, setting("log.level", '"' + "x" * 5000 + '"'))
    assert len(line) < 300
    assert line.startswith("log.level: 'xxx")
    assert '...: expected one of "debug"' in line


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
