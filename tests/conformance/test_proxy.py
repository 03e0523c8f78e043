"""galileo-conformance proxy passes everything on unchanged, and judges both peers."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from helpers.clients import ask, open_websocket, request, some_bytes
from helpers.daemon import DEADLINE, Daemon, free_port
from websockets.sync.client import ClientConnection

CONFORMANCE: Final = Path(sys.executable).with_name("galileo-conformance")
SEND: Final = Path(sys.executable).with_name("galileo-send")


class Proxy:
    """A proxy in front of a daemon; `report` is there once it has been stopped."""

    def __init__(self, url: str, process: "subprocess.Popen[str]", output: Path) -> None:
        self.url = url
        self._process = process
        self._output = output
        self.status = -1
        self.printed = ""

    def stop(self) -> list[dict[str, Any]]:
        self._process.send_signal(signal.SIGTERM)
        self.printed, _ = self._process.communicate(timeout=DEADLINE)
        self.status = self._process.returncode
        cases: list[dict[str, Any]] = json.loads((self._output / "index.json").read_text())["cases"]
        return cases


@contextmanager
def proxying(folder: Path, to: str, *options: str) -> Iterator[Proxy]:
    output = folder / "report"
    where = ("--to", to, "--listen", "127.0.0.1:0", "--output", output)
    command: list[str | Path] = [CONFORMANCE, "proxy", *where, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = line.removeprefix("Listening on ").partition(",")[0]
            yield Proxy(f"ws://{address}/upload", process, output)
        finally:
            process.kill()


def run_program(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def findings(case: dict[str, Any]) -> list[str]:
    return [finding["requirement"] for finding in case["findings"]]


def test_the_dialogue_of_galileo_send_and_galileod_has_no_violation(
    tmp_path: Path, daemon: Daemon
) -> None:
    content = some_bytes(3_000_000)
    (tmp_path / "a.bin").write_bytes(content)
    with proxying(tmp_path, daemon.url) as proxy:
        sent = run_program(SEND, proxy.url, tmp_path / "a.bin")
        assert sent.returncode == 0, sent.stderr
        (case,) = proxy.stop()
    assert daemon.visible()["a.bin"].read_bytes() == content
    assert (case["verdict"], case["ending"], case["findings"]) == ("PASS", "clean", [])
    assert proxy.status == 0
    assert case["title"] == "'a.bin', 3000000 bytes: stored"
    assert "1 case: 1 PASS" in proxy.printed
    transcript = (tmp_path / "report" / "connection-1.txt").read_text()
    assert 'client: TEXT {"name": "a.bin"' in transcript
    assert 'server: TEXT {"close": true, "path": "a.bin"}' in transcript


def test_a_cut_interrupts_an_upload_that_goes_on_from_there(tmp_path: Path, daemon: Daemon) -> None:
    content = some_bytes(8_000_000)
    (tmp_path / "b.bin").write_bytes(content)
    with proxying(tmp_path, daemon.url, "--cut", "2000000") as proxy:
        sent = run_program(SEND, proxy.url, tmp_path / "b.bin")
        assert sent.returncode == 0, sent.stderr
        cases = proxy.stop()
    assert daemon.visible()["b.bin"].read_bytes() == content
    assert [case["ending"] for case in cases] == ["none", "none", "clean"]
    assert {case["verdict"] for case in cases} == {"PASS"}


def test_a_client_that_sends_what_no_credit_permits_is_found(
    tmp_path: Path, daemon: Daemon
) -> None:
    with proxying(tmp_path, daemon.url) as proxy:
        with open_websocket(proxy.url) as websocket:
            websocket.send(json.dumps({"name": "c.bin", "size": 100_000_000}))
            chunksize = hear(websocket)["chunksize"]
            websocket.send(bytes(4 * chunksize))
            while not hear(websocket).get("fatal"):
                pass
        (case,) = proxy.stop()
    assert case["verdict"] == "FAIL"
    assert findings(case) == ["C3.2"]
    assert proxy.status == 1


def hear(websocket: ClientConnection) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(websocket.recv(timeout=DEADLINE))
    return said


def test_requests_that_are_no_websocket_pass_and_are_not_judged(
    tmp_path: Path, daemon: Daemon
) -> None:
    with proxying(tmp_path, daemon.url) as proxy:
        host, _, port = proxy.url.removeprefix("ws://").removesuffix("/upload").partition(":")
        plain = request("/healthz", {"Connection": None, "Upgrade": None})
        with socket.create_connection((host, int(port)), DEADLINE) as sock:
            reply = ask(daemon, plain, sock=sock)
        assert reply.status == 200
        assert proxy.stop() == []


def test_a_server_that_cannot_be_reached_is_an_error_of_the_harness(tmp_path: Path) -> None:
    with proxying(tmp_path, f"ws://127.0.0.1:{free_port()}/") as proxy:
        (tmp_path / "d.bin").write_bytes(b"x")
        run_program(SEND, "--retries", "0", proxy.url, tmp_path / "d.bin")
        (case,) = proxy.stop()
    assert case["verdict"] == "HARNESS-ERROR"
    assert "cannot connect" in case["findings"][0]["sentence"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--to", "http://x"], "no scheme ws:// or wss://"),
        (["--to", "ws://x", "--listen", "x:99999"], "expected HOST:PORT"),
        (["--to", "ws://x", "--listen", "x"], "expected HOST:PORT"),
        (["--to", "ws://x", "--cut", "0"], "--cut"),
    ],
)
def test_wrong_options_are_told_in_one_line(options: list[str], said: str) -> None:
    told = run_program(CONFORMANCE, "proxy", *options)
    assert told.returncode == 2
    assert said in told.stderr
    assert told.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon")) as host:
        yield host.start()


def test_an_address_in_use_is_told_in_one_line(tmp_path: Path, daemon: Daemon) -> None:
    where = "{}:{}".format(*daemon.address)
    options = ("--to", "ws://x", "--listen", where, "--output", tmp_path / "report")
    told = run_program(CONFORMANCE, "proxy", *options)
    assert (told.returncode, told.stderr.count("\n")) == (1, 1)
    assert "Cannot listen" in told.stderr
