"""Retries of `galileo-send` with servers that fail."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.receivers import TEXT, Peer, Scripted, says
from helpers.sending import Command


@pytest.mark.parametrize("failing", [Peer.reset, lambda peer: peer.answer("HTTP/1.1 503 No\n\n")])
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
