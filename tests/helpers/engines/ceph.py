"""Ceph's RADOS Gateway with one monitor and one OSD, which keeps its objects in memory."""

import base64
import json
import os
import re
import struct
import uuid
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from .engine import Engine, Server

MEMORY: Final = 6 << 30
"""Bytes that the OSD says it has; what is stored takes real memory."""

CAPABILITIES: Final = "".join(f'\tcaps {of} = "allow *"\n' for of in ("mon", "osd", "mgr", "mds"))

GATEWAYS: Final = ("rgw", "rgw2")

REQUEST: Final = r' beast: .*?"([A-Z]+) /{bucket}(\S*) HTTP/1\.1" \d'
"""A line in the log of a gateway."""

SETTINGS: Final = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind msgr1 = false
auth allow insecure global id reclaim = false
paxos propose interval = 0.05
paxos min wait = 0.01
mon allow pool size one = true
mon data avail crit = 1
mon data avail warn = 1
mon max pg per osd = 1000
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
keyring = {folder}/keyring
[mon.a]
mon data = {folder}/mon
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = {memory}
osd fast shutdown = false
osd client watch timeout = 5
[client]
rgw data = {folder}
rgw dns name = localhost
rgw run sync thread = false
rgw gc obj min wait = 10
rgw mp lock max time = 20
rgw sts key = abcdefghijklmnop
rgw sts min session duration = 1
[client.rgw2]
rgw s3 auth use sts = true
"""

GATEWAY: Final = """
[client.{name}]
rgw frontends = beast endpoint=127.0.0.1:{port}
"""


def _allowed(action: str, **more: object) -> dict[str, object]:
    """A policy of one statement."""
    statement = {"Effect": "Allow", "Action": action, **more}
    return {"Version": "2012-10-17", "Statement": [statement]}


TRUST: Final = _allowed("sts:AssumeRole", Principal={"AWS": ["arn:aws:iam:::user/owner"]})
ALL: Final = _allowed("s3:*", Resource="arn:aws:s3:::*")


class Ceph(Engine):
    """`admin` and `ceph` work also in a process that is only attached to it.

    The processes are `mon`, `osd`, `rgw`, and `rgw2`, which serves the same buckets at another of
    `ports` once it was started with `spawn_gateway`. It alone accepts the tokens of sessions, and
    does not tell whether an access key is unknown or what it may do is not enough.
    """

    name: ClassVar[str] = "ceph"
    programs: ClassVar[Sequence[str]] = (
        "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool",
    )  # fmt: skip
    needs: ClassVar[str] = "Debian's packages ceph-mon, ceph-osd, radosgw and ceph-common"

    def start(self) -> Server:
        """See Engine. There is no manager: only its statistics would be missed."""
        fsid, mon = str(uuid.uuid4()), self.port()
        self.ports = {name: self.port() for name in GATEWAYS}
        (self.folder / "ceph.conf").write_text(
            SETTINGS.format(folder=self.folder, fsid=fsid, mon=mon, memory=MEMORY)
            + "".join(GATEWAY.format(name=name, port=port) for name, port in self.ports.items())
        )
        names = ("mon.", "client.admin", "osd.0", *(f"client.{name}" for name in GATEWAYS))
        keyring = "".join(f"[{name}]\n\tkey = {_key()}\n{CAPABILITIES}" for name in names)
        (self.folder / "keyring").write_text(keyring)
        for folder in ("mon", "osd"):
            (self.folder / folder).mkdir()
        address = f"[v2:127.0.0.1:{mon}]"
        self.run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, "monmap")
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        self.spawn("mon", "ceph-mon", "-f", "-i", "a")
        self.await_port(mon)
        self.spawn_osd(self.ceph("osd", "new", identity := str(uuid.uuid4())).strip(), identity)
        self.spawn_gateway("rgw")
        server = Server(f"http://127.0.0.1:{self.ports['rgw']}")
        self.add_user("owner", server.access_key, server.secret_key)
        return server

    def spawn_osd(self, number: str, identity: str) -> None:
        """Create the OSD, and start it; returns once objects can be stored."""
        self.run("ceph-osd", "-i", number, "--mkfs", "--osd-uuid", identity)
        self.spawn("osd", "ceph-osd", "-f", "-i", number)
        self.await_osd(up=True)

    def await_osd(self, *, up: bool) -> None:
        """Wait until the monitor knows that the OSD is up, or is not."""
        self.await_true("the OSD", lambda: f"{int(up)} up" in self.ceph("osd", "stat"))

    def end_osd(self) -> None:
        """End the OSD, which writes its objects into files."""
        self.end("osd")
        self.await_osd(up=False)

    def start_osd(self) -> None:
        """Start it again; returns once objects can be stored."""
        self.spawn("osd", "ceph-osd", "-f", "-i", "0")
        self.await_osd(up=True)

    def spawn_gateway(self, name: str) -> None:
        """Start a gateway, also one that was killed; returns once it listens."""
        self.spawn(name, "radosgw", "-f", "-n", f"client.{name}")
        self.await_port(self.ports[name])

    def add_user(self, name: str, access_key: str, secret_key: str) -> None:
        """A user who owns no bucket yet."""
        key = ("--access-key", access_key, "--secret-key", secret_key)
        self.admin("user", "create", "--uid", name, "--display-name", name, *key)

    def allow_sessions(self, role: str) -> None:
        """Start the second gateway, if it does not run, with a role for `owner` that may do all."""
        if "rgw2" in self._processes:
            return
        self.spawn_gateway("rgw2")
        name = ("--role-name", role)
        self.admin("role", "create", *name, "--assume-role-policy-doc", json.dumps(TRUST))
        policy = ("--policy-name", "all", "--policy-doc", json.dumps(ALL))
        self.admin("role-policy", "put", *name, *policy)

    def ceph(self, *arguments: str) -> str:
        """The output of a command of the cluster's administrator."""
        return self.run("ceph", "--connect-timeout", "20", *arguments)

    def requests(self, bucket: str) -> list[str]:
        """The method, the path below a bucket, and the query of each request that has ended."""
        log = (self.folder / "client.rgw.log").read_text(errors="replace")
        return [" ".join(found) for found in re.findall(REQUEST.format(bucket=bucket), log)]

    def admin(self, *arguments: str) -> str:
        """The output of a command of the gateway's administrator: users, quotas."""
        return self.run("radosgw-admin", *arguments)

    def environment(self) -> Mapping[str, str]:
        """See Engine."""
        return {**super().environment(), "CEPH_CONF": str(self.folder / "ceph.conf")}


def _key() -> str:
    """A secret as in a keyring: its type, its time, its length, and itself."""
    secret = os.urandom(16)
    return base64.b64encode(struct.pack("<HIIH", 1, 0, 0, len(secret)) + secret).decode()
