import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.auth.grant import MAX_USER, Grant, Unauthorized
from galileod.auth.tokens import (
    MAX_NOTE,
    MAX_TOKENS,
    Token,
    Tokens,
    check_token,
    is_note,
    make_token,
    read_tokens,
    write_tokens,
)
from galileod.secretfile import MAX_BYTES, SecretFileError
from galileod.units import Duration, Size

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

users = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=128)
sizes = st.none() | st.integers(0, 2**63 - 1).map(Size)
notes = st.none() | st.text(min_size=1, max_size=MAX_NOTE).filter(is_note)
retentions = st.none() | st.floats(1, 1e9, exclude_max=True).map(Duration)
times = st.none() | st.integers(-1000, 1000).map(lambda days: NOW + timedelta(days=days))


def table(*made: tuple[str, Token]) -> Tokens:
    return {kept.id: kept for _, kept in made}


def test_a_token_lets_its_user_in_with_the_users_own_limits() -> None:
    text, kept = make_token("anna", NOW, None, Size(10), Size(20))
    assert check_token(table((text, kept)), text, NOW) == Grant("anna", Size(10), Size(20))


def test_the_text_of_a_token_is_not_in_what_is_kept() -> None:
    text, kept = make_token("anna", NOW)
    secret = text.rpartition("_")[2]
    assert secret not in write_tokens([kept]).decode()
    assert secret not in repr(kept)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1],
        lambda text: text + "0",
        lambda text: text[:-1] + ("0" if text[-1] != "0" else "1"),
        lambda text: text.upper(),
        lambda text: f" {text}",
        lambda text: text.partition("_")[2],
        lambda text: "gal_" + "0" * 12 + text[16:],
        lambda text: text[:0],
        lambda text: text + "\n",
        lambda text: text.replace("_", "٣"),
    ],
)
def test_what_is_nearly_a_token_is_none(spoil: Callable[[str], str]) -> None:
    text, kept = make_token("anna", NOW)
    with pytest.raises(Unauthorized):
        check_token(table((text, kept)), spoil(text), NOW)


def test_a_token_of_another_is_none_under_ones_own_id() -> None:
    mine, kept_mine = make_token("anna", NOW)
    other, kept_other = make_token("ben", NOW)
    mixed = mine[:17] + other[17:]
    with pytest.raises(Unauthorized):
        check_token(table((mine, kept_mine), (other, kept_other)), mixed, NOW)


def test_a_revoked_token_is_none() -> None:
    text, _ = make_token("anna", NOW)
    with pytest.raises(Unauthorized):
        check_token({}, text, NOW)


def test_a_token_ends_at_the_moment_that_it_names() -> None:
    text, kept = make_token("anna", NOW, NOW + timedelta(days=1))
    tokens = table((text, kept))
    assert check_token(tokens, text, NOW + timedelta(hours=23)).user == "anna"
    with pytest.raises(Unauthorized, match=f"^the token {kept.id} of anna has expired$"):
        check_token(tokens, text, NOW + timedelta(days=1))
    with pytest.raises(Unauthorized, match=r"^the token is unknown$"):
        check_token(tokens, text[:-1] + ("0" if text[-1] != "0" else "1"), NOW + timedelta(days=1))


@given(st.lists(st.tuples(users, times, sizes, sizes, notes, retentions), max_size=4))
def test_a_file_reads_back_to_what_was_written(
    rows: list[tuple[str, datetime | None, Size | None, Size | None, str | None, Duration | None]],
) -> None:
    kept = [
        make_token(user, NOW, expires, size, quota, note, retention)[1]
        for user, expires, size, quota, note, retention in rows
    ]
    assert list(read_tokens(write_tokens(kept), "tokens").values()) == kept


def test_a_token_may_say_how_long_files_stay() -> None:
    text, kept = make_token("anna", NOW, retention=Duration(30 * 86400))
    assert 'retention = "30d"\n' in write_tokens([kept]).decode()
    tokens = read_tokens(write_tokens([kept]), "tokens")
    assert check_token(tokens, text, NOW).retention == Duration(30 * 86400)


def test_older_versions_can_read_a_file_with_notes() -> None:
    _, kept = make_token("anna", NOW, NOW, Size(10), Size(20), "the backup")
    (row,) = tomllib.loads(write_tokens([kept]).decode())["token"]
    assert row == {
        "id": kept.id,
        "user": "anna",
        "hash": kept.hash,
        "created": NOW,
        "expires": NOW,
        "max_file_size": 10,
        "quota": 20,
    }


def test_a_file_without_notes_is_the_same_as_before() -> None:
    _, kept = make_token("anna", NOW)
    assert write_tokens([kept]).decode() == (
        "# Written by `galileod token`. Contains only hashes of the tokens.\n\n"
        f'[[token]]\nid = "{kept.id}"\nuser = "anna"\nhash = "{kept.hash}"\n'
        "created = 2026-11-23 12:00:00+00:00\n"
    )


@pytest.mark.parametrize(
    "line",
    ["# note {}: ", "# note {}: \x00", "#note {}: a", "# note {}:a", "# note {}: " + "n" * 129],
)
def test_a_comment_that_is_no_note_is_passed_over(line: str) -> None:
    _, kept = make_token("anna", NOW)
    text = write_tokens([kept]).decode()
    if "\x00" not in line:  # which is not TOML
        text = f"{line.format(kept.id)}\n{text}"
    text += f"# note {kept.id}: not in the header\n"
    assert read_tokens(text.encode(), "tokens")[kept.id].note is None


def test_a_note_of_a_token_that_is_gone_is_passed_over() -> None:
    _, kept = make_token("anna", NOW, note="a")
    _, gone = make_token("anna", NOW, note="b")
    text = f"# note {gone.id}: b\n{write_tokens([kept]).decode()}"
    assert read_tokens(text.encode(), "tokens") == {kept.id: kept}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"token = 1",
        b"[[token]]\nid = 1",
        b"[[token]]\nid = 'a'",
        b"[[token]]\nid='a'\nuser='a'\nhash='a'\ncreated=2026-01-01T00:00:00Z\nmore=1",
        b"[[token]]\nid='a'\nuser='a'\nhash='a'\ncreated=2026-01-01T00:00:00",
        b"[[token]]\nid='a'\nuser=' '\nhash='a'\ncreated=2026-01-01T00:00:00Z",
        b"[[token]]\nid='a'\nuser='a'\nhash='a'\ncreated=2026-01-01T00:00:00Z\nquota='much'",
        b"[[token]]\nid='a'\nuser='a'\nhash='a'\ncreated=2026-01-01T00:00:00Z\nretention=0",
        b"a = " + b"[" * 5000,
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_in_a_sentence(content: bytes) -> None:
    with pytest.raises(SecretFileError, match=r"^/etc/tokens: is not ") as told:
        read_tokens(content, "/etc/tokens")
    assert "\n" not in str(told.value)


@given(st.text(max_size=80))
def test_any_text_is_refused_quietly(text: str) -> None:
    _, kept = make_token("anna", NOW)
    with pytest.raises(Unauthorized):
        check_token({kept.id: kept}, text, NOW)


def test_a_file_that_is_full_can_still_be_read() -> None:
    _, kept = make_token(
        "\U0001f600" * MAX_USER,
        NOW,
        NOW,
        Size(2**63 - 1),
        Size(2**63 - 1),
        "\U0001f600" * MAX_NOTE,
        Duration(123456789.123456),
    )
    assert len(write_tokens([kept])) * MAX_TOKENS < MAX_BYTES
