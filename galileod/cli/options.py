"""Options that several commands of `galileod` have."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from galileod.config.file import DEFAULT_FILE

F = TypeVar("F", bound=Callable[..., Any])

_CONFIG: Final = f"Configuration; default: $GALILEOD_CONFIG, else {DEFAULT_FILE} if it exists."


def config_option(text: str = _CONFIG) -> Callable[[F], F]:
    """`--config FILE`, the parameter `path`; `text` is its help."""
    return click.option("--config", "path", metavar="FILE", help=text)
