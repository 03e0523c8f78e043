"""Who is let in: each way to show each credential, right and wrong in every way."""

import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from helpers.clients import JavaScriptClient, ask, open_websocket, request, unique_name
from helpers.credentials import Office, ticket
from helpers.daemon import run_galileod
from helpers.reloading import hang_up, reload, rewrite
from websockets.exceptions import InvalidStatus

from galileod.client import RefusedError, UpgradeError, send_file_sync

DATA = b"0123456789"

WRONG = "wrong"
"""Told by 401 in a handshake, by `unauthorized` after the metadata."""


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    office = Office(tmp_path_factory.mktemp("office"), "token", "ticket")
    with office.host:
        office.host.start()
        yield office


def revoked(office: Office) -> str:
    token = office.token("carl")
    office.revoke("carl")
    return token


def used(office: Office) -> str:
    credential = ticket(jti=unique_name())
    client = JavaScriptClient(office.host.url, DATA, token=credential)
    assert client.run().ending == "stored"
    return credential


NAME = "the name.bin"

CREDENTIALS: Mapping[str, tuple[Callable[[Office], str], str | None]] = {
    "a token": (lambda office: office.token(), None),
    "a token for large files": (lambda office: office.token("anna", "--max-file-size", "10"), None),
    "a token for less": (lambda office: office.token("anna", "--max-file-size", "9"), "too_large"),
    "a token with a small quota": (
        lambda office: office.token("dora", "--quota", "9"), "quota_exceeded",
    ),
    "an expired token": (lambda office: office.token("anna", "--expires", "1ms"), WRONG),
    "a revoked token": (revoked, WRONG),
    "a token cut short": (lambda office: office.token()[:-1], WRONG),
    "a token with another end": (lambda office: office.token()[:-4] + "zzzz", WRONG),
    "a token that nobody made": (lambda _: f"gal_{'0' * 12}_{'0' * 40}", WRONG),
    "a ticket": (lambda _: ticket(), None),
    "a ticket for a single upload": (lambda _: ticket(jti=unique_name()), None),
    "a ticket of a clock that is ahead": (
        lambda _: ticket(iat=time.time() + 3, nbf=time.time() + 3, jti=unique_name()), None
    ),
    "a ticket for this name": (lambda _: ticket(name=NAME), None),
    "a ticket for this size": (lambda _: ticket(max_size=10), None),
    "a ticket for another name": (lambda _: ticket(name="other"), "unauthorized"),
    "a ticket for less": (lambda _: ticket(max_size=9), "too_large"),
    "a ticket that was used": (used, "unauthorized"),
    "an expired ticket": (lambda _: ticket(exp=time.time() - 60), WRONG),
    "a ticket of last year": (lambda _: ticket(exp=time.time() - 365 * 86400), WRONG),
    "a ticket of tomorrow": (lambda _: ticket(nbf=time.time() + 30), WRONG),
    "a ticket without an end": (lambda _: ticket(exp=None), WRONG),
    "a ticket for a day": (lambda _: ticket(exp=time.time() + 86400), WRONG),
    "a ticket of another's key": (lambda _: ticket(key="x" * 32), WRONG),
    "a ticket for others": (lambda _: ticket(aud="others"), WRONG),
    "a ticket by another algorithm": (lambda _: ticket(key="x" * 64, algorithm="HS512"), WRONG),
    "a ticket by no algorithm": (lambda _: ticket(key=None, algorithm="none"), WRONG),
    "a ticket cut short": (lambda _: ticket()[:-5], WRONG),
    "nothing but a word": (lambda _: "please", WRONG),
    "an endless word": (lambda _: "x" * 5000, WRONG),
}  # fmt: skip


def by_page(office: Office, credential: str) -> str | None:
    """In the metadata, as the page does it."""
    outcome = JavaScriptClient(office.host.url, DATA, NAME, token=credential).run()
    assert (outcome.ending == "stored") == (outcome.code is None)
    return WRONG if outcome.errors and "not valid" in outcome.errors[-1]["error"] else outcome.code


