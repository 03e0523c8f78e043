"""The object storage of the benchmarks, Ceph's RADOS Gateway, and what servers store in it."""

import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.config import Config
from connection import Part
from stored import Void

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from helpers.engines.buckets import Bucket, new_bucket
from helpers.engines.ceph import Ceph
from helpers.engines.engine import EngineError
from helpers.engines.postgresql import Postgresql

__all__ = ["Ceph", "EngineError", "Place", "Postgresql"]

BLOCK = 1 << 20

AT_ONCE = 8
"""Objects that are read or removed at the same time."""


@dataclass(frozen=True)
class Place:
    """A bucket for one server."""

    ceph: Ceph
    bucket: Bucket

    @classmethod
    def new(cls, engine: Ceph) -> "Place":
        """A new bucket."""
        return cls(engine, new_bucket(engine.server))

    def client_options(self, connections: int) -> dict[str, Any]:
        """What botocore and boto3 make a client of that sends as cheaply as they can."""
        server = self.bucket.server
        return {
            "region_name": server.region,
            "endpoint_url": server.url,
            "aws_access_key_id": server.access_key,
            "aws_secret_access_key": server.secret_key,
            "config": Config(
                signature_version="s3v4",
                max_pool_connections=connections,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path", "payload_signing_enabled": False},
            ),
        }

    def check_and_remove(self, parts: Sequence[Part]) -> None:
        """Verify and remove all objects. Raises Void unless they are what was sent."""
        raw, name = self.bucket.raw, self.bucket.name
        pages = raw.get_paginator("list_objects_v2").paginate(Bucket=name)
        keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
        # @tus/s3-store describes each file in an object beside it.
        files = [key for key in keys if not key.endswith(".info")]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            stored = Counter(threads.map(self._sha1, files))
            for _ in threads.map(lambda key: raw.delete_object(Bucket=name, Key=key), keys):
                pass  # an error is raised
        # The gateway would keep the data of what was removed for hours.
        self.ceph.admin("gc", "process", "--include-all")
        if stored != Counter(part.sha1 for part in parts):
            raise Void("the stored objects differ from what was sent")
        if self.bucket.unfinished():
            raise Void("a multipart upload was left behind")

    def _sha1(self, key: str) -> str:
        body = self.bucket.raw.get_object(Bucket=self.bucket.name, Key=key)["Body"]
        running = hashlib.sha1()  # noqa: S324
        while block := body.read(BLOCK):
            running.update(block)
        return running.hexdigest()
