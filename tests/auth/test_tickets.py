import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from galileod.auth.grant import Grant, Unauthorized
from galileod.auth.settings import Algorithm
from galileod.auth.tickets import (
    LEEWAY,
    MAX_EXPIRED,
    MAX_LIFETIME,
    MAX_META,
    MAX_META_DEPTH,
    TicketKey,
    check_ticket,
    load_ticket_key,
)
from galileod.secretfile import SecretFileError
from galileod.units import Duration, Size

NOW = 1_800_000_000.0
SECRET = b"0123456789abcdef0123456789abcdef"
ED25519 = Ed25519PrivateKey.generate()
P256 = generate_private_key(SECP256R1())
P384 = generate_private_key(SECP384R1())
PLAIN = TicketKey("HS256", SECRET, "uploads")
CLAIMS: dict[str, object] = {"sub": "anna", "aud": "uploads", "exp": NOW + 60}


Kind = tuple[Callable[..., str], TicketKey]


def pem(key: Ed25519PrivateKey | EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture(params=["HS256", "EdDSA", "ES256"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    """An algorithm: what signs, and what checks."""
    made: dict[str, tuple[Any, bytes]] = {
        "HS256": (SECRET, SECRET + b"\n"),
        "EdDSA": (ED25519, pem(ED25519)),
        "ES256": (P256, pem(P256)),
    }
    signs, kept = made[request.param]
    path = tmp_path / "key"
    path.write_bytes(kept)
    path.chmod(0o640)
    key = load_ticket_key(request.param, str(path), "uploads")

    def sign(**claims: object) -> str:
        chosen = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
        return jwt.encode(chosen, signs, request.param)

    return sign, key


def test_a_ticket_allows_what_it_says(kind: Kind) -> None:
    sign, key = kind
    text = sign(name="a.txt", max_size=7, jti="once")
    expected = Grant("anna", most=Size(7), name="a.txt", once="once", until=NOW + 60 + LEEWAY)
    assert check_ticket(key, text, NOW) == expected


@pytest.mark.parametrize(
    ("claim", "seconds"), [(3600, 3600), (1.5, 1.5), ("30d", 2592000), ("90 min", 5400), (1, 1)]
)
def test_a_ticket_may_say_how_long_files_stay(kind: Kind, claim: object, seconds: float) -> None:
    sign, key = kind
    assert check_ticket(key, sign(retention=claim), NOW).retention == Duration(seconds)


@pytest.mark.parametrize(
    "claim", [0, 0.5, -1, True, "", "soon", "0d", "999ms", "1w", 1e9, 1e400, [60], {"days": 1}]
)
def test_a_retention_that_is_none_is_refused_with_the_reason(claim: object) -> None:
    with pytest.raises(Unauthorized, match="the ticket's retention is not a duration such as"):
        check_ticket(PLAIN, _by_hand({**CLAIMS, "retention": claim}), NOW)


def test_the_application_gets_its_id_and_meta_back(kind: Kind) -> None:
    sign, key = kind
    meta = {"album": 7, "who": "Änna\n\0", "deep": [{"a": [None, True, 1.5, 2**70]}], "": {}}
    grant = check_ticket(key, sign(jti="t1", meta=meta), NOW)
    assert grant.ticket == "t1"
    assert grant.meta is not None
    assert json.loads(grant.meta) == meta
    assert list(json.loads(grant.meta)) == list(meta), "in the same order"
    assert check_ticket(key, sign(), NOW).meta is None
    assert check_ticket(key, sign(meta={}), NOW).meta == "{}"


def nested(depth: int) -> object:
    value: object = {}
    for level in range(depth - 1):
        value = {"a": value} if level % 2 else {"a": [], "b": value}
    return value


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        ([], "is not an object"),
        ("{}", "is not an object"),
        (7, "is not an object"),
        (False, "is not an object"),
        ({"a": "x" * (MAX_META - 7)}, f"has {MAX_META + 1} bytes: expected at most {MAX_META}"),
        ({"a": "\u00e9" * 1021}, f"has {MAX_META + 2} bytes"),
        ({"a": "\ud800"}, "has a value that is not JSON"),
        ({"\udfff": 1}, "has a value that is not JSON"),
        ({"a": float("nan")}, "has a value that is not JSON"),
        ({"a": [float("inf")]}, "has a value that is not JSON"),
        (nested(MAX_META_DEPTH + 1), "is nested more than 16 levels deep"),
        ({"a": json.loads("[" * 900 + "]" * 900)}, "is nested more than 16 levels deep"),
    ],
)
def test_a_meta_that_cannot_be_given_back_is_refused_with_the_reason(
    meta: object, told: str
) -> None:
    with pytest.raises(Unauthorized, match=f"the ticket's meta {told}"):
        check_ticket(PLAIN, _by_hand({**CLAIMS, "meta": meta}), NOW)


@pytest.mark.parametrize("filling", ["x" * (MAX_META - 8), "\u00e9" * 1020])
def test_the_largest_meta_fits_into_a_credential(filling: str) -> None:
    text = jwt.encode({**CLAIMS, "meta": {"a": filling}}, SECRET)
    assert check_ticket(PLAIN, text, NOW).meta is not None


def test_the_deepest_meta_is_given_back() -> None:
    text = _by_hand({**CLAIMS, "meta": nested(MAX_META_DEPTH)})
    assert json.loads(check_ticket(PLAIN, text, NOW).meta or "") == nested(MAX_META_DEPTH)


@pytest.mark.parametrize("allow_expired", [False, True])
@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - MAX_EXPIRED},
        {"exp": NOW - 60, "nbf": NOW + 60},
        {"exp": NOW - 60, "aud": "others"},
        {"exp": NOW - 60, "sub": ""},
        {"exp": NOW + MAX_LIFETIME + LEEWAY + 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": 1e300},
        {"exp": float("nan")},
        {"nbf": NOW + LEEWAY + 1},
        {"nbf": "now"},
        {"aud": "others"},
        {"aud": ["others"]},
        {"aud": None},
        {"aud": [["uploads"]]},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "a\nb"},
        {"sub": "a" * 129},
        {"name": 7},
        {"name": "a" * 5000},
        {"jti": 7},
        {"jti": ""},
        {"jti": "a" * 129},
        {"jti": "\ud800"},
        {"max_size": -1},
        {"max_size": 1.5},
        {"max_size": True},
        {"max_size": 2**63},
    ],
    ids=str,
)
def test_a_ticket_that_claims_otherwise_is_refused(
    claims: dict[str, object], *, allow_expired: bool
) -> None:
    with pytest.raises(Unauthorized):
        check_ticket(PLAIN, _by_hand({**CLAIMS, **claims}), NOW, allow_expired=allow_expired)


