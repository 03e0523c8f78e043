"""Tickets: short-lived JSON Web Tokens (RFC 7519) that another application signs.

The algorithm is fixed by the configuration; what a ticket says of it must only agree (RFC 8725,
section 3.1).
"""

from typing import Final

import jwt
from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from galileod.protocol.messages import MAX_SIZE
from galileod.secretfile import SecretFileError, read_secret_file
from galileod.units import Size

from .grant import Grant, Unauthorized, is_user
from .settings import Algorithm

LIFETIME: Final = 3600
"""Seconds ahead that a ticket's `exp` may be at the most."""

LEAST_SECRET: Final = 32
"""Bytes of a secret for HS256 (RFC 7518, section 3.2)."""

MAX_ID: Final = 128
"""Characters of a `jti`: it is kept until the ticket expires."""

MAX_NAME: Final = 4096
"""Characters of a `name`."""

Key = bytes | EllipticCurvePublicKey | Ed25519PublicKey


@frozen
class TicketKey:
    """What tickets are checked with."""

    algorithm: Algorithm
    key: Key = field(repr=False)
    audience: str


def load_ticket_key(algorithm: Algorithm, path: str, audience: str) -> TicketKey:
    """Read the key at `path`: a secret for HS256, else a public key in PEM.

    Raises SecretFileError where it is none of that kind, or where others may read a secret.
    """
    secret = algorithm == "HS256"
    data = read_secret_file(path, private=secret)
    if secret:
        key = data.strip()
        if len(key) < LEAST_SECRET:
            raise SecretFileError(
                f"{path}: has {len(key)} bytes: expected a secret of at least {LEAST_SECRET}"
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


def check_ticket(ticket_key: TicketKey, text: str, now: float) -> Grant:
    """What the ticket `text` allows at `now` (seconds of the epoch). Raises Unauthorized.

    The signature and the audience are the library's to judge; the times are compared here, so
    that one clock decides. There is no leeway: the clocks of both machines must agree.
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
    except (jwt.PyJWTError, RecursionError) as error:  # JSON may nest too deep for its parser
        raise Unauthorized(f"a ticket that does not hold: {type(error).__name__}") from None
    user, until, begins = claims["sub"], claims["exp"], claims.get("nbf", 0)
    if not isinstance(user, str) or not is_user(user):
        raise Unauthorized("a ticket whose sub cannot be a user")
    if not _is_time(until) or not _is_time(begins):
        raise Unauthorized("a ticket whose times are none")
    if now >= until:
        raise Unauthorized("an expired ticket")
    if until > now + LIFETIME:
        raise Unauthorized("a ticket that lasts for more than an hour")
    if now < begins:
        raise Unauthorized("a ticket that is not valid yet")
    name, once, size = claims.get("name"), claims.get("jti"), claims.get("max_size")
    if not (name is None or (isinstance(name, str) and len(name) <= MAX_NAME)):
        raise Unauthorized("a ticket whose name is none")
    if not (once is None or (isinstance(once, str) and _is_id(once))):
        raise Unauthorized("a ticket whose jti is none")
    if not (size is None or (type(size) is int and 0 <= size <= MAX_SIZE)):
        raise Unauthorized("a ticket whose max_size is none")
    limit = None if size is None else Size(size)
    return Grant(user, most=limit, name=name, once=once, until=float(until))


def _is_id(once: str) -> bool:
    """Whether this can be kept: half a surrogate, which JSON can hold, cannot."""
    return 0 < len(once) <= MAX_ID and once.isprintable()


def _is_time(value: object) -> bool:
    """A NumericDate: a number, and neither infinite nor no number at all."""
    return type(value) in (int, float) and -(2**53) < value < 2**53  # type: ignore[operator]
