"""All mistakes of a file in one error, a line each, and none that only follows from another one."""

import re
from pathlib import Path

import pytest
from helpers.configs import written
from hypothesis import given
from hypothesis import strategies as st

from galileod.config.file import Reading, load, read
from galileod.config.flags import Flags, with_flags
from galileod.config.model import EXPOSED, MAX_MISTAKES, MORE_MISTAKES, ConfigError

WRONG = {
    "server": ['listen = "a:1"', "paths = []", "max_connections = 0", "lisen = 1"],
    "timeouts": ["idle = 0", 'close = "soon"'],
    "limits": ['max_file_size = "big"'],
    "quota": ["total_files = -1", "user_bytes = true"],
    "chunks": ["max_in_flight = 0"],
    "storage": ['on_conflict = "ask"', 'directory = ""'],
    "hooks": ["stored = 1"],
    "log": ['level = "loud"'],
}
"""Lines that are each a mistake, and do not concern each other."""

LINES = [(section, line) for section, lines in WRONG.items() for line in lines]


def mistakes(folder: Path, text: str) -> list[str]:
    """What is said of the file, without its name, in the order of the text."""
    path = written(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    lines = str(caught.value).splitlines()
    assert lines == list(caught.value.mistakes)
    assert all(line.isprintable() and line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


@given(chosen=st.sets(st.sampled_from(LINES), min_size=1))
def test_each_of_any_mistakes_is_told_once(folder: Path, chosen: set[tuple[str, str]]) -> None:
    text = ""
    for section in WRONG:
        text += "\n".join([f"[{section}]", *(line for s, line in chosen if s == section), ""])
    told = mistakes(folder, text)
    keys = sorted(f"{section}.{line.split()[0]}" for section, line in chosen)
    assert sorted(line.partition(": ")[0] for line in told) == keys


def test_each_element_of_a_list_is_told(tmp_path: Path) -> None:
    told = mistakes(tmp_path, '[server]\nlisten = ["x", "a:1", 5]\npaths = ["a", "/", "b"]\n')
    assert [line.split(": ")[:2] for line in told] == [
        ["server.listen[0]", "'x'"],
        ["server.listen[2]", "5"],
        ["server.paths", "'a'"],
        ["server.paths", "'b'"],
    ]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('[tls]\ncertificate = "/x"\nkey = 5\n', ["tls.key"]),
        ('[chunks]\nmin = "2GiB"\n', ["chunks.min"]),
        ('[chunks]\nmin = "some"\nmax = 1024\n', ["chunks.min"]),
        ('[chunks]\nwhole = "x"\nroom = 1\n', ["chunks.whole"]),
        ('[server]\nlisten = ["0.0.0.0:1"]\n[auth]\nmode = "tokens"\n', ["auth.mode"]),
        ("auth = 1\n[server]\nlisten = ['0.0.0.0:1']\n", ["auth"]),
        ('[hooks]\nstored = 5\nsecret_file = "/x"\n', ["hooks.stored"]),
        ('[auth]\nmode = "ticket"\nticket = 1\n', ["auth.ticket"]),
    ],
)
def test_what_only_follows_from_another_mistake_is_not_told(
    tmp_path: Path, text: str, keys: list[str]
) -> None:
    assert [line.partition(": ")[0] for line in mistakes(tmp_path, text)] == keys


def test_the_number_of_lines_is_limited(tmp_path: Path) -> None:
    text = "".join(f"key{number} = 1\n" for number in range(50_000))
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    assert len(caught.value.mistakes) == MAX_MISTAKES + 1
    assert caught.value.mistakes[-1] == MORE_MISTAKES


@pytest.mark.parametrize("text", ["x" * 9000 + " = 1\n", "[server]\n" + "a." * 3000 + "a = 1\n"])
def test_a_long_unknown_key_is_cut(tmp_path: Path, text: str) -> None:
    (line,) = mistakes(tmp_path, text)
    assert len(line) < 300


def test_tables_without_end_in_the_place_of_a_value_are_refused(tmp_path: Path) -> None:
    (line,) = mistakes(tmp_path, "[server]\npage." + "a." * 3000 + "a = 1\n")
    # Some versions of Python can show so many levels, of which the beginning is quoted.
    shown = r"a table with too many levels|\{'a': .{1,200}\.\.\."
    assert re.fullmatch(rf"server\.page: ({shown}): expected true or false", line)


def test_the_mistakes_of_flags_are_added(tmp_path: Path) -> None:
    path = written(tmp_path, '[log]\nlevel = "loud"\n')
    reading = with_flags(
        read(path),
        Flags(("nowhere", "127.0.0.1:1", "0.0.0.0:2", "127.0.0.1:1"), "", ("*", "here"), "huge"),
    )
    keys = [mistake.split(": ")[0] for mistake in reading.mistakes]
    assert keys == [
        path, *["--listen"] * 3, "--allow-origin", "--directory", "--max-file-size",
    ]  # fmt: skip
    assert reading.mistakes[2] == "--listen: '127.0.0.1:1': expected each address once"
    assert reading.mistakes[3] == f"--listen: '0.0.0.0:2': expected {EXPOSED}"


def test_a_value_of_a_flag_is_named_by_the_flag(tmp_path: Path) -> None:
    path = written(tmp_path, '[storage]\ndirectory = ""\n')
    reading = with_flags(read(path), Flags(directory="elsewhere"))
    assert reading.where("storage.directory") == "--directory"
    assert reading.where("log.level") == f"{path}: log.level"
    assert Reading(reading.config).where("log.level") == "log.level"
    assert reading.wrong == frozenset()
    with pytest.raises(ConfigError):
        reading.checked()
