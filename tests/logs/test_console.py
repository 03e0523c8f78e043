"""The lines that people read: in which order, how wide, and with nothing that is not printable."""

import io
import re
import sys
import unicodedata
from typing import Any

import pytest
from helpers.terminal import shown
from hypothesis import given
from hypothesis import strategies as st

from galileod.logs.console import GAP, MIN_NAME, Console, fitting, shortened
from galileod.printable import printable

pytestmark = pytest.mark.timeout(30)

STAMP = "2026-11-23T12:00:00Z"


class NoTerminal(io.StringIO):
    """A stream that is a file."""

    def fileno(self) -> int:
        return sys.__stdin__.fileno() if sys.__stdin__ else 0

    def isatty(self) -> bool:
        return False


def width(text: str) -> int:
    """The columns of a text, independently of the code."""
    wide = sum(unicodedata.east_asian_width(char) in ("W", "F") for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def line(event: str, level: str = "info", scheme: str = "http", **fields: object) -> str:
    console = Console(NoTerminal(), scheme)
    return console(None, "", {"timestamp": STAMP, "level": level, "event": event, **fields})


UPLOAD: dict[str, Any] = {
    "connection": "c0ffee01",
    "peer": "192.0.2.7:51234",
    "upload": "6f867c0177c2782b",
    "name": "report.pdf",
    "size": 1258291,
    "user": "anna",
}
STORED: dict[str, Any] = {
    **UPLOAD,
    "path": "/srv/report.pdf",
    "sha1": "7a21",
    "hash_verified": True,
    "seconds": 0.036789,
    "bytes_per_second": 34203987,
}


def test_a_line_about_an_upload_begins_with_what_matters() -> None:
    assert line("upload.stored", **STORED) == (
        f"{STAMP} upload.stored       report.pdf  1.2 MiB  32.6 MiB/s  anna  0.04 s  sha1=7a21"
        "  hash_verified=True  path=/srv/report.pdf  peer=192.0.2.7:51234"
        "  upload=6f867c0177c2782b  connection=c0ffee01"
    )
    assert line("upload.failed", "warning", code="idle", reason="Nothing came.", **UPLOAD) == (
        f"{STAMP} upload.failed       warning  report.pdf  1.2 MiB  anna  idle: Nothing came."
        "  peer=192.0.2.7:51234  upload=6f867c0177c2782b  connection=c0ffee01"
    )


def test_a_file_that_is_stored_under_another_name_is_told_with_both() -> None:
    text = line("upload.stored", **{**STORED, "path": "/srv/report (1).pdf"})
    assert "report.pdf  1.2 MiB  32.6 MiB/s  anna  0.04 s  as report (1).pdf  " in text


def test_a_connection_is_told_by_its_peer() -> None:
    connection = {"connection": "c0ffee01", "peer": "192.0.2.7:51234"}
    assert line(
        "connection.refused", **connection, status=404, reason="Not here.", origin=None
    ) == (
        f"{STAMP} connection.refused  192.0.2.7:51234  Not here.  status=404  connection=c0ffee01"
    )


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:8750", "https://127.0.0.1:8750/"),
        ("localhost:80", "https://localhost:80/"),
        ("[::1]:8750", "https://[::1]:8750/"),
        ("0.0.0.0:8750", "https://127.0.0.1:8750/"),
        ("[::]:8750", "https://[::1]:8750/"),
        ("[fe80::1%eth0]:8750", "[fe80::1%eth0]:8750"),
        ("unix:/run/galileod.sock", "unix:/run/galileod.sock"),
        ("127.0.0.1:8750 proxy_protocol", "127.0.0.1:8750 proxy_protocol"),
    ],
)
def test_an_address_to_listen_on_can_be_opened_in_a_browser(listen: str, url: str) -> None:
    text = line("server.started", scheme="https", listen=[listen, "unix:/x"], version="1")
    assert text == f"{STAMP} server.started      {url}  unix:/x  version=1"


@pytest.mark.parametrize("fields", [{"size": None}, {"seconds": "1"}, {"name": 5}, {"listen": 5}])
def test_a_field_of_another_type_breaks_no_line(fields: dict[str, Any]) -> None:
    assert line("upload.stored", **fields).startswith(STAMP)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="…"), max_size=60)
parts = st.lists(texts.map(printable), max_size=6)


