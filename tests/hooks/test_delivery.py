"""The deliveries, on trio's own clock: in which order, how many at once, and when again."""

import json
import sqlite3
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterator,
    MutableMapping,
    Sequence,
)
from contextlib import ExitStack, asynccontextmanager, closing
from typing import Any, Final

import pytest
import trio
from attrs import define, evolve, field
from helpers.ledgers import open_inline_ledger
from helpers.memory_store import MemoryStore
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from galileod.config.model import Config
from galileod.hooks.delivery import HOLD_MARGIN, LEDGER_PAUSE, Delivery, Receipt
from galileod.hooks.settings import Hook, HookError, Hooks
from galileod.ledger.base import Clock
from galileod.ledger.outbox import Kind, Owed
from galileod.ledger.sqlite import SqliteLedger
from galileod.policy.backoff import ATTEMPTS, DOWN_AFTER, LONGEST, LONGEST_PAUSE
from galileod.units import Duration
from galileod.uploads.context import Context
from galileod.uploads.memory import MemoryPool

PARALLEL: Final = 2
HOOKS: Final = Hooks(stored=("notify",), parallel=PARALLEL)
DAY: Final = 86400.0

Line = MutableMapping[str, Any]


@define
class Scene:
    """An outbox, and a hook that notes who was told when, and does `act` each time."""

    context: Context
    ledger: SqliteLedger
    act: Callable[[str], None] = lambda _: None
    takes: float = 0
    told: list[tuple[str, float]] = field(factory=list)
    running: int = 0
    most: int = 0

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.told]

    async def store(self, *names: str) -> None:
        for name in names:
            await self.ledger.reserve(name, "anna", 1, lambda _all, _mine: None)
            await self.ledger.promise(name, "1", json.dumps({"id": f"id-{name}", "upload": name}))
            await self.ledger.commit(name, name)

    async def remove(self, *names: str) -> None:
        """Owe receipts for removals of these files."""

        def add(connection: sqlite3.Connection) -> None:
            receipts = [
                (name, json.dumps({"id": f"id-{name}", "event": "removed", "upload": None}))
                for name in names
            ]
            connection.executemany(
                "INSERT INTO outbox (name, receipt, due, kind) VALUES (?, ?, 0, 'removed')",
                receipts,
            )

        await self.ledger.database.write(add)
        self.ledger.outbox.notify()

    async def send(self, hooks: Hooks, hook: Hook, receipt: Receipt) -> None:
        assert hook == (hooks.removed if receipt.get("event") == "removed" else hooks.stored)
        assert receipt["path"] == f"/files/{receipt['name']}"
        name = str(receipt["name"])
        self.told.append((name, trio.current_time()))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await trio.sleep(self.takes)
            self.act(name)
        finally:
            self.running -= 1

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[trio.Nursery]:
        with trio.fail_after(100 * DAY):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.delivery().run)
                yield nursery
                nursery.cancel_scope.cancel()

    def delivery(self) -> Delivery:
        context = self.context
        return Delivery(
            self.ledger.outbox,
            lambda: context.config.hooks,
            context.metrics,
            context.shutdown,
            "/files",
            self.send,
        )

    async def owed(self) -> int:
        return await self.ledger.outbox.count()


MakeScene = Callable[..., Scene]


@pytest.fixture
def make_scene() -> Iterator[MakeScene]:
    """Call it with the settings of the hook, and a clock; the ledgers are closed at the end."""
    with ExitStack() as stack:

        def make(hooks: Hooks = HOOKS, clock: Clock = trio.current_time) -> Scene:
            ledger = stack.enter_context(closing(open_inline_ledger(clock)))
            config = evolve(Config(), hooks=hooks)
            return Scene(Context(config, MemoryStore(), ledger, MemoryPool(1, 1)), ledger)

        yield make


def refuse(*names: str) -> Callable[[str], None]:
    def act(name: str) -> None:
        if not names or name in names:
            raise HookError("no")

    return act


def of_event(logs: list[Line], event: str) -> list[Line]:
    return [line for line in logs if line["event"] == event]


