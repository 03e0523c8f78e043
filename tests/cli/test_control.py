"""The client of the control socket: each way in which there is no response is one line."""

from pathlib import Path

import click
import pytest
from attrs import evolve
from helpers.responding import responding

from galileod.cli.control import ask
from galileod.config.model import Config
from galileod.ledger.settings import Ledger
from galileod.storage.settings import Storage

pytestmark = pytest.mark.timeout(20)


def config(directory: Path) -> Config:
    return Config(storage=Storage(directory=str(directory)))


def said(directory: Path, timeout: float = 10) -> str:
    with pytest.raises(click.ClickException) as failed:
        ask(config(directory), "POST", "/reload", timeout)
    assert "\n" not in failed.value.message
    return failed.value.message


def test_the_status_and_the_text_are_given(run_folder: Path) -> None:
    reply = b"HTTP/1.1 422 X\r\nContent-Length: 4\r\n\r\n\xc3\xbc.\n"
    with responding(run_folder, reply):
        assert ask(config(run_folder), "POST", "/reload") == (422, "\xfc.")


def test_a_text_that_is_not_utf_8_is_shown_as_far_as_it_is(run_folder: Path) -> None:
    reply = b"HTTP/1.1 422 X\r\nContent-Length: 3\r\n\r\na\xff\n"
    with responding(run_folder, reply):
        assert ask(config(run_folder), "POST", "/reload") == (422, "a\ufffd")


def test_a_daemon_that_does_not_respond_is_not_waited_for(run_folder: Path) -> None:
    with responding(run_folder, None):
        assert said(run_folder, 0.05) == "the daemon did not respond within 0.05 seconds"


@pytest.mark.parametrize(
    "reply",
    [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nRel", b"\x16\r\n\r\n"],
)
def test_a_daemon_that_ends_meanwhile_or_is_busy_is_one_line(
    run_folder: Path, reply: bytes
) -> None:
    with responding(run_folder, reply):
        assert said(run_folder).endswith(
            "the daemon closed the connection before the end of its response"
        )


def test_a_directory_without_a_daemon_is_named(run_folder: Path) -> None:
    assert said(run_folder).startswith(f"no running galileod uses storage.directory {run_folder};")


def test_the_directory_of_nodes_needs_a_configuration(run_folder: Path) -> None:
    (run_folder / ".galileod/nodes/one").mkdir(parents=True)
    assert said(run_folder) == (
        f"no running galileod uses storage.directory {run_folder}; it belongs to nodes: name the"
        " configuration of one with --config"
    )


def test_a_node_that_does_not_run_is_named(run_folder: Path) -> None:
    node = evolve(config(run_folder), ledger=Ledger("postgresql://127.0.0.1/x", node="one"))
    with pytest.raises(click.ClickException) as failed:
        ask(node, "GET", "/status", 10)
    assert f'uses storage.directory {run_folder} as the node "one"; ' in failed.value.message


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_response_may_be_chunked(run_folder: Path) -> None:
    with responding(run_folder, CHUNKED + b"2\r\nab\r\n3\r\nc\nd\r\n0\r\n\r\n"):
        assert ask(config(run_folder), "POST", "/reload") == (200, "abc\nd")


@pytest.mark.parametrize(
    "reply",
    [
        CHUNKED,
        CHUNKED + b"2\r\nab\r\n",
        CHUNKED + b"2\r\na",
        CHUNKED + b"9\r\n123456789\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123456789",
        b"HTTP/1.1 200 OK\r\n\r\nab",
    ],
)
def test_a_response_that_is_incomplete_or_too_large_is_one_line(
    run_folder: Path, reply: bytes
) -> None:
    with responding(run_folder, reply), pytest.raises(click.ClickException, match="before the end"):
        ask(config(run_folder), "POST", "/reload", max_body=8)
