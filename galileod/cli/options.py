"""Options that several commands of `galileod` have, and groups with a default command."""

import os
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from galileod.config import file as config
from galileod.config.file import Reading
from galileod.config.flags import Flags, with_flags
from galileod.config.model import Config

F = TypeVar("F", bound=Callable[..., Any])

_CONFIG: Final = (
    f"Configuration; default: $GALILEOD_CONFIG, else {config.DEFAULT_FILE} if it exists."
)


class DefaultGroup(click.Group):
    """A group that runs the command `default` if no command is given."""

    default: ClassVar[str]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click.Group."""
        own = {"--help", "-h", "--version"}
        # When a shell asks what the first word may be, any command may.
        none = not args and not ctx.resilient_parsing
        if none or (args and args[0].startswith("-") and args[0] not in own):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """See click.Group; the options of `default` may be the first word as well."""
        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-") and (default := self.get_command(ctx, self.default)):
            known = {item.value for item in found}
            more = default.shell_complete(ctx, incomplete)
            found += [item for item in more if item.value not in known]
        return found


def config_option(text: str = _CONFIG) -> Callable[[F], F]:
    """`--config FILE`, the parameter `path`; `text` is its help."""
    return click.option("--config", "path", metavar="FILE", help=text)


def daemon_options(command: F) -> F:
    """`--config FILE` and `--directory DIR`, the parameters of `daemon_config`."""
    directory = click.option(
        "--directory",
        metavar="DIR",
        help="The daemon's storage.directory; FILE is then not read.",
    )
    return config_option("The daemon's configuration, for storage.directory.")(directory(command))


def daemon_config(path: str | None, directory: str | None) -> Config:
    """The configuration of the daemon that is meant. Raises ConfigError."""
    named = directory is not None
    reading = Reading(Config()) if named else config.read(config.find_file(path, os.environ))
    return with_flags(reading, Flags(directory=directory)).checked()