async def test_what_is_owed_at_the_start_is_delivered_oldest_first(
    make_scene: MakeScene,
    autojump_clock: MockClock,
) -> None:
    scene = make_scene(evolve(HOOKS, parallel=1))
    names = [str(number) for number in range(20)]
    await scene.store(*names)
    with capture_logs() as logs:
        async with scene.delivering():
            await wait_all_tasks_blocked()
    assert scene.names == names
    assert await scene.owed() == 0
    assert of_event(logs, "hook.delivered")[0] == {
        "event": "hook.delivered", "log_level": "info",
        "upload": "0", "name": "0", "id": "id-0", "attempt": 1,
    }  # fmt: skip


async def test_what_is_stored_meanwhile_is_delivered_at_once(
    make_scene: MakeScene, autojump_clock: MockClock
) -> None:
    scene = make_scene()
    async with scene.delivering():
        await trio.sleep(1000)
        await scene.store("a")
        await trio.sleep(0.001)
        assert scene.told == [("a", 1000)]


async def test_no_more_run_at_once_than_may(
    make_scene: MakeScene, autojump_clock: MockClock
) -> None:
    scene = make_scene()
    scene.takes = 1
    await scene.store(*"abcdefg")
    async with scene.delivering():
        await trio.sleep(100)
    assert sorted(scene.names) == list("abcdefg")
    assert scene.most == PARALLEL


async def test_one_that_fails_is_tried_again_ever_more_seldom_and_then_given_up(
    make_scene: MakeScene,
    autojump_clock: MockClock,
) -> None:
    scene = make_scene()
    scene.act = refuse("bad")
    await scene.store("bad")
    with capture_logs() as logs:
        async with scene.delivering():
            await trio.sleep(3 * DAY)
    assert scene.names == ["bad"] * ATTEMPTS
    *retries, failed = logs
    assert [line["attempt"] for line in retries] == list(range(1, ATTEMPTS))
    assert {(line["event"], line["log_level"]) for line in retries} == {("hook.retry", "warning")}
    assert failed == {
        "event": "hook.failed", "log_level": "error", "reason": "no",
        "upload": "bad", "name": "bad", "id": "id-bad", "attempt": ATTEMPTS,
    }  # fmt: skip
    for line, (_, before), (_, after) in zip(retries, scene.told, scene.told[1:], strict=False):
        # The hook itself may be taken to be down meanwhile.
        assert line["next"] <= after - before + 0.001 <= line["next"] + LONGEST_PAUSE + 0.002
    counted = scene.context.metrics.registry.get_sample_value
    for outcome, count in (("delivered", 0), ("retried", ATTEMPTS - 1), ("failed", 1)):
        assert counted("galileod_hook_attempts_total", {"outcome": outcome}) == count
    # It is kept, for the next start.
    assert await scene.owed() == 1


async def test_one_that_fails_does_not_starve_the_others(
    make_scene: MakeScene, autojump_clock: MockClock
) -> None:
    scene = make_scene(evolve(HOOKS, parallel=1))
    scene.act = refuse("bad")
    await scene.store("bad")
    async with scene.delivering():
        for number in range(1000):
            await scene.store(str(number))
            await trio.sleep(1)
    assert [name for name in scene.names if name != "bad"] == [str(n) for n in range(1000)]
    assert scene.names.count("bad") > 5
    assert await scene.owed() == 1


async def test_a_hook_that_is_down_is_spared_and_gets_all_once_it_is_up(
    make_scene: MakeScene,
    autojump_clock: MockClock,
) -> None:
    scene = make_scene()
    scene.act = refuse()
    names = [str(number) for number in range(300)]
    await scene.store(*names)
    async with scene.delivering():
        await trio.sleep(DAY)
        attempts = len(scene.told)
        assert DOWN_AFTER < attempts < DOWN_AFTER + 6 + PARALLEL * DAY / LONGEST_PAUSE * 2
        scene.act = lambda _: None
        scene.told.clear()
        await trio.sleep(2 * 3600)
    assert sorted(set(scene.names)) == sorted(names)
    assert await scene.owed() == 0


