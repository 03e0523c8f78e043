"""Daemons that store on a mounted filesystem, and comparing their ledger with the disk."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from helpers.clients import JavaScriptClient, Outcome, ask, request
from helpers.daemon import Daemon, poll, run_galileod
from helpers.reloading import reload

from galileod.ledger.sqlite import SqliteLedger
from galileod.storage.state import ledger_path

MakeHost = Callable[..., Daemon]


class Placed(ExitStack):
    """Makes daemons whose directories are below `root`; leaving ends them, and removes those."""

    def __init__(self, root: Path, folder: Path) -> None:
        super().__init__()
        self._root = root
        self._folder = folder
        self._count = 0

    def make(self, **storage: object) -> Daemon:
        """A daemon with these settings of `[storage]`, not started yet."""
        self._count += 1
        name = f"{self._folder.name}-{self._count}"
        settings = {"storage": {"directory": str(self._root / name), **storage}}
        # The filesystem is small, and all tests of its kind share it.
        self.callback(shutil.rmtree, self._root / name, ignore_errors=True)
        return self.enter_context(Daemon(self._folder / name, settings))


@contextmanager
def configured(host: Daemon, **storage: object) -> Iterator[None]:
    """These settings of `[storage]` for the block."""
    before = host.config.read_bytes()
    reload(host, {"storage": storage})
    try:
        yield
    finally:
        host.config.write_bytes(before)
        reload(host, {})


def send(host: Daemon, name: str, content: bytes) -> Outcome:
    return JavaScriptClient(host.url, content, name).run()


def stored(host: Daemon, name: str, content: bytes) -> Path:
    """Upload; the path where the daemon says that it stored the file, which must be right."""
    outcome = send(host, name, content)
    assert outcome.ending == "stored", (outcome, host.text())
    return check_stored(host, outcome, content)


def check_stored(host: Daemon, outcome: Outcome, content: bytes) -> Path:
    """The path where the daemon says that it stored the file; its folder must list that name."""
    ends = '"event": "upload.stored"', f'"peer": "{outcome.peer}"'

    def line() -> str | None:
        # Not Daemon.find: it reads the log of all tests each time. The last line may be half one.
        lines = host.text().split("\n")[:-1]
        newest = next((line for line in reversed(lines) if all(end in line for end in ends)), None)
        return newest if newest and json.loads(newest)["timestamp"] >= outcome.began else None

    path = Path(json.loads(poll("upload.stored", line, host.text) or "")["path"])
    assert path.name in os.listdir(path.parent), os.listdir(path.parent)
    assert path.read_bytes() == content
    return path


def on_disk(directory: Path) -> dict[str, int]:
    """Size of each finished file by its path below the directory."""
    return {
        os.path.relpath(os.path.join(folder, name), directory): os.lstat(
            os.path.join(folder, name)
        ).st_size
        for folder, _, names in os.walk(directory)
        if ".galileod" not in Path(folder).parts
        for name in names
    }


def in_ledger(directory: Path) -> dict[str, int]:
    """The same by the ledger, as the next start would find it if the daemon was killed now."""
    path = ledger_path(str(directory))
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "ledger")
        for suffix in ("", "-wal"):
            if os.path.exists(path + suffix):
                shutil.copyfile(path + suffix, copy + suffix)
        with closing(SqliteLedger.open_read_only(copy)) as ledger:
            rows = ledger.database.connection.execute("SELECT name, bytes FROM files")
            return {str(name): int(size) for name, size in rows}


def check_ledger(host: Daemon) -> None:
    """The ledger has the files that are on disk, and no others."""
    assert in_ledger(host.directory) == on_disk(host.directory)


def check_usage(host: Daemon) -> None:
    """`galileod usage` tells of the files that are on disk, and of no upload that runs."""

    def usage() -> dict[str, int]:
        said = run_galileod("usage", "--json", "--config", host.config)
        assert said.returncode == 0, said.stderr
        users = json.loads(said.stdout)["users"]
        keys = ("files", "bytes", "uploads", "reserved")
        return {key: sum(user[key] for user in users) for key in keys}

    sizes = on_disk(host.directory).values()
    expected = {"files": len(sizes), "bytes": sum(sizes), "uploads": 0, "reserved": 0}
    said: dict[str, int] = {}

    def right() -> bool:
        said.update(usage())
        return said == expected

    poll(f"usage {expected}", right, lambda: str(said))


def healthy(host: Daemon) -> bool:
    """Whether the daemon says that files can be stored."""
    return ask(host, request("/healthz", {"Upgrade": None, "Connection": None})).status == 200
