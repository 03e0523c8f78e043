"""The source of galileod as syntax trees."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parents[2] / "galileod"


@cache
def trees() -> tuple[ast.Module, ...]:
    """Every module."""
    return tuple(ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py")))


def calls() -> Iterator[ast.Call]:
    """Every call in every module."""
    for tree in trees():
        yield from calls_in(tree)


def calls_in(tree: ast.Module) -> Iterator[ast.Call]:
    """Every call in one module."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def strings_of(tree: ast.Module) -> Mapping[str, str]:
    """The strings that a module keeps under names of its own."""
    found = {}
    for node in tree.body:
        match node:
            case ast.AnnAssign(ast.Name(name), _, ast.Constant(str(text))):
                found[name] = text
            case ast.Assign([ast.Name(name)], ast.Constant(str(text))):
                found[name] = text
    return found
