"""Buckets of an engine: a new one for a test."""

import itertools
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import botocore.session
from attrs import field, frozen
from botocore.config import Config
from botocore.exceptions import ClientError

from .engine import POLL, START_SECONDS, Server

_NUMBERS: Final = itertools.count()


@frozen
class Bucket:
    """A bucket, and a client of botocore that looks at it from outside."""

    name: str
    server: Server
    raw: Any = field(repr=False)

    def settings(self, folder: Path, **more: object) -> dict[str, object]:
        """The values of `[storage.s3]` for it; its credentials are in a file in `folder`."""
        path = write_credentials(folder / "credentials", self.server)
        return {
            "bucket": self.name,
            "endpoint": self.server.url,
            "region": self.server.region,
            "credentials_file": str(path),
            **more,
        }

    def contents(self) -> Mapping[str, bytes]:
        """All objects with their data."""
        pages = self.raw.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
        return {key: self.read(key) for key in keys}

    def read(self, key: str) -> bytes:
        """The data of an object."""
        data: bytes = self.raw.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def unfinished(self) -> int:
        """How many multipart uploads are neither completed nor aborted."""
        return len(self.raw.list_multipart_uploads(Bucket=self.name).get("Uploads", []))


def raw_client(
    server: Server,
    access_key: str | None = None,
    secret_key: str | None = None,
    token: str | None = None,
    config: Config | None = None,
) -> Any:  # noqa: ANN401  botocore makes its classes when it runs
    """A client of botocore with its defaults, but for what an older store does not understand."""
    return botocore.session.Session().create_client(
        "s3",
        region_name=server.region,
        endpoint_url=server.url,
        aws_access_key_id=access_key or server.access_key,
        aws_secret_access_key=secret_key or server.secret_key,
        aws_session_token=token,
        config=Config(
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path"},
        ).merge(config or Config()),
    )


def new_bucket(server: Server) -> Bucket:
    """Create one. It ends with the engine."""
    bucket = Bucket(f"b{os.getpid()}-{next(_NUMBERS)}", server, raw_client(server))
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            bucket.raw.create_bucket(Bucket=bucket.name)
        except ClientError as error:  # one that listens may be unable to serve yet
            if _status(error) < 500 or time.monotonic() > end:
                raise
            time.sleep(POLL)
        else:
            return bucket


def write_credentials(path: Path, server: Server, token: str | None = None) -> Path:
    """A file with the credentials of the server, as `~/.aws/credentials`."""
    lines = [
        "[default]",
        f"aws_access_key_id = {server.access_key}",
        f"aws_secret_access_key = {server.secret_key}",
        *([f"aws_session_token = {token}"] if token else []),
    ]
    draft = path.with_suffix(".draft")
    draft.touch(0o600)
    draft.write_text("\n".join(lines) + "\n")
    draft.rename(path)
    return path


def _status(error: ClientError) -> int:
    status: int = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status