@pytest.mark.parametrize("seconds", [LEEWAY, LEEWAY + 1, MAX_LIFETIME, MAX_EXPIRED - 1])
def test_an_expired_ticket_is_refused_unless_that_is_allowed(kind: Kind, seconds: int) -> None:
    sign, key = kind
    text = sign(exp=NOW - seconds, name="a.txt", max_size=7, jti="once")
    with pytest.raises(Unauthorized, match="the ticket has expired"):
        check_ticket(key, text, NOW)
    found = check_ticket(key, text, NOW, allow_expired=True)
    expected = Grant("anna", most=Size(7), name="a.txt", once="once", until=NOW - seconds + LEEWAY)
    assert found == evolve(expected, expired=True)


def test_a_ticket_that_is_valid_has_not_expired_where_that_is_allowed(kind: Kind) -> None:
    sign, key = kind
    assert not check_ticket(key, sign(), NOW, allow_expired=True).expired


def test_an_expired_ticket_of_another_key_is_refused(kind: Kind) -> None:
    sign, _ = kind
    wrong = TicketKey("HS256", b"x" * 32, "uploads")
    with pytest.raises(Unauthorized, match="not valid"):
        check_ticket(wrong, sign(exp=NOW - 60), NOW, allow_expired=True)


def test_a_ticket_that_is_made_by_hand_is_as_good() -> None:
    assert check_ticket(PLAIN, _by_hand(CLAIMS), NOW).user == "anna"


