"""Uploads with a hash: one that matches is accepted, one that does not is refused."""

from typing import Final

import pytest
from helpers.clients import (
    CLIENTS,
    Client,
    HashClaim,
    JavaScriptClient,
    PerlClient,
    some_bytes,
)
from helpers.daemon import Daemon, Daemons, poll


@pytest.mark.parametrize("upper", [False, True], ids=["lower", "upper"])
@pytest.mark.parametrize("kind", ["sha1", "sha256", "sha512", "blake2b"])
def test_a_right_hash_is_accepted_in_either_case(plain: Daemon, kind: str, *, upper: bool) -> None:
    data = some_bytes(1_500_000)
    claim = HashClaim.of(data, kind)
    if upper:
        claim = HashClaim(claim.type.upper(), claim.value.upper())
    client = PerlClient(plain.url, data, claim=claim)
    outcome = client.run()
    assert outcome.ending == "stored", outcome
    line = plain.wait_for("upload.stored", name=client.name)
    assert line["hash_verified"] is True
    assert line["sha1"] == HashClaim.of(data, "sha1").value


def _flipped(claim: HashClaim) -> HashClaim:
    return HashClaim(claim.type, f"{int(claim.value[0], 16) ^ 1:x}{claim.value[1:]}")


DATA: Final = some_bytes(600_000)


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(
    ("claim", "declared", "code"),
    [
        *[
            pytest.param(_flipped(HashClaim.of(DATA, kind)), None, "hash_mismatch", id=kind)
            for kind in ("sha1", "sha256", "sha512", "blake2b")
        ],
        pytest.param(HashClaim("sha1", ""), None, "hash_mismatch", id="empty hash"),
        pytest.param(HashClaim("sha1", "g" * 40), None, "hash_mismatch", id="no hex"),
        pytest.param(HashClaim.of(DATA, "md5"), None, "unsupported_hash", id="md5"),
        pytest.param(HashClaim("shake_128", "00"), None, "unsupported_hash", id="shake_128"),
        pytest.param(HashClaim("", ""), None, "unsupported_hash", id="empty type"),
        pytest.param(None, len(DATA) + 1, "size_mismatch", id="one byte missing"),
        pytest.param(None, len(DATA) - 1, "size_mismatch", id="one byte too many"),
        pytest.param(None, 2**40, "too_large", id="a terabyte declared"),
    ],
)
def test_what_does_not_hold_is_refused_and_leaves_nothing(
    plain: Daemon, kind: type[Client], claim: HashClaim | None, declared: int | None, code: str
) -> None:
    client = kind(plain.url, DATA, claim=claim, declared=declared)
    outcome = client.run()
    assert (outcome.ending, outcome.code) == ("failed", code)
    assert client.name not in plain.visible()
    assert poll("an empty spool", lambda: not plain.spooled())
    line = plain.wait_for("upload.failed", peer=outcome.peer, name=client.name)
    assert line["code"] == code
    assert line["reason"] == outcome.errors[-1]["error"]
    assert line["received"] <= len(DATA)


def test_a_hash_may_be_demanded(daemon: Daemons) -> None:
    host = daemon({"hash": {"required": True}})
    without = JavaScriptClient(host.url, DATA).run()
    assert (without.ending, without.code) == ("failed", "hash_required")
    assert not host.visible()
    assert poll("an empty spool", lambda: not host.spooled())
    assert JavaScriptClient(host.url, DATA, claim=HashClaim.of(DATA, "sha256")).run().code is None
    assert len(host.visible()) == 1
