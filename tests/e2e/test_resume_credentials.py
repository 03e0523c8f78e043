"""Who may resume an upload: credentials that have expired, were used, or are somebody else's."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.clients import Signal, hear, open_websocket, some_bytes
from helpers.credentials import Office, ticket
from helpers.daemon import Daemon, log_time
from helpers.resuming import ResumingClient

DATA = some_bytes(2_000_000)
SENT = 1_500_000


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    office = Office(tmp_path_factory.mktemp("resuming"), "token", "ticket")
    with office.host.start():
        yield office


def expired(sub: str = "anna") -> str:
    return ticket(exp=time.time() - 60, sub=sub)


def client_with(
    office: Office, credential: str | None, like: ResumingClient | None = None
) -> ResumingClient:
    """A client of the same file and key as `like`, with a credential in its metadata."""
    more = {} if credential is None else {"token": credential}
    if like is None:
        return ResumingClient(office.host.url, DATA, more=more)
    return ResumingClient(office.host.url, DATA, like.name, like.key, more)


def interrupt(office: Office, client: ResumingClient, sent: int = SENT) -> None:
    since = log_time()
    with client.attempt() as attempt:
        attempt.send(sent)
        attempt.cut()
    event = "upload.kept" if sent else "upload.failed"
    office.host.wait_for(event, since=since, name=client.name)


def first_signal(client: ResumingClient, header: str | None = None) -> Signal:
    headers = {"Authorization": f"Bearer {header}"} if header else {}
    with open_websocket(client.url, additional_headers=headers) as websocket:
        client.introduce(websocket)
        return hear(websocket)


@pytest.mark.parametrize("where", ["metadata", "handshake"])
def test_an_expired_ticket_of_the_same_user_resumes(office: Office, where: str) -> None:
    client = client_with(office, ticket())
    interrupt(office, client)
    if where == "metadata":
        first = first_signal(client_with(office, expired(), client))
    else:
        first = first_signal(client_with(office, None, client), expired())
    assert (first["ready"], first["offset"]) == (True, SENT)


@pytest.mark.parametrize("where", ["metadata", "handshake"])
def test_an_expired_ticket_begins_nothing(office: Office, where: str) -> None:
    since = log_time()
    if where == "metadata":
        first = first_signal(client_with(office, expired()))
    else:
        first = first_signal(client_with(office, None), expired())
    assert (first["code"], first["error"]) == (
        "unauthorized", "The credentials are not valid here.",
    )  # fmt: skip
    office.host.wait_for("credentials.refused", since=since, reason="the ticket has expired")


def test_a_ticket_for_one_upload_is_good_for_all_its_connections(office: Office) -> None:
    once = ticket(jti="once")
    client = client_with(office, once)
    for sent in (0, 0, SENT):  # of the first two, nothing is kept
        interrupt(office, client, sent)
    with client.attempt() as attempt:
        assert attempt.first["offset"] == SENT
        assert attempt.finish() == client.stored()
    assert first_signal(client) == client.stored(can=["resume"])
    assert first_signal(client_with(office, once))["code"] == "unauthorized"


@pytest.mark.parametrize("sub", ["berta", "anna "[:4]])
def test_the_key_is_known_to_its_user_alone(office: Office, sub: str) -> None:
    client = client_with(office, ticket(sub="anna"))
    interrupt(office, client)
    first = first_signal(client_with(office, ticket(sub=sub), client))
    assert first["offset"] == (SENT if sub == "anna" else 0)
    assert first_signal(client_with(office, expired(sub="berta"), client))["code"] == (
        "unauthorized"
    )


def test_another_user_s_claim_does_not_stop_an_upload(office: Office) -> None:
    client = client_with(office, ticket(sub="anna"))
    with client.attempt() as attempt:
        attempt.send(SENT)
        first = first_signal(client_with(office, ticket(sub="berta"), client))
        assert first["offset"] == 0
        assert attempt.finish() == client.stored()


def test_a_token_must_still_be_valid(office: Office) -> None:
    token = office.token("carla")
    client = client_with(office, token)
    interrupt(office, client)
    office.revoke("carla")
    assert first_signal(client)["code"] == "unauthorized"
    again = first_signal(client_with(office, office.token("carla"), client))
    assert again["offset"] == SENT


def test_without_a_credential_a_key_is_worth_nothing(office: Office) -> None:
    client = client_with(office, ticket())
    interrupt(office, client)
    first = first_signal(client_with(office, None, client))
    assert first["code"] == "unauthorized"
    assert "offset" not in first


def test_what_a_ticket_allowed_at_the_beginning_stays(office: Office) -> None:
    client = client_with(office, ticket(name="allowed.bin", max_size=len(DATA)))
    client.name = "allowed.bin"
    interrupt(office, client)
    first = first_signal(client_with(office, ticket(name="other.bin", max_size=1), client))
    assert first["offset"] == SENT


def test_anonymous_uploads_are_held_by_the_key_alone(tmp_path: Path) -> None:
    settings = {"server": {"trusted_proxies": ["127.0.0.1"]}}
    with Daemon(tmp_path, settings).start() as host:
        client = ResumingClient(host.url, DATA)
        with client.attempt(additional_headers={"X-Forwarded-For": "192.0.2.1"}) as attempt:
            attempt.send(SENT)
            attempt.cut()
        assert host.wait_for("upload.kept")["user"] == "192.0.2.1"
        with client.attempt(additional_headers={"X-Forwarded-For": "192.0.2.2"}) as attempt:
            assert attempt.first["offset"] == SENT
            assert attempt.finish() == client.stored()
        assert host.wait_for("upload.stored")["user"] == "192.0.2.1"
