"""Nodes behind HAProxy, with their ledger in PostgreSQL and their files in Ceph."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psycopg
from attrs import define
from helpers.daemon import DEADLINE, poll
from helpers.engines.buckets import Bucket
from helpers.engines.ceph import Ceph
from helpers.engines.postgresql import Postgresql
from helpers.haproxy import documented, running_haproxy, stated
from helpers.nodes import short_lease
from helpers.ports import reserve
from helpers.s3_aftermath import Troubled
from helpers.s3_daemon import PREFIX

LEASE: Final = 4.0

SHORT: Final = short_lease(LEASE, 1.0, 0.7)
"""What a node executes first: its lease is short."""


@define
class Front:
    """What clients connect to."""

    port: int
    nodes: list[Troubled]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/upload"

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE)

    def text(self) -> str:
        """The logs of all nodes."""
        return "\n".join(node.text() for node in self.nodes)


@define(eq=False)
class Cluster:
    """The nodes use the two gateways in turn. `url` is that of the database.

    `large` is for other clients than `front`, and what comes there is counted.
    """

    ceph: Ceph
    postgresql: Postgresql
    bucket: Bucket
    url: str
    nodes: list[Troubled]
    front: Front
    large: Front
    statistics: Path

    def restart(self, node: Troubled) -> None:
        """Kill it, and start it again at the same port."""
        node.kill()
        node.start()

    def hang(self, node: Troubled) -> None:
        """Stop its process until its lease is over, and others have settled its uploads."""
        node.send_signal(signal.SIGSTOP)
        try:
            poll("the end of its lease", lambda: self.is_settled(node), self.front.text)
        finally:
            node.send_signal(signal.SIGCONT)

    def is_settled(self, node: Troubled) -> bool:
        """Whether a node has no lease any more, and no upload."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(
                "SELECT NOT EXISTS (SELECT FROM nodes WHERE name = %(name)s"
                " AND until > clock_timestamp()) AND NOT EXISTS"
                ' (SELECT FROM uploads WHERE node = %(name)s AND "offset" IS NULL)',
                {"name": node.folder.name},
            ).fetchone()
        return row is not None and bool(row[0])

    def uploads(self) -> int:
        """The uploads that run or are kept."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute("SELECT count(*) FROM uploads").fetchone()
        return int(row[0]) if row else 0

    def upgrade(self, node: Troubled, before: str) -> None:
        """Stop it, and start it again as another galileod, which executes `before` first.

        Returns once HAProxy passes connections on to it.
        """
        assert node.stop() == 0
        node.before = SHORT + before
        node.start()
        name = node.folder.name
        poll(
            f"{name} in HAProxy",
            lambda: stated(self.statistics, "galileod", name, "status") == "UP",
        )

    def large_bytes(self) -> int:
        """The bytes that came from the clients of `large`."""
        return int(stated(self.statistics, "large", "FRONTEND", "bin"))

    def stop(self) -> None:
        """Stop all nodes once there is nothing that one of them has to settle."""
        poll("the end of all uploads", lambda: not self.uploads(), self.front.text)
        for node in self.nodes:
            assert node.stop() == 0


@contextmanager
def running_cluster(
    ceph: Ceph, postgresql: Postgresql, bucket: Bucket, folder: Path, count: int
) -> Iterator[Cluster]:
    """So many nodes, all started."""
    url = postgresql.new_database()
    with ExitStack() as stack:
        ports = [stack.enter_context(reserve()).getsockname()[1] for _ in range(count + 2)]
        front_port, large_port, *node_ports = ports
        nodes = [
            stack.enter_context(_node(ceph, bucket, folder, url, number, port))
            for number, port in enumerate(node_ports)
        ]
        for node in nodes:
            node.start()
        statistics = Path(stack.enter_context(TemporaryDirectory())) / "haproxy"  # a short path
        ports_by_name = {f"node{number}": port for number, port in enumerate(node_ports)}
        text = documented(front_port, ports_by_name, statistics)
        text += f"frontend large\n    bind 127.0.0.1:{large_port}\n    default_backend galileod\n"
        stack.enter_context(running_haproxy(text, folder, front_port))
        front, large = Front(front_port, nodes), Front(large_port, nodes)
        yield Cluster(ceph, postgresql, bucket, url, nodes, front, large, statistics)


def _node(ceph: Ceph, bucket: Bucket, folder: Path, url: str, number: int, port: int) -> Troubled:
    gateway = sorted(ceph.ports.values())[number % 2]
    s3 = bucket.settings(
        folder, prefix=PREFIX, part_size="5MiB", endpoint=f"http://127.0.0.1:{gateway}"
    )
    tables: dict[str, Any] = {
        "server": {
            "listen": [f"127.0.0.1:{port} proxy_protocol"],
            "trusted_proxies": ["127.0.0.1"],
            "drain_timeout": "1s",
        },
        "timeouts": {"close": 1},
        "storage": {"backend": "s3", "s3": s3},
        "ledger": {"url": url, "node": f"node{number}"},
    }
    return Troubled(folder / f"node{number}", tables, before=SHORT)
