"""Configuration files for tests, and what is said of wrong ones."""

from pathlib import Path

import pytest

from galileod.config.file import load
from galileod.config.model import ConfigError


def written(folder: Path, text: str) -> str:
    """The path of a file with this text."""
    path = folder / "galileod.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def setting(key: str, value: str) -> str:
    """The text of a file that sets one key."""
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
