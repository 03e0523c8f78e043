"""Tickets: short-lived JSON Web Tokens (RFC 7519) that another application signs.

The configuration determines the algorithm; the header of a ticket must agree (RFC 8725, section
3.1).
"""

import json
from typing import Final

import jwt
from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from galileod.protocol.messages import MAX_SIZE
from galileod.secretfile import SecretFileError, read_secret_file
from galileod.units import Duration, Size

from .grant import RETENTION_EXPECTED, Grant, Unauthorized, is_user, parse_retention
from .settings import Algorithm

LEEWAY: Final = 5
"""Seconds by which the clocks of the application and of this machine may differ.

Clocks that NTP sets differ by less than a second, or by some seconds while it corrects them.
Without leeway, a new ticket with `nbf` from a clock that is ahead would not be valid yet."""

MAX_LIFETIME: Final = 3600
"""Maximum seconds until a ticket's `exp`."""

MAX_EXPIRED: Final = 30 * 24 * 3600
"""Maximum seconds since its `exp` for which a ticket may be used to resume an upload."""

MIN_SECRET: Final = 32
"""Minimum bytes of a secret for HS256 (RFC 7518, section 3.2)."""

MAX_ID: Final = 128
"""Maximum characters of `jti`, which the ledger keeps until the ticket expires."""

MAX_NAME: Final = 4096
"""Maximum characters of `name`."""

MAX_META: Final = 2048
"""Maximum bytes of `meta` as compact JSON in UTF-8: the ledger keeps it with each file."""

MAX_META_DEPTH: Final = 16
"""Maximum depth of objects and lists in `meta`: what reads a receipt need not expect more."""

Key = bytes | EllipticCurvePublicKey | Ed25519PublicKey


@frozen
class TicketKey:
    """The key that tickets are verified with, the signature algorithm, and the expected `aud`."""

    algorithm: Algorithm
    key: Key = field(repr=False)
    audience: str


def load_ticket_key(algorithm: Algorithm, path: str, audience: str) -> TicketKey:
    """Read the key in the file `path`: a secret for HS256, else a public key in PEM.

    Raises SecretFileError if it is not a key for `algorithm`, or other users may read a secret.
    """
    secret = algorithm == "HS256"
    data = read_secret_file(path, private=secret)
    if secret:
        key = data.strip()
        if len(key) < MIN_SECRET:
            raise SecretFileError(
                f"{path}: has {len(key)} bytes: expected a secret of at least {MIN_SECRET}"
                " (openssl rand -base64 48)"
            )
        if b"-----BEGIN" in key:
            raise SecretFileError(f"{path}: is a PEM file: expected a secret, for HS256")
        return TicketKey(algorithm, key, audience)
    try:
        public = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise SecretFileError(f"{path}: expected a public key in PEM") from None
    if algorithm == "EdDSA" and isinstance(public, Ed25519PublicKey):
        return TicketKey(algorithm, public, audience)
    if (
        algorithm == "ES256"
        and isinstance(public, EllipticCurvePublicKey)
        and isinstance(public.curve, SECP256R1)
    ):
        return TicketKey(algorithm, public, audience)
    wanted = "Ed25519" if algorithm == "EdDSA" else "P-256"
    raise SecretFileError(f"{path}: expected a public key of {wanted}, for {algorithm}")


def check_ticket(
    ticket_key: TicketKey, text: str, now: float, *, allow_expired: bool = False
) -> Grant:
    """The grant of the ticket `text` at `now` (seconds since the epoch). Raises Unauthorized.

    With `allow_expired`, that of a ticket which was valid until at most MAX_EXPIRED seconds ago is
    returned as `expired`.

    PyJWT verifies the signature and the audience. The times are compared here, with the same `now`
    and LEEWAY. `iat` is not compared with anything: it limits nothing.
    """
    try:
        claims = jwt.decode(
            text,
            ticket_key.key,
            algorithms=[ticket_key.algorithm],
            audience=ticket_key.audience,
            options={
                "require": ["sub", "exp", "aud"],
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except (jwt.PyJWTError, RecursionError) as error:  # RecursionError: deeply nested JSON
        raise Unauthorized(f"the ticket is not valid: {type(error).__name__}") from None
    user, ends, begins = claims["sub"], claims["exp"], claims.get("nbf", 0)
    if not isinstance(user, str) or not is_user(user):
        raise Unauthorized("the ticket's sub cannot be a user name")
    if not _is_time(ends) or not _is_time(begins):
        raise Unauthorized("the ticket's exp or nbf is not a time")
    until = float(ends + LEEWAY)
    expired = now >= until
    if expired and not (allow_expired and now < ends + MAX_EXPIRED):
        raise Unauthorized("the ticket has expired")
    if ends > now + MAX_LIFETIME + LEEWAY:
        raise Unauthorized("the ticket is valid for more than an hour")
    if now < begins - LEEWAY:
        raise Unauthorized("the ticket is not valid yet")
    name, once, size = claims.get("name"), claims.get("jti"), claims.get("max_size")
    if not (name is None or (isinstance(name, str) and len(name) <= MAX_NAME)):
        raise Unauthorized("the ticket's name is not a string of valid length")
    if not (once is None or (isinstance(once, str) and _is_id(once))):
        raise Unauthorized("the ticket's jti is not a printable string of valid length")
    if not (size is None or (type(size) is int and 0 <= size <= MAX_SIZE)):
        raise Unauthorized("the ticket's max_size is not a size")
    limit = None if size is None else Size(size)
    return Grant(
        user,
        most=limit,
        name=name,
        once=once,
        until=until,
        expired=expired,
        retention=_retention(claims.get("retention")),
        meta=_meta(claims.get("meta")),
    )


def _retention(value: object) -> Duration | None:
    if value is None:
        return None
    try:
        return parse_retention(value)
    except ValueError:
        raise Unauthorized(f"the ticket's retention is not {RETENTION_EXPECTED}") from None


def _meta(value: object) -> str | None:
    """The claim as compact JSON."""
    if value is None:
        return None
    if not isinstance(value, dict):
        raise Unauthorized("the ticket's meta is not an object")
    if _depth(value) > MAX_META_DEPTH:
        raise Unauthorized(f"the ticket's meta is nested more than {MAX_META_DEPTH} levels deep")
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        length = len(text.encode())
    except ValueError:  # lone surrogates and infinite numbers, which Python's parser accepts
        raise Unauthorized("the ticket's meta has a value that is not JSON") from None
    if length > MAX_META:
        raise Unauthorized(f"the ticket's meta has {length} bytes: expected at most {MAX_META}")
    return text


def _depth(value: object) -> int:
    """How deep objects and lists are nested, as far as is of interest."""
    level, depth = [value], 0
    while level and depth <= MAX_META_DEPTH:
        inner = [part for part in level if isinstance(part, dict | list)]
        depth += bool(inner)
        level = [
            one for part in inner for one in (part.values() if isinstance(part, dict) else part)
        ]
    return depth


def _is_id(once: str) -> bool:
    """Whether the ledger can store this. It cannot store lone surrogates, which JSON allows."""
    return 0 < len(once) <= MAX_ID and once.isprintable()


def _is_time(value: object) -> bool:
    """Whether this is a NumericDate (RFC 7519, section 2): a finite number."""
    return type(value) in (int, float) and -(2**53) < value < 2**53  # type: ignore[operator]  # not narrowed by type()
