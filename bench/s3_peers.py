"""The servers that store into buckets, and the clients of buckets that they are compared with."""

import atexit
import importlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import botocore.session
import install_servers
from buckets import Ceph, Place
from clients import tus
from connection import Part
from install_servers import UnavailableError
from measure import Run, Settings
from peers import to_install
from servers import Command, Peer, Running, Setup
from source_file import Source, source

TUS, BOTO3 = "@tus/server with s3-store", "boto3's upload_fileobj"


@dataclass(frozen=True)
class Stage:
    """A running Ceph, the data to send, and the servers, which `stack` ends."""

    settings: Settings
    engine: Ceph
    data: Source
    stack: ExitStack

    def place(self) -> Place:
        """A new bucket."""
        return Place.new(self.engine)

    def start(self, peer: Peer, folder: str) -> Running:
        """Run a server in a directory with this name."""
        return self.stack.enter_context(peer.started(self.data.folder / folder))

    def start_with_bucket(self, peer: Peer, name: str) -> Running:
        """Run a build of galileod that stores into a new bucket."""
        return self.start(_into_bucket(peer, self.place(), name), f"{peer.name}, S3")

    def tus(self) -> Peer:
        """A tus server that stores into a new bucket."""
        return _tus(self.place(), may_install=self.settings.may_install)


@contextmanager
def stage(settings: Settings, size: int) -> Iterator[Stage]:
    """Make `size` bytes to send, and end the servers afterwards. Raises EngineError."""
    with source(settings.tmpfs, size) as data, ExitStack() as stack:
        yield Stage(settings, _ceph(), data, stack)


@cache
def _ceph() -> Ceph:
    """Ceph, which all benchmarks of one run share."""
    engine = Ceph()
    atexit.register(engine.stop)
    return engine.__enter__()


def _into_bucket(peer: Peer, place: Place, name: str) -> Peer:
    def command(setup: Setup) -> Command:
        program = peer.command(setup)
        values = place.bucket.settings(setup.place).items()
        lines = [f"storage.s3.{name} = {json.dumps(value)}\n" for name, value in values]
        with (setup.place / "galileod.toml").open("a") as config:
            config.write("".join(['storage.backend = "s3"\n', *lines]))
        return program

    return replace(peer, name=name, command=command, check=_checking(place))


def _tus(place: Place, *, may_install: bool) -> Peer:
    def make(program: Path) -> Peer:
        def command(setup: Setup) -> Command:
            server = place.bucket.server
            environment = [
                f"AWS_ACCESS_KEY_ID={server.access_key}",
                f"AWS_SECRET_ACCESS_KEY={server.secret_key}",
                f"TMPDIR={setup.place}",  # each part is written to a file before it is sent
            ]
            where = (str(setup.port), server.url, place.bucket.name)
            return ["env", *environment, "node", program, *where]

        return Peer(TUS, command, tus, check=_checking(place))

    return to_install(TUS, partial(install_servers.tus_s3, install=may_install), make)


def _checking(place: Place) -> Callable[[Setup, Sequence[Part]], None]:
    return lambda _setup, parts: place.check_and_remove(parts)


def boto3_upload(place: Place, part: Part, *, may_install: bool) -> Callable[[], Run]:
    """An upload of a part from memory, by this process. Raises UnavailableError."""
    sys.path.append(str(install_servers.boto3(install=may_install)))
    try:
        boto3 = importlib.import_module("boto3")
    except ImportError as error:
        raise UnavailableError(str(error)) from None
    client = boto3.client("s3", **place.client_options(connections=10))
    content = os.pread(part.source, part.size, part.offset)

    def once() -> Run:
        file = io.BytesIO(content)
        cpu, began = time.process_time(), time.perf_counter()
        client.upload_fileobj(file, place.bucket.name, part.name)
        run = Run(part.size, time.perf_counter() - began, time.process_time() - cpu)
        place.check_and_remove([part])
        return run

    return once


def put_each(place: Place, parts: Sequence[Part], threads: int) -> Run:
    """A PutObject for each part, by this process in so many threads."""
    options = place.client_options(connections=threads)
    client = botocore.session.Session().create_client("s3", **options)

    def put(part: Part) -> None:
        body = os.pread(part.source, part.size, part.offset)
        client.put_object(Bucket=place.bucket.name, Key=part.name, Body=body)

    with ThreadPoolExecutor(threads) as pool:
        cpu, began = time.process_time(), time.perf_counter()
        for _ in pool.map(put, parts):
            pass  # an error is raised
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    place.check_and_remove(parts)
    files = {"files": len(parts) / seconds, "cpu_ms": cpu * 1000 / len(parts)}
    return Run(sum(part.size for part in parts), seconds, cpu, files)
