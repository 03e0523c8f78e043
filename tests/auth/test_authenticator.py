import os
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import jwt
import pytest
import structlog.testing
import trio
import trio.testing

from galileod.auth.authenticator import Authenticator, TokenFile
from galileod.auth.grant import MAX_CREDENTIAL, Unauthorized
from galileod.auth.tickets import TicketKey
from galileod.auth.tokens import Token, make_token, read_tokens, write_tokens
from galileod.secretfile import SecretFileError

NOW = datetime(2026, 11, 23, tzinfo=UTC)
TICKETS = TicketKey("HS256", b"0" * 32, "uploads")


def write(path: Path, *tokens: Token) -> TokenFile:
    """As `galileod token` does it: a new file in the old one's place."""
    new = path.with_name("new")
    new.write_bytes(write_tokens(tokens))
    new.chmod(0o640)
    new.replace(path)
    return TokenFile(str(path))


def ticket(now: float, seconds: float = 60) -> str:
    return jwt.encode({"sub": "ben", "aud": "uploads", "exp": now + seconds}, b"0" * 32, "HS256")


def test_without_tokens_and_tickets_it_is_open() -> None:
    assert Authenticator().is_open
    assert not Authenticator(ticket_key=TICKETS).is_open


async def test_each_kind_is_known_by_its_form(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    text, kept = make_token("anna", NOW)
    authenticator = Authenticator(write(tmp_path / "tokens", kept), TICKETS)
    assert (await authenticator.check(text, "here")).user == "anna"
    assert (await authenticator.check(ticket(datetime.now(UTC).timestamp()), "here")).user == "ben"


async def test_a_kind_that_is_not_taken_is_refused(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    text, kept = make_token("anna", NOW)
    with pytest.raises(Unauthorized):
        await Authenticator(None, TICKETS).check(text, "here")
    tokens = write(tmp_path / "tokens", kept)
    with pytest.raises(Unauthorized):
        await Authenticator(tokens).check(ticket(datetime.now(UTC).timestamp()), "there")


async def test_a_credential_without_end_is_not_looked_at(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with pytest.raises(Unauthorized, match="too long"):
        await Authenticator(None, TICKETS).check("x" * (MAX_CREDENTIAL + 1), "here")


@pytest.mark.parametrize("credential", ["\ud800", "gal_\ud800", "\u00e9.\u00e9.\u00e9"])
async def test_a_credential_that_is_not_ascii_is_as_wrong_as_any(
    autojump_clock: trio.testing.MockClock, credential: str
) -> None:
    with pytest.raises(Unauthorized, match="not ASCII"):
        await Authenticator(None, TICKETS).check(credential, "here")


async def test_a_revoked_token_is_out_at_once(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    text, kept = make_token("anna", NOW)
    path = tmp_path / "tokens"
    authenticator = Authenticator(write(path, kept))
    assert (await authenticator.check(text, "here")).user == "anna"
    write(path)
    with pytest.raises(Unauthorized):
        await authenticator.check(text, "here")
    write(path, kept)
    path.unlink()
    with pytest.raises(Unauthorized):
        await authenticator.check(text, "there")


async def test_a_file_that_is_spoilt_leaves_the_tokens_of_before(tmp_path: Path) -> None:
    text, kept = make_token("anna", NOW)
    path = tmp_path / "tokens"
    authenticator = Authenticator(write(path, kept))
    assert (await authenticator.check(text, "here")).user == "anna"
    path.write_text("[[")
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            assert (await authenticator.check(text, "here")).user == "anna"
    assert [line["event"] for line in logged] == ["auth.tokens_rejected"], "told once"
    write(path, kept)
    assert (await authenticator.check(text, "here")).user == "anna"
    path.write_text("[[")
    with structlog.testing.capture_logs() as logged:
        assert (await authenticator.check(text, "here")).user == "anna"
    assert logged, "told again when it is spoilt again"


async def test_a_file_that_changed_is_read_once_by_all_who_ask_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, kept = make_token("anna", NOW)
    authenticator = Authenticator(write(tmp_path / "tokens", kept))
    reading = Mock(wraps=read_tokens)
    monkeypatch.setattr("galileod.auth.authenticator.read_tokens", reading)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(authenticator.check, text, "here")
    assert reading.call_count == 1


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    tokens = write(path)
    path.chmod(0o644)
    with pytest.raises(SecretFileError, match="mode 0644"):
        tokens.read()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "tokens", 0o700)
    with pytest.raises(SecretFileError, match="cannot be read"):
        TokenFile(str(tmp_path / "tokens")).read()


async def test_an_expired_ticket_that_is_allowed_is_no_failure(
    autojump_clock: trio.testing.MockClock,
) -> None:
    authenticator = Authenticator(None, TICKETS)
    expired = ticket(datetime.now(UTC).timestamp(), -60)
    began = trio.current_time()
    for _ in range(3):
        grant = await authenticator.check(expired, "here", allow_expired=True)
        assert grant.user == "ben"
        assert grant.expired
    assert trio.current_time() == began
    with pytest.raises(Unauthorized, match="expired"):
        await authenticator.check(expired, "here")
    assert trio.current_time() == began + 0.25, "the delay of the first failure"


async def test_an_expired_token_is_refused_where_tickets_may_have_expired(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    text, kept = make_token("anna", NOW, expires=NOW)
    authenticator = Authenticator(write(tmp_path / "tokens", kept), TICKETS)
    with pytest.raises(Unauthorized, match="expired"):
        await authenticator.check(text, "here", allow_expired=True)


async def test_who_fails_again_and_again_waits_longer_each_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    authenticator = Authenticator(None, TICKETS)
    waited = []
    for _ in range(8):
        began = trio.current_time()
        with pytest.raises(Unauthorized):
            await authenticator.check("wrong", "here")
        waited.append(trio.current_time() - began)
    assert waited == pytest.approx([0.25, 0.5, 1, 2, 4, 5, 5, 5])


async def test_who_is_right_waits_for_nobody_who_fails_at_the_same_address(
    autojump_clock: trio.testing.MockClock,
) -> None:
    authenticator = Authenticator(None, TICKETS)

    async def fail() -> None:
        with pytest.raises(Unauthorized):
            await authenticator.check("wrong", "here")

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(fail)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        right = ticket(datetime.now(UTC).timestamp())
        assert (await authenticator.check(right, "here")).user == "ben"
        assert trio.current_time() == began
