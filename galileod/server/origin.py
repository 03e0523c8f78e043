"""The Origin header: which pages may upload, and what a refusal advises."""

import re
from collections.abc import Collection
from http import HTTPStatus
from typing import Final

from galileod.net.http11 import Refused, Request, Response
from galileod.net.settings import is_origin

_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*://)(?:[^/?#\\\s]*@)?([^/?#@\\\s]+)", re.IGNORECASE)
_HOST: Final = re.compile(
    r"(\[[0-9a-f:.]+(?:%[a-z0-9._~%-]+)?\]|[a-z0-9._~!$&'()+,;=%-]+)(?::([0-9]{0,5}))?",
    re.IGNORECASE | re.ASCII,
)
"""A host and a port, if any (RFC 3986, section 3.2); browsers send names in ASCII."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_QUOTABLE: Final = re.compile(r"[a-z0-9+.:/_\[\]-]{1,300}")
"""What a refusal may quote: in no text does one of these characters need an escape."""


def check_origin(
    request: Request, allowed: Collection[str], *, by_unknown_proxy: bool = False
) -> None:
    """Check the Origin header of a handshake: it must be our own, or in `allowed`.

    Raises Refused (403), which names the key of the configuration that would let the page upload.
    """
    origin = request.headers.get("origin")
    if origin is None or "*" in allowed or origin in allowed:
        return
    hosts = [request.host, f"{request.host}:{request.port}"] if request.port else [request.host]
    if not any(is_same_origin(origin, request.scheme, host) for host in hosts):
        raise Refused(Response(HTTPStatus.FORBIDDEN, _refusal(origin, allowed, by_unknown_proxy)))


def is_same_origin(origin: str, scheme: str, host: str) -> bool:
    """Whether `origin`, an Origin header, equals that of `scheme` and `host` (with a port, if any).

    A missing port is the default port of the scheme. The zone of an IPv6 address does not count: it
    has a meaning only on the machine of the client. A `host` that is more than a host and a port,
    such as `user@host`, equals no origin.
    """
    default = _DEFAULT_PORTS.get(scheme)
    prefix, separator, theirs = origin.partition("://")
    if default is None or prefix.lower() != scheme or not separator:
        return False
    ours = _host_and_port(host, default)
    return ours is not None and ours == _host_and_port(theirs, default)


def _host_and_port(text: str, default: int) -> tuple[str, int] | None:
    found = _HOST.fullmatch(text)
    if not found:
        return None
    host = found[1].lower()
    if host[0] == "[":
        host = host.strip("[]").partition("%")[0]
    return host, int(found[2] or default)


def origin_for_log(request: Request) -> str:
    """The Origin header without path, query and password; "null" if it is not a URL with a host."""
    found = _ORIGIN.match(request.headers.get("origin", ""))
    return f"{found[1]}{found[2]}" if found else "null"


def _refusal(origin: str, allowed: Collection[str], by_unknown_proxy: bool) -> str:
    text, others = "Pages of this origin may not upload here.", "To allow them"
    if by_unknown_proxy:
        text += (
            " The request came through a proxy that is not in server.trusted_proxies:"
            " for galileod's own page, add the address of the proxy there."
        )
        others = "To allow pages of another server"
    if not (is_origin(origin) and _QUOTABLE.fullmatch(origin)):
        return text  # no browser sends it
    if allowed:
        return f'{text} {others}, add "{origin}" to server.allowed_origins.'
    return f'{text} {others}, set server.allowed_origins = ["{origin}"].'
