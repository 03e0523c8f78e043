"""The documents have every flag of both programs, each at its command."""

import re
from collections.abc import Iterator
from typing import Final

import click
import pytest
from docs.tables import DOCS, codes, headings, rows, section

from galileod.cli.main import cli as galileod
from galileod.client.command.main import cli as galileo_send
from galileod.conformance.command import cli as galileo_conformance

COMMANDS: Final = (DOCS / "commands.md").read_text()


def walk(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """The command and all below it, by their names; a group that does nothing itself has none."""
    if not isinstance(command, click.Group) or command is galileod:
        yield name, command
    if isinstance(command, click.Group):
        for below, each in command.commands.items():
            yield from walk(each, f"{name} {below}")


BY_NAME: Final = dict(walk(galileod, "galileod"))


def flags(command: click.Command) -> list[str]:
    """Every flag, in the order of the help; --help only where the program itself is meant.

    With click 8.1 those of --help have no order.
    """
    parameters = command.params
    if command in (galileod, galileo_send):
        parameters = command.get_params(click.Context(command, **command.context_settings))
    options = [each for each in parameters if isinstance(each, click.Option)]
    return [flag for each in options for flag in sorted(each.opts, key=len)]


def described(text: str) -> list[str]:
    """The flags in the first column of the tables of options."""
    return [code.split()[0] for row in rows(text) for code in codes(row[0]) if code.startswith("-")]


@pytest.mark.parametrize("name", BY_NAME)
def test_each_command_has_its_flags(name: str) -> None:
    assert described(section(COMMANDS, name)) == flags(BY_NAME[name])


def test_there_is_a_section_for_each_command_and_no_other() -> None:
    sections = [each for each in headings(COMMANDS) if each.startswith("galileod")]
    assert sorted(sections) == sorted(BY_NAME)


def test_the_manual_page_has_each_command_and_its_flags() -> None:
    page = (DOCS / "galileod.8").read_text().replace("\\-", "-")
    sections = page.split("\n.SS ")[1:]
    for name, command in BY_NAME.items():
        headed = [text for text in sections if name in text.split("\n")[0]]
        assert headed, name
        for flag in flags(command):
            # These are described once, for several commands.
            shared = name == "galileod" or flag in ("--config", "--directory", "--json")
            text = page if shared else headed[0]
            assert re.search(rf'(?m)^\.B\w* (.*, " )?{flag}\b', text), (name, flag)


def test_galileo_send_has_its_flags() -> None:
    text = (DOCS / "galileo-send.md").read_text()
    assert sorted(described(text)) == sorted(flags(galileo_send))


@pytest.mark.parametrize("name", sorted(galileo_conformance.commands))
def test_each_command_of_the_conformance_kit_has_its_flags(name: str) -> None:
    text = section((DOCS / "conformance.md").read_text(), f"galileo-conformance {name}")
    assert sorted(described(text)) == sorted(flags(galileo_conformance.commands[name]))
