"""galileo-conformance client --listen judges a page, for which the test stands in."""

import hashlib
import http.client
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from helpers.clients import open_websocket
from helpers.daemon import DEADLINE

CONFORMANCE: Final = Path(sys.executable).with_name("galileo-conformance")

PLAIN: Final = "4.2.1"
"""The case of a plain upload."""


class Kit:
    def __init__(self, process: "subprocess.Popen[str]", output: Path) -> None:
        assert process.stdout is not None
        self.address = process.stdout.readline().split("//")[1].strip().rstrip("/")
        self._process = process
        self._output = output
        self.status = -1

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address, timeout=DEADLINE)
        try:
            connection.request(method, path.removeprefix(f"http://{self.address}"), body)
            response = connection.getresponse()
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            return response.status, response.read()
        finally:
            connection.close()

    def next(self) -> dict[str, Any]:
        status, body = self.request("GET", "/next")
        assert status == 200
        task: dict[str, Any] = json.loads(body)
        return task

    def report(self, task: dict[str, Any], **result: object) -> int:
        status, _ = self.request("POST", task["result"], json.dumps(result).encode())
        return status

    def conclude(self) -> list[dict[str, Any]]:
        self._process.communicate(timeout=DEADLINE)
        self.status = self._process.returncode
        cases: list[dict[str, Any]] = json.loads((self._output / "index.json").read_text())["cases"]
        return cases


@contextmanager
def listening(folder: Path, *options: str) -> Iterator[Kit]:
    output = folder / "report"
    where = ("--listen", "127.0.0.1:0", "--output", output, "--case", PLAIN)
    command: list[str | Path] = [CONFORMANCE, "client", *where, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Kit(process, output)
        finally:
            process.kill()


def upload(kit: Kit, task: dict[str, Any]) -> None:
    """What a correct client does."""
    status, content = kit.request("GET", task["file"])
    assert (status, len(content)) == (200, task["size"])
    sent = 0
    with open_websocket(task["url"]) as websocket:
        websocket.send(json.dumps({"name": task["name"], "size": task["size"]}))
        while not (signal := json.loads(websocket.recv(timeout=DEADLINE))).get("close"):
            size = signal.get("chunksize") or 250_000
            if sent < len(content):
                websocket.send(content[sent : sent + size])
                sent += size
            else:
                sha1 = hashlib.sha1(content, usedforsecurity=False).hexdigest()
                websocket.send(
                    json.dumps({"finished": True, "hash": {"type": "sha1", "value": sha1}})
                )


def test_a_page_that_uploads_and_says_so_passes(tmp_path: Path) -> None:
    with listening(tmp_path) as kit:
        task = kit.next()
        upload(kit, task)
        assert kit.report(task, success=True) == 200
        assert kit.next() == {"end": True}
        (case,) = kit.conclude()
    assert (case["case"], case["verdict"], case["ending"]) == (PLAIN, "PASS", "clean")
    assert kit.status == 0


def test_a_page_that_reports_a_failure_fails_with_its_words(tmp_path: Path) -> None:
    with listening(tmp_path) as kit:
        task = kit.next()
        upload(kit, task)
        assert kit.report(task, success=False, error="it did not work") == 200
        assert kit.next() == {"end": True}
        (case,) = kit.conclude()
    assert case["verdict"] == "FAIL"
    assert "it did not work" in case["findings"][-1]["sentence"]
    assert kit.status == 1


def test_a_page_that_says_nothing_fails(tmp_path: Path) -> None:
    with listening(tmp_path, "--patience", "0.2") as kit:
        upload(kit, kit.next())
        assert kit.next() == {"end": True}
        (case,) = kit.conclude()
    assert case["verdict"] == "FAIL"
    assert "neither success nor failure" in case["findings"][-1]["sentence"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"success": 1}', b"[" * 100_000, b"\xff"])
def test_a_result_of_another_form_is_refused(tmp_path: Path, body: bytes) -> None:
    with listening(tmp_path) as kit:
        task = kit.next()
        status, told = kit.request("POST", task["result"], body)
    assert status == 400
    assert b'"success"' in told


def test_a_browser_may_ask_from_any_origin(tmp_path: Path) -> None:
    with listening(tmp_path) as kit:
        assert kit.request("OPTIONS", "/run/1/result")[0] == 200
        status, page = kit.request("GET", "/")
        assert status == 200
        assert page.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/run/7/file"), ("POST", "/next"), ("GET", "/x"), ("POST", "/")]
)
def test_other_requests_find_nothing(tmp_path: Path, method: str, path: str) -> None:
    with listening(tmp_path) as kit:
        assert kit.request(method, path)[0] == 404


def test_what_is_no_http_does_not_end_the_kit(tmp_path: Path) -> None:
    with listening(tmp_path) as kit:
        host, _, port = kit.address.partition(":")
        for data in (b"", b"\0" * 10_000, b"GET / HTTP/1.1\r\n", b"X\r\n\r\n"):
            with socket.create_connection((host, int(port)), DEADLINE) as sock:
                sock.sendall(data)
        assert kit.request("GET", "/")[0] == 200


@pytest.mark.parametrize(
    "options", [[], ["--listen", "127.0.0.1:0", "--command", "true {url} {file}"]]
)
def test_one_kind_of_client_must_be_named(options: list[str]) -> None:
    told = run_client(*options)
    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert "one of --command and --listen" in told.stderr


def test_an_address_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        told = run_client("--listen", where, "--output", str(tmp_path / "report"))
    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    assert "Cannot listen" in told.stderr


def run_client(*options: str) -> "subprocess.CompletedProcess[str]":
    command: list[str | Path] = [CONFORMANCE, "client", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