def by_url(office: Office, credential: str) -> str | None:
    """In the URL, as the original client must."""
    url = f"{office.host.url}?a=1&ticket={quote(credential)}"
    try:
        return JavaScriptClient(url, DATA, NAME).run().code
    except InvalidStatus as refused:
        answer = refused.response
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="galileod"'
    assert answer.body == b"The credentials are not valid here.\n"
    return WRONG


def by_galileo_send(office: Office, credential: str) -> str | None:
    """As Bearer in a header, as galileo-send does it."""
    try:
        send_file_sync(office.host.url, DATA, name=NAME, token=credential)
    except RefusedError as refused:
        return str(refused.signal["code"])
    except UpgradeError as refused:
        return WRONG if refused.status == 401 else str(refused)
    return None


@pytest.mark.parametrize("way", [by_page, by_url, by_galileo_send])
@pytest.mark.parametrize("what", CREDENTIALS)
def test_what_is_let_in_is_what_should_be(
    office: Office, way: Callable[[Office, str], str | None], what: str
) -> None:
    make, expected = CREDENTIALS[what]
    told = way(office, make(office))
    if what in ("a ticket that was used", "an expired ticket"):
        assert told in ("unauthorized", WRONG)  # found out with the metadata, whatever the way
    else:
        assert told == expected


def test_nothing_shown_is_told_what_is_needed(office: Office) -> None:
    outcome = JavaScriptClient(office.host.url, DATA).run()
    assert outcome.code == "unauthorized"
    assert outcome.errors[-1]["error"] == "A token or a ticket is needed to upload here."
    assert office.host.find("upload.started", peer=outcome.peer) is None


def test_the_user_is_the_one_of_the_credential(office: Office) -> None:
    for credential, user in ((office.token("e. f."), "e. f."), (ticket(sub="auth0|7"), "auth0|7")):
        client = JavaScriptClient(office.host.url, DATA, token=credential)
        assert client.run().ending == "stored"
        stored = office.host.wait_for("upload.stored", name=client.name)
        assert stored["user"] == user
        assert user in office.run("usage", "--json")


def test_a_ticket_is_used_up_by_one_upload_of_two_at_once(office: Office) -> None:
    credential = ticket(jti=unique_name())
    with (
        open_websocket(office.host.url) as one,
        open_websocket(office.host.url) as other,
    ):
        for websocket in (one, other):
            websocket.send(f'{{"name": "x", "size": 9, "token": "{credential}"}}')
        heard = [str(websocket.recv(10)) for websocket in (one, other)]
    assert sorted("unauthorized" in text for text in heard) == [False, True]


def test_the_wrong_way_to_show_it_is_no_way(office: Office) -> None:
    token = office.token()
    for authorization in (f"Basic {token}", token, f"Bearer{token}", "Bearer", "Bearer "):
        head = request("/upload", {"Authorization": authorization})
        assert ask(office.host, head).status in (101, 401)
    assert (
        ask(office.host, request("/upload", {"Authorization": f"bearer  {token} "})).status == 101
    )
    assert ask(office.host, request(f"/upload?token={token}")).status == 101, "not looked at"


def test_what_is_shown_stands_in_no_line_of_the_log(tmp_path: Path) -> None:
    office = Office(tmp_path, "token", "ticket")
    with office.host as host:
        rewrite(host, {"log": {"format": "json", "level": "debug"}})
        host.start()
        shown = [office.token(), ticket(), ticket(key="x" * 32), "gal_hunter2", "hunter2.x.y"]
        for credential in shown:
            for way in (by_page, by_url, by_galileo_send):
                way(office, credential)
        assert host.stop() == 0
        assert host.wait_for("credentials.refused")
        for credential in shown:
            # The id of a token is no secret; a ticket may have an underscore anywhere.
            secret = credential if "." in credential else credential.rpartition("_")[2]
            assert secret not in host.text()
        assert "hunter2" not in host.text()


