"""Tokens over their life: a note, an end, the last use, and a refusal that tells the log why."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers.clients import JavaScriptClient, ask, request
from helpers.credentials import Office
from helpers.daemon import poll, run_galileod
from helpers.reloading import hang_up

from galileod.auth.tokens import id_of

DATA = b"0123456789"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office(tmp_path, "token")
    with office.host:
        yield office


def listed(office: Office) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(office.run("token", "list", "--json"))["tokens"]
    return rows


def test_a_token_has_a_note_and_an_end(office: Office) -> None:
    office.token("anna", "--note", "Anna's backup, Ω", "--expires", "2127-01-01")
    office.token("ben", "--expires", "2127-01-01T12:30:15+01:00")
    office.token("carl", "--expires", "2127-01-01T12:30")
    office.token("dora", "--expires", "90d")
    anna, ben, carl, dora = listed(office)
    assert (anna["note"], anna["expires"]) == ("Anna's backup, Ω", "2127-01-01T00:00:00Z")
    assert (ben["note"], ben["expires"]) == (None, "2127-01-01T11:30:15Z")
    assert carl["expires"] == "2127-01-01T12:30:00Z"
    lifetime = datetime.fromisoformat(dora["expires"]) - datetime.fromisoformat(dora["created"])
    assert lifetime == timedelta(days=90)
    table = office.run("token", "list").splitlines()
    assert table[1].endswith("  Anna's backup, Ω")
    assert table[2].endswith("  -")
    assert "last used" in table[0]


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--expires", "2020-01-01", "'2020-01-01': is past: expected a duration such as"),
        ("--expires", "0d", "'0d': is past: expected a duration such as"),
        ("--expires", "soon", "'soon': expected a duration such as"),
        ("--expires", "2027-02-30", "'2027-02-30': expected a duration such as"),
        ("--expires", "9999-12-31T23:59-23:00", "expected a duration such as"),
        ("--expires", "", "'': expected a duration such as"),
        ("--expires", "0", "'0': is past: expected a duration such as"),
        ("--expires", "99990101", "'99990101': may be a date or seconds: expected a duration"),
        ("--expires", "\u0669\u0660", "expected a duration such as"),
        ("--quota", "9" * 5000, "expected a size such as"),
        ("--max-file-size", "\u0669", "expected a size such as"),
        ("--retention", "0", "'0': expected a duration such as"),
        ("--retention", "1w", 'or "30d", of at least one second'),
        ("--note", "", "'': expected 1 to 128 printable characters"),
        ("--note", "a\nb", "'a\\nb': expected 1 to 128 printable characters"),
        ("--note", "n" * 129, "expected 1 to 128 printable characters"),
    ],
)
def test_a_wrong_note_or_end_is_told_in_one_line(
    office: Office, option: str, value: str, told: str
) -> None:
    ended = run_galileod("token", "add", "anna", option, value, "--config", office.host.config)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert told in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert listed(office) == []


def test_a_token_has_a_retention_which_is_listed(office: Office) -> None:
    office.host.start()
    token = office.token("anna", "--retention", "30d")
    office.token("ben", "--retention", "90")
    office.token("carl")
    assert [row["retention"] for row in listed(office)] == ["30d", "90s", None]
    head, anna, *_ = office.run("token", "list").splitlines()
    assert head.index("retention") + len("retention") == anna.index("30d") + len("30d")
    # The running daemon reads the changed file without a reload.
    assert JavaScriptClient(office.host.url, DATA, token=token).run().ending == "stored"


def test_a_note_survives_changes_of_other_tokens(office: Office) -> None:
    office.token("anna", "--note", "one")
    office.token("ben", "--note", "two")
    office.revoke("anna")
    office.token("carl")
    assert [row["note"] for row in listed(office)] == ["two", None]


def test_the_last_use_is_listed(office: Office) -> None:
    office.host.start()
    used, unused = office.token("anna"), office.token("ben")
    assert {row["last_used"] for row in listed(office)} == {None}
    before = datetime.now(UTC).replace(microsecond=0)
    assert JavaScriptClient(office.host.url, DATA, token=used).run().ending == "stored"

    def uses() -> dict[str, str | None]:
        return {row["id"]: row["last_used"] for row in listed(office)}

    poll("the last use", lambda: uses()[id_of(used)] is not None, office.host.text)
    last = datetime.fromisoformat(str(uses()[id_of(used)]))
    assert before <= last <= datetime.now(UTC)
    assert uses()[id_of(unused)] is None
    # What comes within the minute is saved at the end, also after a reload.
    assert JavaScriptClient(office.host.url, DATA, token=unused).run().ending == "stored"
    hang_up(office.host, "config.reloaded")
    assert office.host.stop() == 0
    assert uses()[id_of(unused)] is not None
    elsewhere = office.run("token", "list", "--json", "--directory", str(office.host.folder))
    assert {row["last_used"] for row in json.loads(elsewhere)["tokens"]} == {None}


def test_last_uses_that_cannot_be_read_are_told_and_the_rest_is_listed(office: Office) -> None:
    office.token("anna")
    state = office.host.directory / ".galileod"
    state.mkdir(parents=True)
    (state / "token-uses.json").write_text("{")
    (state / "token-uses.json").chmod(0o600)
    ended = run_galileod("token", "list", "--config", office.host.config)
    assert ended.returncode == 0
    assert "anna" in ended.stdout
    assert ended.stderr == (
        f"galileod: warning: the last uses are not known: {state / 'token-uses.json'}: is damaged\n"
    )


def test_an_expired_token_is_answered_as_an_unknown_one_and_the_log_has_the_reason(
    office: Office,
) -> None:
    office.host.start()
    expired = office.token("anna", "--expires", "1ms")
    unknown = f"gal_{'0' * 12}_{'0' * 40}"
    answers = [
        ask(office.host, request("/upload", {"Authorization": f"Bearer {token}"}))
        for token in (expired, unknown)
    ]
    assert answers[0].status == 401
    assert answers[0] == answers[1]
    reason = f"the token {id_of(expired)} of anna has expired"
    office.host.wait_for("credentials.refused", reason=reason)
    office.host.wait_for("credentials.refused", reason="the token is unknown")
