"""`[storage]`: where finished files are stored, and how durably."""

import re
from collections.abc import Iterator
from string import ascii_letters, digits
from typing import Final, Literal
from urllib.parse import urlsplit

from attrs import field, frozen

from galileod.extras import missing
from galileod.policy.layout import check_layout
from galileod.policy.publication import Durability, OnConflict
from galileod.units import Duration, Size, Violation, format_size

MIN_PART: Final = 5 << 20
MAX_PART: Final = 5 << 30
"""Bytes of a part of a multipart upload that S3 accepts; the last one may be smaller."""

BOTOCORE_MISSING: Final = missing("s3", "botocore>=1.36,<2")
"""What is said where the extra of the backend "s3" is not installed."""

Backend = Literal["local", "s3"]

Style = Literal["auto", "path", "virtual"]
"""Where the bucket stands in a URL: in its path, or in its host name."""

Ask = Literal["users", "everybody", "nobody"]
"""Who may ask which files are stored already; `users` are those who have authenticated."""

MAX_PREFIX: Final = 256
"""Maximum bytes of `storage.s3.prefix`; a key has at most 1024."""

_BUCKET: Final = frozenset(f"{ascii_letters}{digits}.-_")
"""The characters of a bucket's name. AWS allows fewer; botocore refuses others."""

_REGION: Final = re.compile(r"(?!-|[0-9]+$)[A-Za-z0-9-]{1,63}(?<!-)")
"""What botocore accepts, since the region becomes a part of a host name."""


def _ending_with_slash(prefix: str) -> str:
    return f"{prefix}/" if prefix and not prefix.endswith("/") else prefix


@frozen
class S3:
    """`[storage.s3]`: the bucket of an S3-compatible object storage, and how to get at it.

    `prefix` precedes each key; it is empty or ends with a slash. `endpoint` and `region` are by
    default those of AWS. Without `credentials_file`, credentials are from the environment or the
    role of the machine. `part_size` is the smallest size of a part of a multipart upload; a file
    that is not larger is stored in one request.
    """

    bucket: str | None = None
    prefix: str = field(default="", converter=_ending_with_slash)
    endpoint: str | None = None
    region: str | None = None
    style: Style = "auto"
    credentials_file: str | None = None
    part_size: Size = Size(8 << 20)

    @property
    def location(self) -> str:
        """The URL of where the files are."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@frozen
class Storage:
    """`[storage]`: where finished files are stored, how durably, and for how long.

    `directory` has the files of the backend "local", and the ledger and the control socket always.
    With `keep_modified`, a file gets the modification time that its client states. After
    `retention`, in seconds, it is removed; None: never.
    """

    backend: Backend = "local"
    directory: str = "uploads"
    layout: str = "{folder}/{name}"
    on_conflict: OnConflict = "rename"
    min_free: Size = Size(1 << 30)
    durability: Durability = "full"
    keep_modified: bool = True
    ask: Ask = "users"
    retention: Duration | None = None
    s3: S3 = S3()


def violations(storage: Storage, memory: Size) -> Iterator[Violation]:
    """The values that have the right type but are not valid. `memory` is that of the chunks."""
    try:
        check_layout(storage.layout)
    except ValueError as error:
        yield "storage.layout", storage.layout, str(error)  # it says what is expected
    if not storage.directory or "\0" in storage.directory:
        yield "storage.directory", storage.directory, "the path of a directory"
    if storage.retention is not None and storage.retention <= 0:
        yield "storage.retention", storage.retention, "a duration of more than 0"
    if storage.backend == "s3":
        yield from _s3_violations(storage.s3, memory)


def _s3_violations(s3: S3, memory: Size) -> Iterator[Violation]:
    if not s3.bucket or not set(s3.bucket) <= _BUCKET:
        yield "storage.s3.bucket", s3.bucket, "the name of a bucket"
    if s3.endpoint is not None and not _is_endpoint(s3.endpoint):
        expected = 'the URL of a server, such as "https://s3.example.org"'
        yield "storage.s3.endpoint", s3.endpoint, expected
    if s3.region is not None and not _REGION.fullmatch(s3.region):
        yield "storage.s3.region", s3.region, 'the name of a region, such as "eu-central-1"'
    if s3.prefix.startswith("/") or "\0" in s3.prefix or len(s3.prefix.encode()) > MAX_PREFIX:
        expected = f"a prefix of at most {MAX_PREFIX} bytes, such as uploads/"
        yield "storage.s3.prefix", s3.prefix, expected
    if s3.credentials_file is not None and (not s3.credentials_file or "\0" in s3.credentials_file):
        yield "storage.s3.credentials_file", s3.credentials_file, "the path of a file"
    if not MIN_PART <= s3.part_size <= MAX_PART:
        yield "storage.s3.part_size", format_size(s3.part_size), 'a size from "5MiB" to "5GiB"'
    elif s3.part_size * 2 > memory:
        expected = f"at most half of chunks.memory ({format_size(memory)})"
        yield "storage.s3.part_size", format_size(s3.part_size), expected


def _is_endpoint(text: str) -> bool:
    """Whether this is the URL of a server, without user, query or fragment."""
    if not text.isascii() or not text.isprintable() or set(text) & set(' "<>\\^`{|}#?@'):
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port or the address is not valid
        return False
