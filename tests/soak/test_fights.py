"""Clients that fight for one upload: one of them stores it, once."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from helpers.clients import hear, open_websocket, some_bytes
from helpers.daemon import Daemon, Daemons, poll
from helpers.resuming import ResumingClient, push
from helpers.rounds import rounds
from websockets.exceptions import WebSocketException

ROUNDS: Final = rounds(10, 500)
DATA: Final = some_bytes(3_000_000)

pytestmark = pytest.mark.timeout(rounds(120, 1200))


def fight(host: Daemon, client: ResumingClient, seed: int) -> list[str]:
    """Connect again and again, until the upload is stored; returns what was heard."""
    moments, heard = random.Random(seed), list[str]()
    while not heard or heard[-1] != "stored":
        if moments.random() < 0.5:
            heard.append(send_some_of(client, moments))
        else:
            heard.append(push(client))
        assert heard[-1] in ("stored", "taken_over", "lost", "cut"), (heard, host.text())
        assert len(heard) < 100, heard
    return heard


def send_some_of(client: ResumingClient, moments: random.Random) -> str:
    """Begin or go on, and leave at some moment, which may be during the commit."""
    try:
        with client.attempt() as attempt:
            if not attempt.first.get("ready"):
                return "stored" if attempt.first.get("close") else str(attempt.first["code"])
            attempt.send(moments.randint(attempt.offset, len(DATA)))
            if attempt.offset == len(DATA):
                attempt.websocket.send('{"finished": true}')
            attempt.reset()
    except (OSError, EOFError, AssertionError, WebSocketException):
        return "lost"
    return "cut"


def test_two_clients_fight_and_the_file_is_stored_once(daemon: Daemons) -> None:
    host = daemon({"timeouts": {"close": 1}})
    taken_over = 0
    with ThreadPoolExecutor(2) as threads:
        for number in range(ROUNDS):
            client = ResumingClient(host.url, DATA, f"{number}.bin")
            fights = [threads.submit(fight, host, client, 2 * number + each) for each in (0, 1)]
            for one in fights:
                taken_over += one.result().count("taken_over")
            path = host.directory / client.name
            assert path.read_bytes() == DATA
            path.unlink()
    assert host.visible() == {}
    poll("an empty spool", lambda: not host.spooled())
    assert taken_over > 0


def test_of_many_that_claim_an_upload_in_its_commit_the_last_hears_that_it_is_stored(
    daemon: Daemons,
) -> None:
    host = daemon()
    for number in range(ROUNDS // 5):
        client = ResumingClient(host.url, DATA, f"{number}.bin")
        together = threading.Barrier(3)

        def claim(client: ResumingClient = client, barrier: threading.Barrier = together) -> str:
            barrier.wait()
            with open_websocket(client.url) as websocket:
                client.introduce(websocket)
                first = hear(websocket)
            return "stored" if first.get("close") else str(first.get("code") or first["offset"])

        with ThreadPoolExecutor(2) as threads, client.attempt() as attempt:
            attempt.send(len(DATA))
            claims = [threads.submit(claim) for _ in range(2)]
            attempt.websocket.send('{"finished": true}')
            together.wait()
            verdict = attempt.last()
            heard = [each.result() for each in claims]
        if verdict.get("close"):
            # The last one hears it, and the one before it perhaps that this one has taken over.
            assert set(heard) in ({"stored"}, {"stored", "taken_over"})
        else:  # a claim came before `finished`
            assert verdict["code"] == "taken_over"
            assert push(client) == "stored"
        assert sorted(host.visible()) == sorted(f"{each}.bin" for each in range(number + 1))


def test_nobody_who_left_holds_an_upload_up(daemon: Daemons) -> None:
    host = daemon()
    client = ResumingClient(host.url, DATA)
    for _ in range(ROUNDS):
        with open_websocket(client.url) as websocket:
            client.introduce(websocket)
    assert push(client) == "stored"
