"""docs/protocol.md: its dialogues are those of a real daemon, and its tables name what there is."""

import json
import re
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from helpers.clients import open_websocket
from helpers.daemon import Daemon
from websockets.exceptions import ConnectionClosed

from galileod.protocol.errors import FaultCode

DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()

FRAME: Final = re.compile(r"\[((?:[0-9a-f]{2} ?)+)\] (.*)")

IN_HEXADECIMAL: Final = re.compile(r"\(((?:[0-9a-f]{2} ?)+)\)")

MASKED: Final = 0x80


def blocks(marker: str) -> list[str]:
    """The blocks of code behind a comment, without the notes behind their lines."""
    found = re.findall(rf"<!-- {marker} -->\n```\w*\n(.*?)```", DOCUMENT, re.DOTALL)
    return [re.sub(r" +← .*", "", block) for block in found]


def wire_bytes(line: str) -> bytes:
    """What goes over the wire for a line of the dialogue in bytes."""
    if (found := FRAME.fullmatch(line)) is None:
        return f"{line}\r\n".encode()
    header, text = bytes.fromhex(found[1]), found[2]
    in_hexadecimal = IN_HEXADECIMAL.fullmatch(text)
    payload = bytes.fromhex(in_hexadecimal[1]) if in_hexadecimal else text.encode()
    if header[1] & MASKED:
        key = header[-4:]
        payload = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
    return header + payload


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    (configuration,) = blocks("dialogues: configuration")
    settings = tomllib.loads(configuration)
    with Daemon(tmp_path, {**settings, "timeouts": {"close": "200ms"}}) as host:
        yield host.start()


def test_the_dialogue_in_bytes_is_what_goes_over_the_wire(daemon: Daemon) -> None:
    (dialogue,) = blocks("dialogue: bytes")
    lines = [(line[0], wire_bytes(line[2:])) for line in dialogue.splitlines()]
    assert {speaker for speaker, _ in lines} == {"C", "S"}
    with daemon.dial() as peer:
        for speaker, data in lines:
            if speaker == "C":
                peer.sendall(data)
            else:
                assert peer.recv(len(data), socket.MSG_WAITALL) == data
        assert peer.recv(1) == b"", "the server closes"
    assert daemon.visible()["hello.txt"].read_text() == "Hello, wire!"


def test_the_masked_chunk_is_that_of_the_dialogue() -> None:
    (dialogue,) = blocks("dialogue: bytes")
    (chunk,) = [line for line in dialogue.splitlines() if line.startswith("C [82")]
    (masked,) = blocks("dialogue: masked chunk")
    assert bytes.fromhex(masked) == wire_bytes(chunk[2:])


def test_the_daemon_answers_every_dialogue_as_it_is_described(daemon: Daemon) -> None:
    dialogues = blocks("dialogue")
    assert len(dialogues) == 4
    for dialogue in dialogues:
        play(daemon, dialogue.splitlines())


def test_the_daemon_continues_the_interrupted_upload_as_it_is_described(daemon: Daemon) -> None:
    (dialogue,) = blocks("dialogue: interrupted")
    connections = dialogue.split("C LOST\n")
    assert len(connections) == 3
    for lines in connections:
        play(daemon, lines.splitlines())
    assert daemon.visible()["disk.img"].stat().st_size == 200_000


def test_the_daemon_answers_the_question_as_it_is_described(daemon: Daemon) -> None:
    (dialogue,) = blocks("dialogue: asking")
    first, second, rest = dialogue.split("C CLOSE 1000\n")
    assert not rest
    for lines in (first, second):
        play(daemon, lines.splitlines())
    assert sorted(path.name for path in daemon.visible()["june"].iterdir()) == ["a.jpg", "b.jpg"]


def play(daemon: Daemon, lines: list[str]) -> None:
    with open_websocket(daemon.url) as websocket:
        for line in lines:
            speaker, said = line[0], line[2:]
            assert speaker in "CS", line
            if speaker == "C":
                length = said.removeprefix("BINARY ")
                websocket.send(said if length == said else bytes(int(length)))
            elif said.startswith("CLOSE "):
                with pytest.raises(ConnectionClosed) as closed:
                    websocket.recv()
                assert closed.value.rcvd is not None
                assert f"CLOSE {closed.value.rcvd.code} {closed.value.rcvd.reason}" == said
            else:
                assert json.loads(websocket.recv()) == json.loads(said), line


def test_each_fault_code_has_a_row_in_the_table() -> None:
    _, _, section = DOCUMENT.partition("\n## 5 Errors\n")
    section, _, _ = section.partition("\n## ")
    rows = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(rows) == sorted(FaultCode)