async def test_without_a_hook_what_is_owed_stays_and_is_told_of(
    make_scene: MakeScene, autojump_clock: MockClock
) -> None:
    scene = make_scene(Hooks())
    await scene.store("a", "b")
    with capture_logs() as logs:
        async with scene.delivering():
            await trio.sleep(DAY)
    assert scene.told == []
    assert await scene.owed() == 2
    (line,) = logs
    assert (line["event"], line["log_level"], line["deliveries"]) == ("hook.waiting", "warning", 2)


async def test_a_mistake_of_ours_is_a_failed_attempt_and_nothing_worse(
    make_scene: MakeScene,
    autojump_clock: MockClock,
) -> None:
    scene = make_scene()
    mistakes = [ZeroDivisionError("oops")]

    def act(_: str) -> None:
        if mistakes:
            raise mistakes.pop()

    scene.act = act
    await scene.store("a")
    with capture_logs() as logs:
        async with scene.delivering():
            await trio.sleep(10)
    assert [line["event"] for line in logs] == ["hook.error", "hook.retry", "hook.delivered"]
    assert await scene.owed() == 0


@pytest.mark.parametrize(
    ("column", "value", "delivered"),
    [
        ("receipt", "no JSON", False),
        ("receipt", '["no", "object"]', False),
        ("receipt", '{"id": "1"}', False),
        ("receipt", b'{"id": "1", "upload": "bad"}', True),
        ("name", b"bad", True),
        ("attempts", "some", True),
        ("due", "some day", True),
    ],
)
async def test_a_row_that_is_damaged_does_no_harm_to_others(
    make_scene: MakeScene, autojump_clock: MockClock, column: str, value: object, *, delivered: bool
) -> None:
    scene = make_scene(evolve(HOOKS, parallel=1))
    await scene.store("bad", "a")
    scene.ledger.database.connection.execute(
        f"UPDATE outbox SET {column} = ? WHERE name = 'bad'",
        (value,),
    )
    with capture_logs() as logs:
        async with scene.delivering():
            await trio.sleep(DAY)
            await scene.store("b")
            await wait_all_tasks_blocked()
    assert sorted(scene.names) == ["a", "b", *["bad"] * delivered]
    failed = [(line["name"], line["reason"]) for line in of_event(logs, "hook.failed")]
    assert failed == [("bad", "the receipt in the ledger is damaged")] * (not delivered)
    # What cannot be read is kept, for whoever wants to look at it.
    assert await scene.owed() == (not delivered)


