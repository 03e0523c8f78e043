"""The container image of this source, and containers of it, run by runc."""

import hashlib
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from helpers.container import dial_in
from helpers.daemon import DEADLINE, environment, poll
from helpers.debian import REPOSITORY, cache, made_once
from helpers.packages import clone, fetch_and_build

PROGRAMS: Final = {"mmdebstrap": "mmdebstrap", "umoci": "umoci", "runc": "runc"}
"""What the tests need, and Debian's package for it."""

ADDRESS: Final = ("127.0.0.1", 8750)
EPOCH: Final = {"SOURCE_DATE_EPOCH": "1700000000"}
"""The time of the first layer."""

USER: Final = 54321
"""Neither the image nor this machine has such a user."""


class NotReproducibleError(Exception):
    """Two builds of the same source differ."""


def build_image(folder: Path, python: str = sys.executable, umask: int = -1) -> Path:
    """The OCI archive of this source, built from a clone in `folder`. Raises Unavailable."""
    script = clone(folder) / "packaging/image"
    variables = {"BASE": str(_base()), "PYTHON": python}
    return folder / fetch_and_build([script], variables, umask).strip()


def _base() -> Path:
    """The first layer, made once for its inputs and kept; then twice, to compare."""
    sources = REPOSITORY / "packaging/container"
    inputs = (sources / "base").read_bytes() + (sources / "customize").read_bytes()
    made = cache() / f"image-base-{hashlib.sha256(inputs).hexdigest()[:16]}"
    with made_once(made) as target:
        if target is not None:
            with ThreadPoolExecutor() as both:
                for made_one in [
                    both.submit(fetch_and_build, [sources / "base", target / name], EPOCH)
                    for name in ("base.tar", "again.tar")
                ]:
                    made_one.result()
            if digest_of(target / "base.tar") != digest_of(target / "again.tar"):
                raise NotReproducibleError("packaging/container/base makes different archives")
            (target / "again.tar").unlink()
    return made / "base.tar"


def digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def unpack(archive: Path, folder: Path) -> Path:
    """The bundle for runc: the unpacked layers, and config.json."""
    layout = folder / "layout"
    layout.mkdir(parents=True)
    subprocess.run(["tar", "-C", layout, "-xf", archive], check=True)
    (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]
    tag = manifest["annotations"]["org.opencontainers.image.ref.name"]
    bundle = folder / "bundle"
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:{tag}", bundle], check=True)
    return bundle


class ImageContainer:
    """A container with a read-only root, a user that the image does not know, and one volume.

    It has a network of its own, or that of the process `beside`. `settings`, if given, are mounted
    at /etc/galileod.toml.
    """

    def __init__(
        self,
        bundle: Path,
        folder: Path,
        volume: Path,
        *,
        settings: Path | None = None,
        beside: int | None = None,
    ) -> None:
        folder.mkdir()
        self._root = folder / "runc"
        self._name = f"galileod-{os.getpid()}-{folder.name}"
        self._log = folder / "stderr"
        config: dict[str, Any] = json.loads((bundle / "config.json").read_text())
        config["root"] = {"path": str(bundle / "rootfs"), "readonly": True}
        config["process"]["terminal"] = False
        config["process"]["user"] = {"uid": USER, "gid": USER}
        config["process"]["capabilities"] = {}
        if beside is not None:
            for space in config["linux"]["namespaces"]:
                if space["type"] == "network":
                    space["path"] = f"/proc/{beside}/ns/net"
        config["mounts"] = [
            mount for mount in config["mounts"] if mount["destination"] != "/var/lib/galileod"
        ]
        binds = {"/var/lib/galileod": volume}
        if settings is not None:
            binds["/etc/galileod.toml"] = settings
        config["mounts"] += [
            {
                "destination": inside, "source": str(path), "type": "bind",
                "options": ["bind", "nosuid", "nodev", *(["ro"] if path.is_file() else [])],
            }
            for inside, path in binds.items()
        ]  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._runc, "run", "--bundle", folder, self._name],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip

    @property
    def _runc(self) -> list[str | Path]:
        return ["runc", "--root", self._root]

    def __enter__(self) -> Self:
        try:
            poll("the start of the container", self._listens, self._log.read_text)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._process.poll() is None:
            subprocess.run([*self._runc, "delete", "--force", self._name], check=False)
            self._process.wait(DEADLINE)

    def _listens(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        return '"server.started"' in self._log.read_text()

    @property
    def pid(self) -> int:
        """Its process 1, as numbered outside."""
        state = subprocess.run(
            [*self._runc, "state", self._name], check=True, stdout=subprocess.PIPE
        ).stdout
        pid: int = json.loads(state)["pid"]
        return pid

    def log(self) -> list[dict[str, Any]]:
        """All that it wrote; each line must be a JSON object."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def dial(self) -> socket.socket:
        """A connection to galileod."""
        return dial_in(self.pid, ADDRESS)

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command inside."""
        ended = subprocess.run(
            [*self._runc, "exec", self._name, *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE, check=False,
        )  # fmt: skip
        assert not check or ended.returncode == 0, f"{command}: {ended.stderr}"
        return ended

    def send(self, *arguments: str | Path, token: str) -> "subprocess.Popen[str]":
        """Start galileo-send outside, in the network of the container."""
        program = Path(sys.executable).with_name("galileo-send")
        return subprocess.Popen(
            ["nsenter", f"--target={self.pid}", "--net", program, *arguments],
            env=environment({"GALILEO_TOKEN": token}),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def terminate(self) -> None:
        """SIGTERM to process 1."""
        subprocess.run([*self._runc, "kill", self._name, "TERM"], check=True)

    def wait(self) -> int:
        """Its exit status."""
        return self._process.wait(DEADLINE)
