"""The npm package of the JavaScript client, in projects of those who install it."""

import hashlib
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import pytest
from browser.tab import Tab, http
from helpers.clients import some_bytes
from helpers.daemon import Daemon
from helpers.missing import find, leave_out
from helpers.packages import PRIVATE, SECONDS, build, clone, run
from playwright.sync_api import Browser

from galileod import __version__

pytestmark = pytest.mark.timeout(SECONDS)

HERE: Final = Path(__file__).parent
VITE: Final = HERE / "vite/node_modules/vite/bin/vite.js"
TSC: Final = HERE / "vite/node_modules/typescript/bin/tsc"
TYPE_ROOTS: Final = HERE / "vite/node_modules/@types"

VITE_NODE: Final = (20, 19)
"""The oldest Node.js that this Vite runs with; Debian 12 has an older one."""

WS: Final = Path("/usr/share/nodejs/ws")
WEBSOCKET_NODE: Final = (22, 0)
"""The first Node.js with a WebSocket of its own."""

KINDS: Final = ("sha1", "sha256", "sha512", "blake2b")
CONTENT: Final = some_bytes(9_000_000)
"""Too large to be read at once: it is hashed piece by piece, in a Worker where there is one."""


@pytest.fixture(scope="module")
def package(source: Path) -> Path:
    for program in ("node", "npm"):
        if find(program) is None:
            leave_out(f"needs {program}: install Debian's packages nodejs and npm")
    (package,) = build(source, "npm-package")
    return package


@pytest.fixture
def project(package: Path, tmp_path: Path) -> Path:
    """An empty project in which the package was installed, offline."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").write_text('{"private": true, "type": "module"}')
    run(
        "npm", "install", "--offline", "--no-audit", "--no-fund", "--loglevel=error",
        f"--cache={tmp_path / 'cache'}", package, cwd=project,
    )  # fmt: skip
    return project


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)
    return path


def node_version() -> tuple[int, int]:
    major, minor, *_ = run("node", "--version").removeprefix("v").split(".")
    return int(major), int(minor)


def check(daemon: Daemon, receipts: list[dict[str, Any]]) -> None:
    """Each file was sent with a hash of its kind, and is stored."""
    assert [receipt["hash"] for receipt in receipts] == [
        {"type": kind, "value": hashlib.new(kind, CONTENT, usedforsecurity=False).hexdigest()}
        for kind in KINDS
    ]
    for kind in KINDS:
        assert (daemon.directory / f"{kind}.bin").read_bytes() == CONTENT


def test_two_clones_of_a_commit_give_the_same_bytes(package: Path, tmp_path: Path) -> None:
    other = clone(tmp_path / "elsewhere")
    (other / "LICENSE").chmod(0o600)
    (again,) = build(other, "npm-package", PRIVATE)
    assert again.name == package.name == f"galileo-upload-{__version__}.tgz"
    assert again.read_bytes() == package.read_bytes()


def test_it_has_the_files_that_the_daemon_serves(package: Path, tmp_path: Path) -> None:
    with tarfile.open(package) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / "package"
    files = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    own = {"LICENSE", "README.md", "package.json"}
    assert own < files
    with Daemon(tmp_path / "host") as daemon:
        daemon.start()
        for name in files - own:
            with urlopen(f"{http(daemon)}/{name}") as served:  # noqa: S310
                assert (unpacked / name).read_bytes() == served.read(), name
    described = json.loads((unpacked / "package.json").read_text())
    assert described["version"] == __version__
    assert set(described["exports"]["."].values()) == {"./galileo.d.ts", "./galileo.js"}


def test_node_imports_it_and_sends(project: Path, file: Path, tmp_path: Path) -> None:
    if node_version() < WEBSOCKET_NODE and not WS.exists():
        leave_out("needs a WebSocket for Node.js: install Debian's package node-ws")
    shutil.copyfile(HERE / "node.mjs", project / "node.mjs")
    with Daemon(tmp_path / "host") as daemon:
        daemon.start()
        said = run("node", "node.mjs", daemon.url, file, cwd=project)
        check(daemon, json.loads(said))


@pytest.mark.parametrize(
    "types",
    [
        ("--lib", "es2022,dom", "--module", "es2022", "--moduleResolution", "bundler"),
        ("--lib", "es2022,dom", "--module", "es2022", "--moduleResolution", "node10"),
        ("--lib", "es2022", "--module", "nodenext", "--typeRoots", TYPE_ROOTS, "--types", "node"),
    ],
    ids=["page", "page, oldest", "Node.js"],
)
def test_its_types_are_those_of_a_program(project: Path, types: tuple[str | Path, ...]) -> None:
    if not TSC.exists():
        leave_out("needs TypeScript from npm: make install-tests")
    shutil.copyfile(HERE / "vite/use.ts", project / "use.ts")
    strict = ("--noEmit", "--strict", "--exactOptionalPropertyTypes", "--target", "es2022")
    run("node", TSC, *strict, *types, "use.ts", cwd=project)


@pytest.fixture
def site(project: Path) -> Iterator[tuple[str, list[str]]]:
    """The origin of a site with the bundle, and the paths that were asked for."""
    if not VITE.exists():
        leave_out("needs Vite from npm: make install-tests")
    if node_version() < VITE_NODE:
        pytest.skip("Vite needs Node.js 20.19 or newer")
    for name in ("index.html", "main.js"):
        shutil.copyfile(HERE / "vite" / name, project / name)
    run("node", VITE, "build", "--logLevel=warn", cwd=project)
    asked: list[str] = []

    class Site(SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            asked.append(self.path)

    handler = partial(Site, directory=project / "dist")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_a_browser_sends_with_the_bundle_of_vite(
    chromium: Browser, site: tuple[str, list[str]], file: Path, tmp_path: Path
) -> None:
    origin, asked = site
    settings = {"server": {"allowed_origins": [origin]}}
    with Daemon(tmp_path / "host", settings) as daemon:
        daemon.start()
        tab = Tab(chromium)
        tab.page.goto(f"{origin}/?url={daemon.url}")
        tab.page.set_input_files("input", file)
        check(
            daemon, [tab.page.evaluate("(hash) => globalThis.send(hash)", kind) for kind in KINDS]
        )
        tab.close()
    # The Worker and the libraries are files of the bundle.
    for name in ("hash_worker", *(f"{kind}.umd.min" for kind in KINDS)):
        assert any(path.startswith(f"/assets/{name}-") for path in asked), (name, asked)
