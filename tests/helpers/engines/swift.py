"""OpenStack Swift with its middleware s3api: servers for accounts, containers, objects; a proxy."""

from collections.abc import Sequence
from typing import ClassVar, Final

from .engine import Engine, Server, user

KINDS: Final = ("account", "container", "object")

COMMON: Final = """
[swift-hash]
swift_hash_path_suffix = a
swift_hash_path_prefix = b
[storage-policy:0]
name = p0
default = yes
"""

BACKEND: Final = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
log_level = WARNING
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""

PROXY: Final = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
log_level = WARNING
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats bulk s3api tempauth copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_galileod_owner = {secret} .admin
"""  # noqa: E501  one value

FILTERS: Final = (
    "catch_errors", "gatekeeper", "listing_formats", "bulk", "copy", "slo", "dlo",
    "versioned_writes", "symlink",
)  # fmt: skip


PYTHON: Final = "/usr/bin/python3"
"""The one that the packages use."""

RINGS: Final = """
import sys
from swift.common.ring import RingBuilder
for kind, port in (argument.split(":") for argument in sys.argv[1:]):
    builder = RingBuilder(4, 1, 1)
    builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1",
                     "weight": 1, "meta": "", "replication_ip": "127.0.0.1",
                     "replication_port": int(port)})
    builder.rebalance()
    builder.get_ring().save(f"{kind}.ring.gz")
"""
"""What swift-ring-builder does in nine steps of a second each."""


class Swift(Engine):
    """The processes are `memcached`, `account`, `container`, `object` and `proxy`."""

    name: ClassVar[str] = "swift"
    programs: ClassVar[Sequence[str]] = (
        "swift-proxy-server",
        *(f"swift-{kind}-server" for kind in KINDS),
        "memcached",
    )
    needs: ClassVar[str] = (
        "Debian's packages swift-proxy, swift-account, swift-container, swift-object and memcached"
    )

    def start(self) -> Server:
        """See Engine."""
        (self.folder / "swift.conf").write_text(COMMON)
        (self.folder / "devices/d1").mkdir(parents=True)
        memcached, port = self.port(), self.port()
        who = ("-u", user())
        self.spawn("memcached", "memcached", *who, "-l", "127.0.0.1", "-p", str(memcached))
        ports = {kind: self.port() for kind in KINDS}
        self.run(PYTHON, "-c", RINGS, *(f"{kind}:{port}" for kind, port in ports.items()))
        for kind, backend in ports.items():
            self._spawn_backend(kind, backend)
        server = Server(f"http://127.0.0.1:{port}", access_key="galileod:owner")
        values = {"port": port, "memcached": memcached, "user": user(), "folder": self.folder}
        filters = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in FILTERS)
        (self.folder / "proxy-server.conf").write_text(
            PROXY.format(secret=server.secret_key, **values) + filters
        )
        self.spawn("proxy", "swift-proxy-server", "proxy-server.conf", "-v")
        for each in (memcached, *ports.values(), port):
            self.await_port(each)
        return server

    def _spawn_backend(self, kind: str, port: int) -> None:
        text = BACKEND.format(port=port, user=user(), folder=self.folder, kind=kind)
        (self.folder / f"{kind}-server.conf").write_text(text)
        self.spawn(kind, f"swift-{kind}-server", f"{kind}-server.conf", "-v")