def test_refused_credentials_are_counted(office: Office) -> None:
    def count() -> float:
        metrics = ask(office.host, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").body.decode()
        (line,) = (
            line
            for line in metrics.splitlines()
            if line.startswith("galileod_credentials_refused_total ")
        )
        return float(line.split()[1])

    before = count()
    assert by_page(office, "wrong") == by_url(office, "wrong") == WRONG
    assert count() == before + 2


def test_a_file_goes_into_the_folder_of_its_user(tmp_path: Path) -> None:
    office = Office(tmp_path, "ticket")
    with office.host as host:
        rewrite(host, {"storage": {"layout": "{user}/{name}"}})
        host.start()
        for user, folder in (("anna", "anna"), ("../../etc", None)):
            client = JavaScriptClient(host.url, DATA, token=ticket(sub=user))
            outcome = client.run()
            assert outcome.close == {"close": True}, "the name is the one that was sent"
            path = Path(host.wait_for("upload.stored", name=client.name)["path"])
            assert path.read_bytes() == DATA
            assert path.parent.parent == host.directory
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
            if folder:
                assert path.parent.name == folder
        assert host.stop() == 0
        host.start()
        assert '"files": 1' in office.run("usage", "--json")


def test_a_mode_and_its_files_are_in_force_after_a_reload(tmp_path: Path) -> None:
    office = Office(tmp_path, "none")
    with office.host as host:
        host.start()
        assert JavaScriptClient(host.url, DATA).run().ending == "stored"
        reload(host, {"auth": {"mode": "token"}})
        assert JavaScriptClient(host.url, DATA).run().code == "unauthorized"
        assert by_page(office, office.token()) is None
        assert by_page(office, ticket()) == WRONG
        reload(host, {"auth": {"mode": ["token", "ticket"]}})
        assert by_page(office, ticket()) is None
        other = tmp_path / "other"
        other.write_text("y" * 32)
        other.chmod(0o600)
        before = {"algorithm": "HS256", "key_file": str(other), "audience": "uploads"}
        reload(host, {"auth": {"ticket": before}})
        assert by_page(office, ticket()) == WRONG
        assert by_page(office, ticket(key="y" * 32)) is None
        reload(host, {"auth": {"ticket": {**before, "audience": "elsewhere"}}})
        assert by_page(office, ticket(key="y" * 32, aud="elsewhere")) is None
        rewrite(host, {"auth": {"ticket": {**before, "algorithm": "EdDSA"}}})
        assert "Ed25519" not in host.text()
        rejected = hang_up(host, "config.rejected")["reason"]
        assert f"{other}: expected a public key in PEM" in str(rejected)
        assert by_page(office, ticket(key="y" * 32, aud="elsewhere")) is None


def test_a_token_holds_and_ends_without_a_reload(office: Office) -> None:
    token = office.token("gina")
    assert by_page(office, token) is None
    office.revoke("gina")
    assert by_page(office, token) == WRONG


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["add", ""], 2, "expected 1 to 128 printable characters"),
        (["add", "a\nb"], 2, "expected 1 to 128 printable characters"),
        (["add", "a", "--expires", "soon"], 2, "expected a duration"),
        (["add", "a", "--quota", "much"], 2, "expected a size"),
        (["revoke", "nobody"], 1, "'nobody': no token has this id or user"),
    ],
)
def test_a_wrong_use_of_the_command_is_one_line(
    office: Office, arguments: list[str], status: int, told: str
) -> None:
    done = run_galileod("token", *arguments, "--config", office.host.config)
    assert done.returncode == status
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not done.stdout


def test_the_list_has_no_secret_in_it(office: Office) -> None:
    token = office.token("hugo", "--expires", "90d", "--max-file-size", "1GiB", "--quota", "5GiB")
    for listed in (office.run("token", "list"), office.run("token", "list", "--json")):
        assert token.split("_")[1] in listed
        assert token.split("_")[2] not in listed
        assert "hugo" in listed
        assert "1GiB" in listed


def test_a_key_file_that_others_may_read_is_a_configuration_error(tmp_path: Path) -> None:
    office = Office(tmp_path, "ticket")
    (tmp_path / "secret").chmod(0o644)
    for command in (["check-config"], ["serve"]):
        done = run_galileod(*command, "--config", office.host.config)
        assert done.returncode == 2
        assert "secret: has mode 0644" in done.stderr
        assert len(done.stderr.splitlines()) == 1
