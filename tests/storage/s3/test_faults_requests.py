"""Requests that fail in each way that a proxy can make them fail, with a daemon and its clients."""

import random
import threading
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from helpers.clients import say
from helpers.daemon import Daemon, poll, run_galileod
from helpers.engines.buckets import Bucket
from helpers.engines.troubles import (
    Act,
    Answer,
    Late,
    Request,
    Troubles,
    cut,
    failed_after,
    failed_inside,
    lost,
    reset_in_body,
    says,
)
from helpers.resuming import Attempt, ResumingClient
from helpers.rounds import report, rounds, seeds
from helpers.s3_aftermath import Troubled, assert_intact
from helpers.s3_senders import PASSING, Senders, content
from helpers.s3_store import MIB, PART

FILES: Final = rounds(4, 20)
"""Large files that are stored while requests fail."""

pytestmark = pytest.mark.timeout(rounds(240, 3600))

KINDS: Final = (
    "PutObject", "Create", "UploadPart", "Complete", "HeadObject", "Abort", "DeleteObject",
    "PutTail", "HeadTail", "GetTail", "DeleteTail",
)  # fmt: skip

ACTS: Final[Sequence[Act]] = (
    says(503, "SlowDown"),
    says(500, "InternalError"),
    reset_in_body,
    lost,
    cut,
    failed_inside,
    failed_after,
)

MOST: Final = 20
"""Rounds until each request has failed in each way: more than there are ways."""


@pytest.mark.parametrize("seed", seeds(1, 40))
def test_each_kind_of_request_fails_in_each_way(
    bucket: Bucket, troubles: Troubles, hasty: Troubled, tmp_path: Path, seed: int
) -> None:
    order = random.Random(seed)
    for kind in KINDS:
        troubles.on(kind, *order.sample(ACTS, len(ACTS)))
    senders = Senders(hasty, PASSING | {"abandoned"})
    senders.over.set()
    for number in count():
        name = f"{number}.bin"
        senders.send_small(f"small-{number}", number)
        senders.send(f"large-{name}", content(name, 12 * MIB), first=cut_within_second_part)
        senders.send(f"one-{name}", content(f"one {name}", PART), first=cut_within_first_part)
        abandon(senders, f"abandoned-{name}")
        remove(senders, f"small-{number}-0.bin")
        if not troubles.left():
            break
        assert number < MOST, troubles.left()
    assert_intact(senders, bucket, tmp_path)
    text = f"{number + 1} times, {len(senders.stored)} confirmed, {dict(senders.heard)}"
    report(f"seed {seed}: {text}")


def cut_within_second_part(attempt: Attempt) -> None:
    attempt.send(7 * MIB)
    attempt.cut()


def cut_within_first_part(attempt: Attempt) -> None:
    attempt.send(2 * MIB)
    attempt.cut()


def abandon(senders: Senders, name: str) -> None:
    """Begin an upload, and have it discarded once it has a part."""
    client = ResumingClient(senders.daemon.url, content(name, 12 * MIB), name)

    def attempt() -> str:
        with client.attempt() as attempt:
            if attempt.first.get("ready"):
                attempt.send(7 * MIB)
                say(attempt.websocket, abandon=True)
            return str(attempt.last()["code"])

    poll("the end", lambda: attempt() == "abandoned", senders.daemon.text)


def remove(senders: Senders, name: str) -> None:
    """Remove a file that was stored."""
    path, host = senders.stored.pop(name).path, senders.daemon
    assert isinstance(host, Daemon)

    def removed() -> bool:
        run = run_galileod("files", "remove", path, "--config", host.config)
        return run.returncode == 0

    poll("its removal", removed, senders.daemon.text)


@pytest.mark.parametrize("seed", seeds(1, 40))
def test_requests_fail_at_random(
    bucket: Bucket, troubles: Troubles, hasty: Troubled, tmp_path: Path, seed: int
) -> None:
    act = Chance(seed)
    senders = Senders(hasty)
    with senders.running():
        troubles.always(act)
        senders.wait_for(FILES)
        troubles.always(None)
    late = act.late.release()
    assert_intact(senders, bucket, tmp_path)
    text = f"{act.count} of {act.asked} requests failed, {late} were carried out late"
    report(f"seed {seed}: {len(senders.stored)} confirmed, {dict(senders.heard)}, {text}")
    assert act.count
    assert late


class Chance:
    """Fails a share of the requests, each in another way."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._share = self._random.uniform(0.1, 0.5)
        self._lock = threading.Lock()
        self.late = Late()
        self._acts: Sequence[Act] = (*ACTS, self.late)
        self.asked = self.count = 0

    def __call__(self, request: Request) -> Answer:
        with self._lock:
            self.asked += 1
            fails = self._random.random() < self._share
            act = self._random.choice(self._acts)
            self.count += fails
        return act(request) if fails else request.forward()
