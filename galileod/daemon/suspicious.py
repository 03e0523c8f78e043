"""Finds what in a valid configuration is probably a mistake; `check-config` warns about it.

Only what is found without effort, and does not depend on the user who runs the command.
"""

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attrs import fields
from cryptography.x509 import load_pem_x509_certificates

from galileod.auth.settings import Auth, TicketSettings
from galileod.config.convert import show, unstructure
from galileod.config.file import Reading
from galileod.config.model import Config
from galileod.net.addresses import TcpAddress, UnixAddress, is_loopback
from galileod.net.settings import Server
from galileod.storage.settings import S3
from galileod.units import Size, format_size, human_size

from .paths import nearest_existing
from .prepare import Prepared

Suspicion = tuple[str, str]
"""A key, and what is suspicious about its value."""

RUN: Final = ("/run/", "/var/run/")
"""The directories of sockets that do not outlast a start of the machine."""

_FOR_ALL: Final = stat.S_IROTH
_BY_ALL: Final = stat.S_IWOTH


def find_suspicious(reading: Reading, prepared: Prepared) -> list[str]:
    """A line for each suspicious value, with file, key, value and the reason. Blocks."""
    config = prepared.config
    lines = [
        f"{reading.where(key)}: {show(_in_file(config, key))}: {reason}"
        for find in (_limits, _access, _sockets, _unused, _storage, _certificate)
        for key, reason in find(config)
    ]
    tokens = prepared.authenticator.tokens
    if tokens is not None and all(
        token.is_expired(datetime.now(UTC)) for token in tokens.read().values()
    ):
        where = reading.where("auth.tokens_file")
        lines.append(f"{where}: {show(config.auth.tokens_file)}: has no token that is valid")
    if reading.source is not None and (mode := _mode(reading.source)) & _BY_ALL:
        lines.append(f"{reading.source}: has mode {mode:04o}, so every user may change it")
    return lines


def _limits(config: Config) -> Iterator[Suspicion]:
    largest = config.limits.max_file_size
    for name in ("total_bytes", "user_bytes"):
        quota: Size | None = getattr(config.quota, name)
        if quota is not None and quota < largest:
            than = f"limits.max_file_size ({format_size(largest)})"
            yield f"quota.{name}", f"is less than {than}, so no file of that size can be stored"
    if config.resume.keep and config.resume.min_size > largest:
        than = f"limits.max_file_size ({format_size(largest)})"
        yield "resume.min_size", f"is more than {than}, so no interrupted upload is kept"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if config.chunks.memory > memory:
        yield "chunks.memory", f"is more than the memory of this machine ({human_size(memory)})"


def _access(config: Config) -> Iterator[Suspicion]:
    server, auth = config.server, config.auth
    is_open = not (auth.accepts("token") or auth.accepts("ticket"))
    reachable = _reachable(server)
    if reachable and is_open:
        yield "auth.mode", f"everybody who can connect to {reachable[0]} may upload"
    # Behind a proxy, the proxy encrypts.
    direct = [str(address) for address in reachable if not address.proxy_protocol]
    if direct and config.tls.certificate is None and not server.trusted_proxies:
        what = "files" if is_open else "files and credentials"
        yield "server.listen", f"without [tls], {what} sent to {direct[0]} are not encrypted"
    if any(network.prefixlen == 0 for network in server.trusted_proxies):
        yield "server.trusted_proxies", "every client may claim to have any address"
    if any(network.prefixlen == 0 for network in config.metrics.allow):
        yield "metrics.allow", "everybody who can connect may read /metrics"
    if is_open and "*" in server.allowed_origins:
        yield (
            "server.allowed_origins",
            "every web page that a user opens may upload, since no credential is required",
        )


def _sockets(config: Config) -> Iterator[Suspicion]:
    """The unix sockets that cannot be created as things are."""
    for address in config.server.listen:
        if not isinstance(address, UnixAddress):
            continue
        folder = os.path.dirname(address.path)
        try:
            if not stat.S_ISSOCK(os.stat(address.path).st_mode):
                yield "server.listen", f"{address.path} exists and is not a socket"
        except (FileNotFoundError, NotADirectoryError):
            # What is in /run is created at each start of the machine or of the service.
            if not os.path.isdir(folder) and not f"{folder}/".startswith(RUN):
                yield "server.listen", f"{folder} is not a directory that exists"
        except OSError:
            pass  # this user may not look at it


def _reachable(server: Server) -> list[TcpAddress]:
    """The addresses that other machines may reach."""
    return [
        address
        for address in server.listen
        if isinstance(address, TcpAddress) and not is_loopback(address.host)
    ]


def _unused(config: Config) -> Iterator[Suspicion]:
    auth = config.auth
    if not auth.accepts("token") and auth.tokens_file != Auth().tokens_file:
        yield "auth.tokens_file", 'is not used, since auth.mode does not contain "token"'
    if not auth.accepts("ticket"):
        for attribute in fields(TicketSettings):
            if getattr(auth.ticket, attribute.name) is not None:
                key = f"auth.ticket.{attribute.name}"
                yield key, 'is not used, since auth.mode does not contain "ticket"'
    if config.storage.backend != "s3":
        for attribute in fields(S3):
            if getattr(config.storage.s3, attribute.name) != getattr(S3(), attribute.name):
                yield (
                    f"storage.s3.{attribute.name}",
                    'is not used, since storage.backend is not "s3"',
                )


def _storage(config: Config) -> Iterator[Suspicion]:
    path = os.path.abspath(config.storage.directory)
    existing = nearest_existing(path)
    if existing is None:
        return  # this user may not look at it
    if existing != path:
        yield "storage.directory", f"{path} does not exist; it is created at the start"
    disk = os.statvfs(existing)
    total = disk.f_blocks * disk.f_frsize
    if config.storage.min_free > total:
        reason = (
            f"is more than the size of the disk ({human_size(total)}), so no file can be stored"
        )
        yield "storage.min_free", reason


def _certificate(config: Config) -> Iterator[Suspicion]:
    tls, now = config.tls, datetime.now(UTC)
    if tls.certificate is None or tls.key is None:
        return
    if (mode := _mode(tls.key)) & _FOR_ALL:
        yield "tls.key", f"has mode {mode:04o}, so every user may read it"
    try:
        # The first one is that of the server; those of authorities follow.
        certificate = load_pem_x509_certificates(Path(tls.certificate).read_bytes())[0]
    except ValueError:
        return  # OpenSSL, which the daemon uses, accepts more
    if now > certificate.not_valid_after_utc:
        yield "tls.certificate", f"has expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if now < certificate.not_valid_before_utc:
        yield "tls.certificate", f"is valid only from {certificate.not_valid_before_utc:%Y-%m-%d}"


def _mode(path: str) -> int:
    """The permissions of a regular file; 0 for others, such as a pipe."""
    mode = os.stat(path).st_mode
    return stat.S_IMODE(mode) if stat.S_ISREG(mode) else 0


def _in_file(config: Config, key: str) -> object:
    """The value of a key as in the configuration file."""
    value: object = unstructure(config)
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
