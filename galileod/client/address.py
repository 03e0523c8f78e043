"""Parses the URL of a server, and finds its proxy in the environment. No I/O."""

import base64
import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from attrs import field, frozen

from .errors import AddressError

EXPECTED: Final = (
    'Expected something like "wss://host/upload", "ws://host:8750/upload" or '
    '"ws+unix:/run/galileod.sock:/upload".'
)

MAX_URL: Final = 8192
"""Maximum characters of a URL; servers accept fewer."""

MAX_UNIX_PATH: Final = 107
"""Maximum bytes in the path of a unix socket (unix(7))."""

_UNIX: Final = "ws+unix:"
_SECURE: Final = {"ws": False, "http": False, "wss": True, "https": True}
_SAFE: Final = "/%:@!$&'()*+,;=~-._?"
_NAME: Final = re.compile(r"[\w.-]+", re.ASCII)
_IN_BRACKETS: Final = re.compile(r"(?:[^@]*@)?\[[\w.:%-]+\](?::\d*)?", re.ASCII)
_PORTS: Final = {False: 80, True: 443}
# Newer versions of Python also count 169.254.0.0/16 when it is mapped into IPv6; it has no zones.
_LINK_LOCAL: Final = ipaddress.IPv6Network("fe80::/10")


@frozen
class Address:
    """A server: `host` and `port`, or the path of a unix socket; `target` for the request line.

    An IPv6 address may have a zone: `fe80::1%eth0`.
    """

    host: str
    port: int
    secure: bool
    target: str
    unix: str | None = None

    @property
    def authority(self) -> str:
        """The value of the Host header, without a zone (RFC 6874, section 3)."""
        return self._with_port(without_zone(self.host))

    def _with_port(self, host: str) -> str:
        host = f"[{host}]" if ":" in host else host
        return host if self.port == _PORTS[self.secure] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"unix:{self.unix}" if self.unix else self._with_port(self.host)


@frozen
class Proxy:
    """An HTTP proxy for CONNECT. `authorization` is the value of Proxy-Authorization, or None."""

    host: str
    port: int
    secure: bool
    authorization: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def without_zone(host: str) -> str:
    """`host` without the zone of an IPv6 address, which has a meaning on this machine only."""
    return host.partition("%")[0]


def parse_url(url: str) -> Address:
    """The server that a URL names. Raises AddressError, which says what was expected."""
    if not isinstance(url, str):
        raise AddressError(f"The URL must be a string, not {url!r}. {EXPECTED}")
    if len(url) > MAX_URL or not url.isprintable() or " " in url:
        raise AddressError(
            f"The URL is too long or contains a space or a control character. {EXPECTED}"
        )
    if url.startswith(_UNIX):
        return _parse_unix(url)
    parts = _split(url)
    if parts.scheme not in _SECURE:
        raise AddressError(f'"{_without_secrets(url)}" is not a supported URL. {EXPECTED}')
    if parts.username is not None or parts.password is not None:
        raise AddressError(
            "The URL must not contain a user name or a password. Put a token into "
            "$GALILEO_TOKEN or into the file of --token-file."
        )
    secure = _SECURE[parts.scheme]
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    return Address(*_host_port(parts, _PORTS[secure]), secure, quote(target, safe=_SAFE))


def find_proxy(address: Address, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for this server in the environment. Raises AddressError for an invalid one.

    HTTPS_PROXY is for wss, HTTP_PROXY for ws, ALL_PROXY for both; NO_PROXY lists hosts, domains,
    networks, or `*`. A variable in lower case takes precedence.
    """
    if address.unix or _is_exempt(address, _variable(environ, "no_proxy")):
        return None
    for name in ("https_proxy" if address.secure else "http_proxy", "all_proxy"):
        if text := _variable(environ, name):
            return _parse_proxy(text, name if name in environ else name.upper())
    return None


def _variable(environ: Mapping[str, str], name: str) -> str:
    # In a CGI program HTTP_PROXY is the request's header Proxy, which is not trusted.
    upper = "" if name == "http_proxy" and "REQUEST_METHOD" in environ else name.upper()
    return (environ.get(name) or environ.get(upper, "")).strip()


def _parse_unix(url: str) -> Address:
    path, _, target = url.removeprefix(_UNIX).partition(":")
    path = re.sub("^//(?=/)", "", path)
    if not path.startswith("/") or len(path.encode()) > MAX_UNIX_PATH:
        raise AddressError(
            f"A unix socket needs an absolute path of at most {MAX_UNIX_PATH} bytes. {EXPECTED}"
        )
    if target and not target.startswith("/"):
        raise AddressError(f"The path after the unix socket must start with a slash. {EXPECTED}")
    target = quote(target or "/", safe=_SAFE)
    return Address("localhost", 80, secure=False, target=target, unix=path)


def _parse_proxy(text: str, variable: str) -> Proxy:
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        secure = {"http": False, "https": True}[parts.scheme]
        host, port = _host_port(parts, 443 if secure else 8080)
    except (KeyError, ValueError):  # AddressError too: its message is about "the URL"
        raise AddressError(
            f'${variable} has "{_without_secrets(text)}", which is not a supported proxy. '
            'Expected something like "http://host:3128".'
        ) from None
    if parts.username is None:
        return Proxy(host, port, secure)
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(host, port, secure, "Basic " + base64.b64encode(os.fsencode(pair)).decode())


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises ValueError for an invalid port
    except ValueError as error:
        # The message may quote a password: one that contains a slash is parsed as the port.
        why = "the host or the port is invalid" if "@" in url else error
        raise AddressError(f'"{_without_secrets(url)}": {why}. {EXPECTED}') from None
    return parts


def _host_port(parts: SplitResult, usual: int) -> tuple[str, int]:
    try:
        host = (parts.hostname or "").encode("idna").decode()
    except UnicodeError:
        host = ""
    if parts.port == 0:
        raise AddressError(f"The port must be from 1 to 65535. {EXPECTED}")
    if _IN_BRACKETS.fullmatch(parts.netloc):
        host = _with_zone(host)
    elif "[" in parts.netloc or not _NAME.fullmatch(host):
        raise AddressError(f"The URL has no host or an invalid one. {EXPECTED}")
    return host, parts.port or usual


def _with_zone(host: str) -> str:
    """An IPv6 address of a URL, where a zone follows `%25` (RFC 6874) or, in many programs, `%`."""
    address, percent, zone = host.partition("%")
    try:
        needs_zone = ipaddress.IPv6Address(address) in _LINK_LOCAL
    except ValueError:  # [v1.a:b], which RFC 3986 has for later versions of IP
        raise AddressError(f"The URL has no host or an invalid one. {EXPECTED}") from None
    if needs_zone and not zone:
        raise AddressError(f"The link-local address {host} needs its zone: [{host}%25eth0].")
    return f"{address}{percent}{zone.removeprefix('25') or zone}"


def _without_secrets(url: str) -> str:
    head, at, tail = url.rpartition("@")
    scheme = re.match(r"[a-z+]*://", head)
    return f"{scheme[0] if scheme else ''}...{at}{tail}" if at else url


def _is_exempt(address: Address, listed: str) -> bool:
    return any(_matches(address, entry.strip()) for entry in listed.split(",") if entry.strip())


def _matches(address: Address, entry: str) -> bool:
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(address.host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass  # the host or the entry is not an IP address
    name, _, port = entry.lower().removeprefix("*").partition(":")
    name = name.lstrip(".")
    if port and port != str(address.port):
        return False
    return address.host == name or address.host.endswith(f".{name}")