@given(text=texts.map(printable), columns=st.integers(1, 70))
def test_a_shortened_text_has_its_beginning_and_end(text: str, columns: int) -> None:
    short = shortened(text, columns)
    assert width(short) <= columns
    if short != text:
        start, _, end = short.partition("…")
        assert text.startswith(start)
        assert text.endswith(end)
        assert width(text) > columns


@given(leading=parts, rest=parts, columns=st.integers(0, 100))
def test_parts_that_fit_are_the_first_ones(
    leading: list[str], rest: list[str], columns: int
) -> None:
    found = fitting(leading, rest, columns)
    every = [*leading, *rest]
    assert found[1:] == every[1 : len(found)]
    assert width(GAP.join(found)) <= columns or len(found) == 1
    if len(found) < len(every) and leading and width(GAP.join(leading)) <= columns:
        assert found[0] == leading[0]
        assert width(GAP.join(every[: len(found) + 1])) > columns
    if found and leading and found[0] != leading[0]:
        assert width(found[0]) >= min(MIN_NAME, width(leading[0])) - 1


SCRIPT = """
import sys, structlog
from galileod.logs import setup as logs
logs.set_up("debug", "auto", sys.stderr)
log = structlog.get_logger().bind(connection="c0ffee01", peer="192.0.2.7:51234")
name = sys.argv[1]
log.info("connection.opened")
log = log.bind(upload="6f867c0177c2782b", name=name, size=1258291, user="anna")
log.info("upload.started")
log.info("upload.stored", path="/srv/" + name, sha1="7a21017330602a0382447f99704a03436ebfaceb",
         seconds=0.036789, bytes_per_second=34203987)
log.warning("upload.failed", code="idle", reason="Nothing came " + "for long " * 20)
log = structlog.get_logger().bind(connection="c0ffee01", peer="192.0.2.7:51234")
log.info("connection.refused", status=403, reason="Pages " + "of this origin " * 9 + "may not.")
log.info("connection.closed", reason="lost " * 20 + "at last", seconds=1.0, stored=False)
log.info("connection.closed", reason="lost", seconds=1.0, stored=False, more="and " * 30)
"""


@pytest.mark.parametrize(
    "name", ["report.pdf", "日本語" * 40 + ".pdf", "n" * 300, "a\x1b[2J\n" * 9]
)
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_frequent_lines_fit_the_terminal_and_failures_are_complete(name: str, columns: int) -> None:
    told = shown([sys.executable, "-c", SCRIPT, name], columns)
    opened, started, stored, failed, refused, lost, ended = told
    for text, words in ((opened, "192.0.2.7:51234"), (started, "  1.2 MiB"), (stored, "  1.2 MiB")):
        assert width(text) <= columns
        assert text.isprintable()
        assert re.match(r"\d\d:\d\d:\d\d ", text)
        assert words in text
    assert started.split()[2][0] == stored.split()[2][0] == name[0]
    assert "idle: Nothing came for long" in failed
    assert failed.endswith("connection=c0ffee01")
    assert "192.0.2.7:51234  Pages of this origin" in refused
    assert "may not.  status=403" in refused
    assert "192.0.2.7:51234  1.00 s  lost lost" in lost
    assert "lost at last" in lost
    assert width(ended) <= columns
    assert "192.0.2.7:51234  1.00 s  lost" in ended


REFUSED = """
import sys, structlog
from galileod.logs import setup as logs
logs.set_up("info", "auto", sys.stderr)
structlog.get_logger().info("connection.refused", peer="192.0.2.7:51234", status=403,
    reason="Pages of this origin may not upload here. " + sys.argv[1], connection="c0ffee01")
"""


def test_a_refusal_is_complete_on_each_terminal() -> None:
    advice = 'To allow them, set server.allowed_origins = ["https://app.example.org"].'
    (refused,) = shown([sys.executable, "-c", REFUSED, advice], 80)
    assert "  192.0.2.7:51234  " in refused
    assert advice in refused
    assert refused.endswith("connection=c0ffee01")


def test_a_name_with_an_emoji_stays_readable() -> None:
    assert "  👩\u200d🚀.txt  " in line("upload.started", **UPLOAD | {"name": "👩\u200d🚀.txt"})


def test_a_terminal_of_unknown_width_gets_everything() -> None:
    _, _, stored, *_ = shown([sys.executable, "-c", SCRIPT, "n" * 300], 0)
    assert "n" * 300 in stored
    assert stored.endswith("connection=c0ffee01")
