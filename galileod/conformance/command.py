"""The command galileo-conformance."""

import sys
from pathlib import Path

import click
import trio

import galileod.conformance.cases  # noqa: F401  # registers the cases
from galileod.conformance.address import Address
from galileod.conformance.case import CLIENT_CASES, PROFILES, SERVER_CASES
from galileod.conformance.client_command import parse_command
from galileod.conformance.commands import split
from galileod.conformance.runner import choose, run_client_cases, run_server_cases
from galileod.conformance.target import Command, Directory, Target


@click.group()
def main() -> None:
    """Judge clients and servers of GalileoSend."""


@main.command()
@click.option("--url", required=True)
@click.option("--stored", required=True)
@click.option("--case", "cases", multiple=True)
@click.option("--patience", type=float, default=5.0)
def server(url, stored, cases, patience):
    directory = Path(stored)
    target = Target(
        Address.parse(url),
        Directory(directory) if directory.is_dir() else Command(tuple(split(stored))),
    )

    async def go():
        async for result in run_server_cases(
            choose(SERVER_CASES.values(), PROFILES, cases), target, patience
        ):
            print(result, "\n" + result.transcript)

    trio.run(go)


@main.command()
@click.option("--command", required=True)
@click.option("--case", "cases", multiple=True)
@click.option("--patience", type=float, default=5.0)
def client(command, cases, patience):
    words = parse_command(command)

    async def go():
        async for result in run_client_cases(
            choose(CLIENT_CASES.values(), PROFILES, cases), words, patience
        ):
            print(result, "\n" + result.transcript)

    trio.run(go)
