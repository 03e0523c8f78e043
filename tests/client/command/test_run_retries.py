"""Retries of `galileo-send` with servers that fail."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.receivers import TEXT, Peer, Scripted, says
from helpers.sending import Command, files_in, objects


def answers(status: int) -> Callable[[Peer], None]:
    return lambda peer: peer.answer(f"HTTP/1.1 {status} No\n\n")


@pytest.mark.parametrize(
    "failing", [Peer.reset, *map(answers, (408, 425, 429, 500, 502, 503, 504, 520, 530))]
)
def test_a_server_that_fails_twice_and_then_works_is_tried_three_times(
    command: Command, tmp_path: Path, failing: Callable[[Peer], None]
) -> None:
    got: list[bytes] = []

    def script(peer: Peer) -> None:
        if peer.number < 3:
            failing(peer)
            return
        peer.accept()
        got.append(peer.take_file())
        peer.say(close=True)
        peer.goodbye()

    (tmp_path / "a").write_bytes(b"data")
    with Scripted(script) as host:
        status, out, err = command("--retry-delay", "0", host.url, tmp_path / "a")
    assert status == 0, err
    assert got == [b"data"]
    assert "stored" in out
    assert "Attempt 3 begins" in err


@pytest.mark.parametrize("status", [500, 503, 522])
def test_files_behind_one_that_is_given_up_are_sent(
    command: Command, tmp_path: Path, status: int
) -> None:
    def script(peer: Peer) -> None:
        if peer.number < 3:
            peer.answer(f"HTTP/1.1 {status} No\n\n")
            return
        peer.accept()
        peer.take_file()
        peer.say(close=True)
        peer.goodbye()

    paths = files_in(tmp_path, "a", "b")
    with Scripted(script) as host:
        flags = ("--parallel", "1", "--retries", "1", "--retry-delay", "0")
        ended, out, err = command(*flags, host.url, *paths)
    assert ended == 1
    assert f"galileo-send: {paths[0]}: The server answered with HTTP {status}. Try again" in err
    assert f"stored {paths[1]}" in out


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("seconds", [301, 10**12])
def test_a_server_that_asks_for_a_long_wait_is_not_asked_for_each_file(
    command: Command, tmp_path: Path, status: int, seconds: int
) -> None:
    def script(peer: Peer) -> None:
        peer.answer(f"HTTP/1.1 {status} No\nRetry-After: {seconds}\n\n")

    paths = files_in(tmp_path, "a", "b", "c")
    with Scripted(script) as host:
        ended, _, err = command("--parallel", "1", host.url, *paths)
        assert host.connections == 1
    assert ended == 1
    assert f"galileo-send: {paths[2]}: not sent for the same reason." in err


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_a_url_that_is_refused_is_asked_once_for_all_files(
    command: Command, tmp_path: Path, status: int
) -> None:
    with Scripted(answers(status)) as host:
        ended, _, err = command("--parallel", "1", host.url, *files_in(tmp_path, "a", "b", "c"))
        assert host.connections == 1
    assert ended == 1
    assert "0 of 3 files stored" in err


@pytest.fixture(params=["port", "socket", "name"])
def nowhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a server that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    urls = {
        "port": f"ws://127.0.0.1:{port}/",
        "socket": f"ws+unix:{tmp_path}/none",
        "name": "ws://galileod.invalid/",
    }
    return urls[request.param]


def test_one_that_never_accepted_a_connection_is_tried_on_only_if_asked_for(
    command: Command, tmp_path: Path, nowhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galileod.client.retry.UNREACHED", 0.0)
    paths = files_in(tmp_path, "a", "b")
    flags = ("--json", "--retries", "3", "--retry-delay", "0", "--parallel", "1")
    for more, retries in ((), 0), (("--retry-connrefused",), 3):
        status, out, _ = command(*flags, *more, nowhere, *paths)
        assert status == 1
        events = [line["event"] for line in objects(out)]
        assert (events.count("retry"), events.count("failed")) == (retries, 2)


def test_one_that_has_accepted_a_connection_is_tried_on(
    command: Command, tmp_path: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galileod.client.retry.UNREACHED", 0.0)
    (tmp_path / "a").write_bytes(b"data")
    path = run_folder / "s"
    with Scripted(lambda _: path.unlink(), unix=path) as host:
        status, _, err = command("--retry-delay", "0", "--retries", "3", host.url, tmp_path / "a")
    assert status == 1
    assert "there is no such socket. Is it running? (after 4 attempts)" in err


def test_a_refusal_is_not_tried_again(command: Command, tmp_path: Path) -> None:
    script = says((TEXT, b'{"error": "Not today.", "fatal": true, "code": "too_large"}'))
    (tmp_path / "a").write_bytes(b"data")
    with Scripted(script) as host:
        status, _, _ = command("--retry-delay", "0", host.url, tmp_path / "a")
        assert host.connections == 1
    assert status == 1


def test_attempts_are_counted_and_end(command: Command, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    with Scripted(Peer.reset) as host:
        status, _, err = command("--retry-delay", "0", "--retries", "4", host.url, tmp_path / "a")
        assert host.connections == 5
    assert status == 1
    assert "(after 5 attempts)" in err