def _by_hand(claims: dict[str, object]) -> str:
    def encoded(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    chosen = {name: value for name, value in claims.items() if value is not None}
    head, body = json.dumps({"alg": "HS256"}).encode(), json.dumps(chosen).encode()
    signed = encoded(head) + b"." + encoded(body)
    return b".".join((signed, encoded(hmac.digest(SECRET, signed, hashlib.sha256)))).decode()


def test_a_ticket_lasts_to_the_second_and_for_an_hour_at_the_most(kind: Kind) -> None:
    sign, key = kind
    assert check_ticket(key, sign(exp=NOW + MAX_LIFETIME), NOW).user == "anna"
    assert check_ticket(key, sign(exp=NOW + 1, nbf=NOW), NOW).user == "anna"


@pytest.mark.parametrize(
    "claims",
    [
        {"nbf": NOW + 0.5},
        {"nbf": NOW + LEEWAY},
        {"iat": NOW + 0.5},
        {"iat": NOW + 0.5, "nbf": NOW + 0.5, "exp": NOW + MAX_LIFETIME + 0.5},
        {"exp": NOW + MAX_LIFETIME + LEEWAY},
        {"exp": NOW},
        {"exp": NOW - LEEWAY + 0.5, "jti": "once"},
    ],
    ids=str,
)
def test_the_clock_of_the_application_may_differ_by_seconds(
    kind: Kind, claims: dict[str, object]
) -> None:
    sign, key = kind
    grant = check_ticket(key, sign(**claims), NOW)
    assert not grant.expired
    assert grant.until > NOW, "the ledger would refuse it"


def test_one_of_several_audiences_is_enough(kind: Kind) -> None:
    sign, key = kind
    assert check_ticket(key, sign(aud=["others", "uploads"]), NOW).user == "anna"


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS384", "HS512", "EdDSA", "ES256"])
def test_the_algorithm_is_ours_to_choose(kind: Kind, algorithm: str) -> None:
    _, key = kind
    if algorithm == key.algorithm:
        return
    # As an attacker would: the public key, or any other, taken for a secret.
    guess: dict[str, Any] = {"none": None, "EdDSA": Ed25519PrivateKey.generate(), "ES256": P256}
    signs = guess.get(algorithm, SECRET + SECRET)
    text = jwt.encode(CLAIMS, signs, algorithm)
    with pytest.raises(Unauthorized):
        check_ticket(key, text, NOW)


def test_a_public_key_is_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(pem(P256))
    key = load_ticket_key("ES256", str(path), "uploads")
    with pytest.raises(Unauthorized):
        check_ticket(key, _by_hand(CLAIMS), NOW)


def test_another_key_does_not_sign_for_us(kind: Kind) -> None:
    _, key = kind
    others: dict[str, Any] = {
        "HS256": b"x" * 32,
        "EdDSA": Ed25519PrivateKey.generate(),
        "ES256": generate_private_key(SECP256R1()),
    }
    with pytest.raises(Unauthorized):
        check_ticket(key, jwt.encode(CLAIMS, others[key.algorithm], key.algorithm), NOW)


def test_a_ticket_that_was_cut_or_changed_anywhere_is_refused(kind: Kind) -> None:
    sign, key = kind
    text = sign()
    for index in range(0, len(text) - 1, 5):
        # The last character of a part may hold bits that nobody reads.
        if "." in text[index : index + 2]:
            continue
        changed = "A" if text[index] != "A" else "B"
        for spoiled in (text[:index], text[:index] + changed + text[index + 1 :]):
            with pytest.raises(Unauthorized):
                check_ticket(key, spoiled, NOW)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_any_text_is_refused_quietly(text: str) -> None:
    with pytest.raises(Unauthorized):
        check_ticket(PLAIN, text, NOW)


def test_json_that_nests_too_deep_is_refused_quietly() -> None:
    deep = base64.urlsafe_b64encode(b"[" * 3000).rstrip(b"=").decode()
    with pytest.raises(Unauthorized):
        check_ticket(PLAIN, f"{deep}.{deep}.AAAA", NOW)


@pytest.mark.parametrize(
    ("algorithm", "content", "mode", "told"),
    [
        ("HS256", b"short", 0o600, "at least 32"),
        ("HS256", SECRET, 0o644, "mode 0644"),
        ("HS256", SECRET, 0o660, "mode 0660"),
        ("HS256", pem(P256), 0o600, "PEM"),
        ("EdDSA", pem(P256), 0o644, "Ed25519"),
        ("ES256", pem(ED25519), 0o644, "P-256"),
        ("ES256", pem(P384), 0o644, "P-256"),
        ("ES256", SECRET, 0o644, "public key in PEM"),
        (
            "ES256",
            P256.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            0o600,
            "public key in PEM",
        ),
    ],
    # Not the keys: each process makes others, and they must name the test alike.
    ids=[
        "short", "read by all", "written by the group", "public for HS256", "P-256 for EdDSA",
        "Ed25519 for ES256", "P-384 for ES256", "secret for ES256", "private for ES256",
    ],
)  # fmt: skip
def test_a_key_of_the_wrong_kind_is_told(
    tmp_path: Path, algorithm: Algorithm, content: bytes, mode: int, told: str
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(SecretFileError, match=told) as error:
        load_ticket_key(algorithm, str(path), "uploads")
    assert str(error.value).startswith(str(path))
    assert SECRET.decode() not in str(error.value)


def test_a_public_key_may_be_read_by_all(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(pem(ED25519))
    path.chmod(0o644)
    assert load_ticket_key("EdDSA", str(path), "uploads").algorithm == "EdDSA"


def test_a_key_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(SecretFileError, match="No such file"):
        load_ticket_key("HS256", str(tmp_path / "none"), "uploads")


def test_the_secret_does_not_show(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    assert SECRET.decode() not in repr(load_ticket_key("HS256", str(path), "uploads"))
