"""When the last uses of tokens are written: at once, then once a minute, and at the end."""

import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve, field, frozen
from helpers.memory_store import MemoryStore
from helpers.wire import serving
from structlog.testing import capture_logs

from galileod.auth.authenticator import Authenticator, TokenFile
from galileod.auth.tokens import id_of, make_token, write_tokens
from galileod.auth.uses import SAVE_SECONDS, load_uses
from galileod.config.model import Config
from galileod.daemon.token_uses import save_token_uses
from galileod.storage.settings import Storage
from galileod.storage.state import token_uses_path
from galileod.uploads.context import Context

pytestmark = pytest.mark.timeout(20)


async def run_inline(step: Callable[..., object], *arguments: object, **_: Any) -> object:  # noqa: ANN401
    """As trio.to_thread.run_sync: a clock that jumps does not wait for threads."""
    await trio.lowlevel.checkpoint()
    return step(*arguments)


@frozen
class Saving:
    """A daemon that saves the uses of its tokens."""

    context: Context
    tokens: list[str]
    saving: trio.CancelScope = field(factory=trio.CancelScope)

    @property
    def path(self) -> Path:
        return Path(token_uses_path(self.context.config.storage.directory))

    async def use(self, number: int = 0) -> None:
        await self.context.authenticator.check(self.tokens[number], "here")

    def saved(self) -> set[str]:
        """The ids of the tokens in the file."""
        return set(load_uses(str(self.path)))

    async def run(self) -> None:
        with self.saving:
            await save_token_uses(self.context)


@pytest.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Saving]:
    monkeypatch.setattr(trio.to_thread, "run_sync", run_inline)
    made = [make_token(user, datetime.now(UTC)) for user in ("anna", "ben")]
    (tmp_path / "tokens").write_bytes(write_tokens([kept for _, kept in made]))
    (tmp_path / "tokens").chmod(0o600)
    (tmp_path / ".galileod").mkdir()
    config = Config(storage=Storage(directory=str(tmp_path)))
    async with serving(MemoryStore(), config) as wire:
        wire.context.authenticator = Authenticator(TokenFile(str(tmp_path / "tokens")))
        saving = Saving(wire.context, [text for text, _ in made])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(saving.run)
            yield saving
            saving.saving.cancel()


async def test_the_first_use_is_saved_at_once_and_later_ones_after_a_minute(
    daemon: Saving, autojump_clock: trio.testing.MockClock
) -> None:
    await daemon.use(0)
    await trio.sleep(0.1)
    anna, ben = map(id_of, daemon.tokens)
    assert daemon.saved() == {anna}
    first = daemon.path.stat().st_ino
    for _ in range(50):
        await daemon.use(1)
        await daemon.use(0)
        await trio.sleep(1)
    assert daemon.saved() == {anna}
    assert daemon.path.stat().st_ino == first
    await trio.sleep(SAVE_SECONDS)
    assert daemon.saved() == {anna, ben}


async def test_nothing_is_written_without_a_use(
    daemon: Saving, autojump_clock: trio.testing.MockClock
) -> None:
    await trio.sleep(10 * SAVE_SECONDS)
    assert not daemon.path.exists()
    await daemon.use()
    await trio.sleep(2 * SAVE_SECONDS)
    written = daemon.path.stat()
    await trio.sleep(10 * SAVE_SECONDS)
    assert os.path.samestat(daemon.path.stat(), written)


async def test_what_is_not_saved_yet_is_saved_at_the_end(
    daemon: Saving, autojump_clock: trio.testing.MockClock
) -> None:
    await daemon.use(0)
    await trio.sleep(0.1)
    await daemon.use(1)
    daemon.saving.cancel()
    await trio.sleep(0.1)
    assert daemon.saved() == set(map(id_of, daemon.tokens))


async def test_a_use_before_a_reload_is_not_lost(
    daemon: Saving, autojump_clock: trio.testing.MockClock
) -> None:
    await daemon.use(0)
    await trio.sleep(0.1)
    await daemon.use(1)
    before = daemon.context.authenticator
    daemon.context.authenticator = evolve(Authenticator(before.tokens), uses=before.uses)
    await trio.sleep(SAVE_SECONDS)
    assert daemon.saved() == set(map(id_of, daemon.tokens))


async def test_a_failure_is_logged_once_and_the_uses_are_saved_later(
    daemon: Saving, autojump_clock: trio.testing.MockClock
) -> None:
    daemon.path.parent.rmdir()
    with capture_logs() as logs:
        await daemon.use()
        await trio.sleep(5 * SAVE_SECONDS)
        (line,) = [line for line in logs if line["event"] == "auth.uses_not_saved"]
        assert line["path"] == str(daemon.path)
        assert line["reason"] == "No such file or directory"
        daemon.path.parent.mkdir()
        await trio.sleep(SAVE_SECONDS)
        assert daemon.saved() == {id_of(daemon.tokens[0])}
        daemon.path.unlink()
        daemon.path.parent.rmdir()
        await daemon.use()
        await trio.sleep(5 * SAVE_SECONDS)
        assert len([line for line in logs if line["event"] == "auth.uses_not_saved"]) == 2


async def test_without_tokens_nothing_is_saved_until_they_are_back(
    daemon: Saving, autojump_clock: trio.testing.MockClock
) -> None:
    before = daemon.context.authenticator
    await daemon.use(0)
    daemon.context.authenticator = Authenticator(uses=before.uses)
    await trio.sleep(5 * SAVE_SECONDS)
    assert not daemon.path.exists()
    daemon.context.authenticator = before
    await trio.sleep(2 * SAVE_SECONDS)
    assert daemon.saved() == {id_of(daemon.tokens[0])}
