"""Peers, pages and programs that want to stop the kit, or to make it touch what is not its own."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Final

import pytest
import trio
from conformance.test_listen import listening, upload
from conformance.test_proxy import proxying
from helpers.conformance import new_trial
from helpers.daemon import DEADLINE, environment
from websockets.frames import Opcode
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from galileod.conformance.address import Address
from galileod.conformance.client_command import command_starter
from galileod.conformance.commands import run, running
from galileod.conformance.dialogue import Dialogue
from galileod.conformance.dialogue_state import MAX_SIGNAL, parse_signal
from galileod.conformance.events import Message
from galileod.conformance.report.write import prepare
from galileod.conformance.run import Run
from galileod.conformance.server import Server
from galileod.conformance.target import Directory, Target

KIT: Final = Path(sys.executable).with_name("galileo-conformance")
RESET: Final = struct.pack("ii", 1, 0)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_client_and_writes_the_reports(
    tmp_path: Path, how: signal.Signals
) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    client = f"sh -c 'trap \"\" TERM; (exec sleep 1000 >{started}) & wait' x {{url}} {{file}}"
    command: list[str | Path] = [
        KIT,
        "client",
        "--command",
        client,
        "--output",
        tmp_path / "out",
        "--case",
        "4.2",
    ]
    env = {**environment(), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as kit:
        with started.open("rb", buffering=0) as pipe:
            kit.send_signal(how)
            assert pipe.read() == b""  # the end: the child of the client has gone
        kit.communicate(timeout=DEADLINE)
    assert kit.returncode == 130
    assert json.loads((tmp_path / "out" / "index.json").read_text())["cases"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "started"]


def test_a_page_that_resets_a_connection_does_not_end_the_run(tmp_path: Path) -> None:
    with listening(tmp_path) as kit:
        host, _, port = kit.address.partition(":")
        for said in (b"", b"GET /ne"):
            with socket.create_connection((host, int(port)), DEADLINE) as sock:
                sock.sendall(said)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        task = kit.next()
        upload(kit, task)
        assert kit.report(task, success=True) == 200
        assert kit.report(task, success=False) in {200, 404}  # the first one counts
        assert kit.next() == {"end": True}
        (case,) = kit.conclude()
    assert case["verdict"] == "PASS"


def hostile_signals() -> list[str]:
    digits = "9" * 4300
    nested = "[" * 900 + "]" * 900
    return [
        f'{{"ready":true,"chunksize":{digits}}}',
        f'{{"ready":true,"chunksize":{digits}}}',
        f'{{"error":{nested},"fatal":{nested}}}',
        f'{{"close":true,"name":{digits}0}}',
    ]


def test_numbers_of_many_digits_and_deep_lists_do_not_stop_the_proxy(tmp_path: Path) -> None:
    def answer(websocket: ServerConnection) -> None:
        websocket.recv(timeout=DEADLINE)
        for said in hostile_signals():
            websocket.send(said)

    with serve(answer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        with proxying(tmp_path, f"ws://127.0.0.1:{port}") as proxy:
            for _ in range(2):
                with connect(proxy.url) as websocket:
                    websocket.send('{"name":"a","size":3}')
                    for said in hostile_signals():
                        assert websocket.recv(timeout=DEADLINE) == said
            cases = proxy.stop()
        server.shutdown()
        thread.join()
    assert [case["verdict"] for case in cases] == ["FAIL", "FAIL"]


@pytest.mark.parametrize("said", hostile_signals())
def test_the_rules_take_any_signal(said: str) -> None:
    dialogue = Dialogue("both")
    dialogue.client(Message(Opcode.TEXT, b'{"name":"a","size":3}'))
    for _ in range(3):
        assert dialogue.server(Message(Opcode.TEXT, said.encode()))


def test_a_signal_that_is_far_too_long_is_not_parsed() -> None:
    padding = b"x" * MAX_SIGNAL
    assert parse_signal(Message(Opcode.TEXT, b'{"x":"' + padding + b'"}')) is None


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", ".", "..", "", "a\0", 5, None])
async def test_only_plain_names_are_looked_for(tmp_path: Path, name: object) -> None:
    stored = tmp_path / "stored"
    stored.mkdir()
    (tmp_path / "secret").write_bytes(b"not of the server")
    target = Target(Address.parse("ws://h/"), Directory(stored))
    assert await Server(target, new_trial()).stored(name) is None


async def test_a_server_that_a_command_starts_in_the_background_goes_on(tmp_path: Path) -> None:
    asked, answered = tmp_path / "asked", tmp_path / "answered"
    os.mkfifo(asked)
    os.mkfifo(answered)
    script = f"cat <{asked} >{answered} 2>/dev/null &"
    with trio.fail_after(DEADLINE):
        status, _ = await run(["sh", "-c", script], DEADLINE, leaves=True)
        assert status == 0
        in_thread = partial(trio.to_thread.run_sync, abandon_on_cancel=True)
        await in_thread(asked.write_text, "alive")
        assert await in_thread(answered.read_text) == "alive"


async def test_a_command_that_does_not_end_is_killed_whatever_it_may_leave(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with trio.fail_after(DEADLINE):
        async with running(["sh", "-c", f"exec sleep 1000 >{pipe}"], leaves=True):
            file = await trio.to_thread.run_sync(lambda: pipe.open("rb", buffering=0))
        with file:
            assert await trio.to_thread.run_sync(file.read) == b""


async def test_a_file_that_the_client_replaces_by_a_pipe_does_not_stop_the_case() -> None:
    replace = "import os, sys; os.unlink(sys.argv[2]); os.mkfifo(sys.argv[2])"
    words = (sys.executable, "-c", replace, "{url}", "{file}")
    with trio.fail_after(DEADLINE):
        async with command_starter(words) as starter:
            for content in (b"one", b"two"):
                attempt = Run(new_trial(), content)
                async with starter.start(attempt, "a.bin"):
                    assert (await attempt.outcome()).success


async def test_a_connection_that_is_opened_and_not_used_is_no_violation() -> None:
    spare = (
        "import socket, sys; from urllib.parse import urlsplit; u = urlsplit(sys.argv[1]);"
        "socket.create_connection((u.hostname, u.port)).close()"
    )
    trial = new_trial()
    with trio.fail_after(DEADLINE):
        async with command_starter((sys.executable, "-c", spare, "{url}", "{file}")) as starter:
            attempt = Run(trial, b"one")
            async with starter.start(attempt, "a.bin"):
                await attempt.outcome()
    assert trial.judge.findings == ()


def test_the_reports_of_an_earlier_run_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    ours = ("1.1.1.txt", "connection-12.txt", "index.html", "junit.xml")
    for name in ours:
        (tmp_path / name).write_text("old")
    (tmp_path / "index.json").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "notes.txt").write_text("mine")
    prepare(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "elsewhere": "mine",
        "notes.txt": "mine",
    }


def test_the_reports_are_written_though_nobody_reads_the_table(tmp_path: Path) -> None:
    command: list[str | Path] = [
        KIT,
        "client",
        "--command",
        "true {url} {file}",
        "--output",
        tmp_path / "out",
    ]
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as closed:
        done = subprocess.run(
            [*command, "--case", "4.2.1"],
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=DEADLINE,
            check=False,
        )
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "out" / "index.json").exists()


@pytest.mark.parametrize("host", ["a" * 64, "a..b", ".a"])
def test_a_host_that_no_name_server_can_be_asked_for_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="has a host"):
        Address.parse(f"ws://{host}/")
