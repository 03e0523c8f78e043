"""`galileod uploads`: the table, the JSON object, and what is said when it fails."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from helpers.daemon import Daemons, run_galileod
from helpers.responding import responding

from galileod.cli import uploads

NOW: Final = 1_800_000_000.0
RUNNING: Final[Mapping[str, object]] = {
    "upload": "b1946ac92492d234",
    "state": "running",
    "user": "anna",
    "name": "big.iso",
    "size": 20 << 30,
    "offset": 8 << 30,
    "rate": 24 << 20,
    "began": NOW - 800,
    "until": None,
    "node": None,
}
KEPT: Final[Mapping[str, object]] = {
    "upload": "0123456789abcdef",
    "state": "kept",
    "user": "192.0.2.7",
    "name": "small.bin",
    "size": 2_000_000,
    "offset": 500_000,
    "rate": None,
    "began": NOW - 7200.5,
    "until": NOW + 79_200,
    "node": None,
}


def reply(status: str, text: str) -> bytes:
    body = f"{text}\n".encode() if text else b""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def rows(*listed: Mapping[str, object]) -> bytes:
    return reply("200 OK", "\n".join(map(json.dumps, listed)))


def said(folder: Path, *arguments: str, answer: bytes, request: bytes = b"GET /uploads") -> str:
    """Standard output of the command, which succeeds."""
    with responding(folder, answer, request):
        done = run_galileod("uploads", *arguments, "--directory", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def failed(folder: Path, *arguments: str, answer: bytes, request: bytes) -> str:
    """The one line of standard error of the command, which fails with status 1."""
    with responding(folder, answer, request):
        done = run_galileod("uploads", *arguments, "--directory", str(folder))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def test_an_empty_list_is_a_heading(run_folder: Path) -> None:
    (heading,) = said(run_folder, answer=rows()).splitlines()
    assert heading.split() == [
        "upload", "state", "user", "size", "progress", "rate", "age", "left", "name",
    ]  # fmt: skip


def test_the_table_has_a_line_for_each_upload() -> None:
    cells = [uploads._cells(dict(row), NOW) for row in (RUNNING, KEPT)]
    assert [list(each.values()) for each in cells] == [
        [
            "b1946ac92492d234", "running", "anna", "20.0 GiB", "40.0%", "24.0 MiB/s", "13:20", "-",
            "big.iso",
        ],
        [
            "0123456789abcdef", "kept", "192.0.2.7", "1.9 MiB", "25.0%", "-", "2:00:00", "22:00:00",
            "small.bin",
        ],
    ]  # fmt: skip


def test_a_clock_that_was_set_back_gives_no_negative_times() -> None:
    cells = uploads._cells({**KEPT, "began": NOW + 5, "until": NOW - 5}, NOW)
    assert (cells["age"], cells["left"]) == ("0.0 s", "0.0 s")


def test_what_is_not_known_of_an_upload_at_another_node_is_left_out() -> None:
    cells = uploads._cells({**RUNNING, "rate": None, "began": None}, NOW)
    assert (cells["rate"], cells["age"]) == ("-", "-")


def test_a_daemon_of_a_version_before_the_nodes_is_understood(run_folder: Path) -> None:
    older = {key: value for key, value in RUNNING.items() if key != "node"}
    assert len(said(run_folder, answer=rows(older)).splitlines()) == 2


def test_an_empty_file_has_no_progress() -> None:
    assert uploads._cells({**RUNNING, "size": 0, "offset": 0}, NOW)["progress"] == "-"


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "gpj.\u202eexe", "a\x9bb", "\ud800"])
def test_a_name_cannot_control_the_terminal(run_folder: Path, name: str) -> None:
    lines = said(run_folder, answer=rows({**KEPT, "name": name, "user": name})).splitlines()
    assert len(lines) == 2
    assert lines[1].isprintable()


def test_the_json_object_has_times_in_utc(run_folder: Path) -> None:
    found = json.loads(said(run_folder, "--json", answer=rows(RUNNING, KEPT)))
    assert found == {
        "uploads": [
            {**RUNNING, "began": "2027-01-15T07:46:40Z"},
            {**KEPT, "began": "2027-01-15T05:59:59Z", "until": "2027-01-16T06:00:00Z"},
        ]
    }


def test_a_discarded_upload_is_told(run_folder: Path) -> None:
    answer = reply("200 OK", "discarded 0123456789abcdef of a\u202eb")
    request = b"POST /uploads/discard?upload=0123456789abcdef"
    text = said(run_folder, "discard", "0123456789abcdef", answer=answer, request=request)
    assert text == "discarded 0123456789abcdef of a\\u202eb\n"


def test_an_upload_that_is_not_there_is_an_error(run_folder: Path) -> None:
    answer = reply("404 Not Found", "no upload with this id is running or kept")
    request = b"POST /uploads/discard?upload=a+b%26c"
    line = failed(run_folder, "discard", "a b&c", answer=answer, request=request)
    assert line == "galileod: 'a b&c': no upload with this id is running or kept"


def test_a_daemon_that_cannot_discard_is_an_error(run_folder: Path) -> None:
    answer, request = reply("503 X", "torn"), b"POST /uploads/discard?upload=a"
    line = failed(run_folder, "discard", "a", answer=answer, request=request)
    assert line == "galileod: the daemon responded with status 503: torn"


def test_a_ledger_that_cannot_be_read_is_an_error(run_folder: Path) -> None:
    line = failed(run_folder, answer=rows(RUNNING, {"error": "torn"}), request=b"GET /uploads")
    assert line == f"galileod: {run_folder}/.galileod/ledger.sqlite3: torn"


@pytest.mark.parametrize("arguments", [[], ["list"], ["--json"], ["discard", "a"]])
def test_without_a_daemon_it_is_an_error(run_folder: Path, arguments: list[str]) -> None:
    done = run_galileod("uploads", *arguments, "--directory", str(run_folder))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        f"galileod: no running galileod uses storage.directory {run_folder};"
    )


@pytest.mark.parametrize("arguments", [["discard"], ["remove", "a"], ["--json", "discard", "a"]])
def test_a_command_that_is_wrong_is_misuse(arguments: list[str]) -> None:
    done = run_galileod("uploads", *arguments)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_real_daemon_is_found_by_its_configuration(daemon: Daemons) -> None:
    host = daemon()
    listed = run_galileod("uploads", "--config", host.config, "--json")
    assert json.loads(listed.stdout) == {"uploads": []}
    done = run_galileod("uploads", "discard", "0" * 16, "--config", host.config)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(": no upload with this id is running or kept\n")


def test_usage_finds_the_daemon_by_its_directory(daemon: Daemons) -> None:
    host = daemon()
    asked = run_galileod("usage", "--json", "--directory", str(host.directory))
    assert json.loads(asked.stdout) == {"users": []}
    assert host.stop() == 0
    assert (
        run_galileod("usage", "--json", "--directory", str(host.directory)).stdout == asked.stdout
    )
