"""docs/architecture.md: its modules, files, package order and limits are those of the code."""

import importlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from docs.source import PACKAGE
from docs.tables import DOCS, ROOT, codes, rows, section, without_code

from galileod.config.model import KEYS
from galileod.server import client_files, static

TEXT: Final = (DOCS / "architecture.md").read_text()
STEPS: Final = "The steps of an upload"

DOTTED: Final = re.compile(r"[a-z][a-z0-9_]*(\.\w+)+")
SCRIPT: Final = re.compile(r"[a-z_]+\.js")
FILE_NAME: Final = re.compile(r"[a-z_]+\.(?:js|md|py|toml|txt)")
FILE: Final = re.compile(r"[a-z]+/[\w./]*")

QUANTITY: Final = re.compile(r"(\d[\d,]*(?:\.\d+)?)(?: (KiB|MiB|MB|ms|s|min|h)\b)?")
UNITS: Final[Mapping[str, int]] = {
    "": 1, "KiB": 1 << 10, "MiB": 1 << 20, "MB": 10**6, "ms": 1, "s": 1, "min": 60, "h": 3600,
}  # fmt: skip
CONSTANT: Final = re.compile(r"^const [A-Z_]+ = ([\d_*+ ]+);", re.MULTILINE)


def module_path(name: str) -> Path | None:
    """The file or directory of a module of galileod."""
    path = PACKAGE / name.replace(".", "/")
    found = [each for each in (path.with_suffix(".py"), path) if each.exists()]
    return found[0] if found else None


def exists(name: str) -> bool:
    """Whether this is a module, or something that a module defines."""
    module, _, attribute = name.rpartition(".")
    if module_path(name):
        return True
    if not module or not module_path(module):
        return False
    return hasattr(importlib.import_module(f"galileod.{module}"), attribute)


def names() -> Iterator[tuple[str, str]]:
    """Each dotted name in backquotes, with the heading that it is directly below."""
    heading = ""
    for line in without_code(TEXT).splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        for code in codes(line):
            if DOTTED.fullmatch(code) and not FILE_NAME.fullmatch(code):
                yield heading, code


def test_each_module_exists() -> None:
    found = list(names())
    assert len(found) > 50
    for heading, name in found:
        # Below the heading of a package, its name is left out.
        below = f"{heading}.{name}" if module_path(heading) else name
        assert name in KEYS or exists(name) or exists(below), f"{heading}: {name}"


def test_each_module_in_the_steps_of_an_upload_exists() -> None:
    block = section(TEXT, STEPS).split("```")[1]
    found = re.findall(r"\b[a-z]+\.[a-z0-9_]+\b", block)
    assert len(found) > 20
    assert [name for name in found if not module_path(name)] == []


def test_each_file_exists() -> None:
    text = section(TEXT, "Where would I add …")
    paths = [code for code in codes(text) if FILE.fullmatch(code)]
    assert len(paths) > 20
    for path in paths:
        root = ROOT if path.startswith(("tests/", "docs/", "etc/")) else PACKAGE
        assert (root / path).exists() or (ROOT / path).exists(), path


def test_the_packages_are_in_the_order_that_make_check_enforces() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = [
        each["layers"] for each in contracts["contracts"] if each.get("containers") == ["galileod"]
    ]
    assert layers[0] == "__main__"
    table = [codes(row[0]) for row in rows(section(TEXT, "Packages"))]
    assert table == [layer.split(" | ") for layer in layers[1:]]


def test_the_parts_of_the_browser_client_and_of_the_page_are_named() -> None:
    text = section(TEXT, "web")
    parts = [f"client/{codes(row[0])[0]}" for row in rows(text)]
    assert parts == list(client_files.PARTS)
    for script in (path for path in static._PAGE if path.endswith(".js")):
        assert f"`{script[1:]}`" in text
    for name in filter(SCRIPT.fullmatch, codes(text)):
        assert (PACKAGE / "web" / name).exists() or (PACKAGE / "web" / "client" / name).exists()


def constants(where: list[str]) -> set[float]:
    """The numbers that these modules define."""
    found: set[float] = set()
    for name in where:
        if SCRIPT.fullmatch(name):
            (path,) = (PACKAGE / "web").rglob(name)
            terms = CONSTANT.findall(path.read_text())
            found.update(eval(term) for term in terms)  # noqa: S307  digits and operators alone
        else:
            values = vars(importlib.import_module(f"galileod.{name}")).values()
            found.update(value for value in values if isinstance(value, (int, float)))
    return found


@pytest.mark.parametrize("row", list(rows(section(TEXT, "Limits"))), ids=lambda row: row[0])
def test_each_limit_is_that_of_the_code(row: list[str]) -> None:
    _, limit, where = row
    known = constants(codes(where))
    for number, unit in QUANTITY.findall(re.sub(r"`[^`]*`", "", limit)):
        value = float(number.replace(",", "")) * UNITS[unit]
        # 1 is also the limit of a queue or of threads, which has no name.
        assert value in known or value == 1, f"{number} {unit}".strip()