@pytest.mark.parametrize("statement", ["DELETE", "UPDATE"])
async def test_a_ledger_that_fails_delivers_twice_but_not_at_once(
    make_scene: MakeScene, autojump_clock: MockClock, statement: str
) -> None:
    scene = make_scene()
    scene.act = refuse() if statement == "UPDATE" else scene.act
    await scene.store("a")
    connection = scene.ledger.database.connection
    connection.execute(
        f"CREATE TRIGGER bad BEFORE {statement} ON outbox BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    with capture_logs() as logs:
        async with scene.delivering():
            await trio.sleep(LEDGER_PAUSE / 2)
            assert scene.names == ["a"]
            connection.execute("DROP TRIGGER bad")
            scene.act = lambda _: None
            await trio.sleep(LEDGER_PAUSE)
    assert scene.names == ["a", "a"]
    assert "full" in of_event(logs, "ledger.behind")[0]["reason"]
    assert await scene.owed() == 0


async def test_a_daemon_that_stops_does_not_wait_for_a_ledger_that_failed(
    make_scene: MakeScene,
    autojump_clock: MockClock,
) -> None:
    scene = make_scene()
    await scene.store("a")
    scene.ledger.database.connection.execute(
        "CREATE TRIGGER bad BEFORE DELETE ON outbox BEGIN SELECT RAISE(ABORT, 'full'); END"
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.delivery().run)
        await wait_all_tasks_blocked()
        scene.context.shutdown.no_new_uploads.fire()
        began = trio.current_time()
    assert trio.current_time() < began + 1


async def test_a_ledger_that_cannot_be_read_is_asked_again(
    make_scene: MakeScene, autojump_clock: MockClock
) -> None:
    scene = make_scene()
    await scene.store("a")
    connection = scene.ledger.database.connection

    def deny(_action: int, table: str | None, *_: object) -> int:
        return sqlite3.SQLITE_DENY if table == "outbox" else sqlite3.SQLITE_OK

    connection.set_authorizer(deny)
    async with scene.delivering():
        await trio.sleep(1)
        connection.set_authorizer(None)
        await trio.sleep(LEDGER_PAUSE)
        assert scene.names == ["a"]


async def test_once_the_daemon_stops_nothing_begins_and_what_runs_may_end(
    make_scene: MakeScene,
    autojump_clock: MockClock,
) -> None:
    scene = make_scene()
    scene.takes = 10
    await scene.store("a", "b", "c")
    with trio.fail_after(20):
        async with scene.delivering():
            await trio.sleep(1)
            scene.context.shutdown.no_new_uploads.fire()
            await trio.sleep(12)
    assert sorted(scene.names) == ["a", "b"]
    assert await scene.owed() == 1


async def test_when_no_upload_may_go_on_what_runs_is_ended_and_stays_owed(
    make_scene: MakeScene,
    autojump_clock: MockClock,
) -> None:
    scene = make_scene()
    scene.takes = 1000
    await scene.store("a")
    async with scene.delivering():
        await trio.sleep(1)
        scene.context.shutdown.no_new_uploads.fire()
        scene.context.shutdown.no_uploads.fire()
        await wait_all_tasks_blocked()
        assert scene.running == 0
    assert await scene.owed() == 1


async def test_what_waited_without_a_hook_goes_to_the_one_that_is_configured_later(
    make_scene: MakeScene,
    autojump_clock: MockClock,
) -> None:
    scene = make_scene(Hooks())
    await scene.store("a")
    async with scene.delivering():
        await wait_all_tasks_blocked()
        scene.context.adopt(evolve(Config(), hooks=HOOKS))
        await wait_all_tasks_blocked()
    assert scene.names == ["a"]


@define
class WallClock:
    """A clock that runs as trio's does, and can be set."""

    offset: float = 1.7e9

    def __call__(self) -> float:
        return trio.current_time() + self.offset


@pytest.mark.parametrize("jump", [-10 * 365 * DAY, -DAY, -LONGEST, -60, 60, DAY])
async def test_a_clock_that_is_set_delays_no_attempt_by_more_than_the_longest_wait(
    make_scene: MakeScene, autojump_clock: MockClock, jump: float
) -> None:
    clock = WallClock()
    scene = make_scene(clock=clock)
    scene.act = refuse()
    await scene.store("a")
    with capture_logs() as logs:
        async with scene.delivering():
            await trio.sleep(100)
            attempts, (_, last) = len(scene.told), scene.told[-1]
            due = last + logs[-1]["next"]
            clock.offset += jump
            await trio.sleep_until(due + LONGEST + 0.01)
            assert len(scene.told) > attempts


async def test_a_receipt_put_off_before_the_clock_was_set_back_is_not_starved_by_later_ones(
    make_scene: MakeScene,
    autojump_clock: MockClock,
) -> None:
    clock = WallClock()
    scene = make_scene(evolve(HOOKS, parallel=1), clock)
    scene.act = refuse()
    await scene.store("old")
    async with scene.delivering():
        await trio.sleep(100)
        clock.offset -= DAY
        scene.act = refuse("bad")
        await scene.store("bad")
        await trio.sleep(LONGEST)
        assert scene.names.count("old") > 1
        assert await scene.owed() == 1


async def test_what_is_owed_from_before_is_due_at_the_start_whatever_the_clock_says(
    make_scene: MakeScene,
    autojump_clock: MockClock,
) -> None:
    clock = WallClock()
    scene = make_scene(clock=clock)
    await scene.store("a")
    (owed,) = await scene.ledger.outbox.first(1)
    await scene.ledger.outbox.postpone(owed.number, LONGEST)
    clock.offset = 0.0  # a machine without a battery for its clock
    scene.ledger.reconcile({"a": 1}, {})
    async with scene.delivering():
        await trio.sleep(1)
        assert scene.names == ["a"]


async def test_what_another_node_has_entered_is_delivered_without_a_signal(
    make_scene: MakeScene, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene()
    outbox = scene.ledger.outbox
    monkeypatch.setattr(outbox, "look_again", 10.0)
    async with scene.delivering():
        await trio.sleep(1)
        monkeypatch.setattr(outbox, "notify", lambda: None)
        await scene.store("a")
        await trio.sleep(8)
        assert scene.told == []
        await trio.sleep(2)
        assert scene.names == ["a"]


async def test_a_receipt_is_held_for_longer_than_its_attempt_may_take(
    make_scene: MakeScene, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene(evolve(HOOKS, timeout=Duration(300)))
    first, asked = scene.ledger.outbox.first, list[tuple[int, float]]()

    async def noted(most: int, kinds: Collection[Kind], hold: float) -> Sequence[Owed]:
        asked.append((most, hold))
        return await first(most, kinds, hold)

    monkeypatch.setattr(scene.ledger.outbox, "first", noted)
    await scene.store("a")
    async with scene.delivering():
        await trio.sleep(1)
    # And no more than can be attempted, since no other node gets them.
    assert {(PARALLEL, 300 + HOLD_MARGIN)} == set(asked)


BOTH: Final = evolve(HOOKS, removed=("other",))


async def test_each_kind_of_receipt_is_for_its_hook(
    make_scene: MakeScene, autojump_clock: MockClock
) -> None:
    scene = make_scene(BOTH)
    await scene.store("a")
    await scene.remove("b")
    async with scene.delivering():
        await wait_all_tasks_blocked()
    assert sorted(scene.names) == ["a", "b"]
    assert await scene.owed() == 0


@pytest.mark.parametrize(
    ("hooks", "delivered", "missing"),
    [(HOOKS, "a", "hooks.removed"), (Hooks(removed=("other",)), "b", "hooks.stored")],
)
async def test_receipts_without_a_hook_wait_and_keep_no_others_waiting(
    make_scene: MakeScene, autojump_clock: MockClock, hooks: Hooks, delivered: str, missing: str
) -> None:
    scene = make_scene(hooks)
    await scene.store(*(["a"] if delivered == "a" else [f"a{at}" for at in range(50)]))
    await scene.remove(*(["b"] if delivered == "b" else [f"b{at}" for at in range(50)]))
    with capture_logs() as logs:
        async with scene.delivering():
            await wait_all_tasks_blocked()
            assert scene.names == [delivered]
            assert await scene.owed() == 50
            scene.context.adopt(evolve(scene.context.config, hooks=BOTH))
            await wait_all_tasks_blocked()
    assert await scene.owed() == 0
    (waiting,) = of_event(logs, "hook.waiting")
    assert (waiting["deliveries"], waiting["reason"]) == (50, f"{missing} is not set")


async def test_a_hook_that_is_down_does_not_pause_the_other(
    make_scene: MakeScene, autojump_clock: MockClock
) -> None:
    scene = make_scene(evolve(BOTH, parallel=1))
    removed = [f"b{at}" for at in range(3 * DOWN_AFTER)]
    await scene.remove(*removed)
    scene.act = refuse(*removed)
    async with scene.delivering():
        await trio.sleep(0.001)
        assert len(scene.told) == DOWN_AFTER, "it is paused"
        began = trio.current_time()
        await scene.store("a")
        await trio.sleep(0.001)
        assert scene.told[-1] == ("a", began)
        # What is due again is attempted when the pause is over, although "a" was delivered.
        await trio.sleep(0.5)
        assert len(scene.told) == DOWN_AFTER + 1
        scene.act = lambda _: None
        await trio.sleep(LONGEST_PAUSE * 2)
    assert await scene.owed() == 0
