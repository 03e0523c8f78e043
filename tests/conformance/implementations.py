"""Judges every implementation in this repository with galileo-conformance.

    make conformance [ARGS=--write]

Servers: galileod, without and with tokens, and examples/go/server. Clients: galileo-send, the
JavaScript client in Node.js and in Chromium, and examples/go/client. The reports are in
conformance-report/. docs/conformance.md has the results as a table; a run with other results fails,
and --write writes them down. An implementation whose tools are missing is left out, but not in CI.
"""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from attrs import field, frozen
from browser.chromium import find_browser, running_browser
from conformance import control

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent
OUTPUT: Final = ROOT / "conformance-report"
PAGE: Final = ROOT / "docs" / "conformance.md"
BIN: Final = Path(sys.executable).parent
SHOWN: Final = ("NON-STRICT", "FAIL", "HARNESS-ERROR")
VERDICTS: Final = ("PASS", "INFO", "NON-STRICT", "FAIL", "UNSUPPORTED", "SKIPPED", "HARNESS-ERROR")
AT_ONCE: Final = 3
"""Implementations that are judged at the same time."""
SECONDS: Final = 300
"""The limit for one implementation."""
NEWEST_OLD_NODE: Final = 17
"""The JavaScript client needs a newer Node.js."""


def say(line: str) -> None:
    """Tell it at once, also to a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


_TABLE: Final = re.compile(r"(<!-- results -->\n).*?(<!-- end of results -->)", re.DOTALL)


class Missing(Exception):  # noqa: N818  # no error outside of CI
    """A tool is not installed."""


@frozen
class Implementation:
    """What is judged, as the table names it, and the options of galileo-conformance for it."""

    name: str
    role: str
    prepare: Callable[["Workshop"], list[str]]
    """Starts what is needed; returns the options."""
    drive: Callable[[str], None] | None = None
    """Runs a page, once the kit listens at an address."""

    @property
    def slug(self) -> str:
        """For names of files."""
        return re.sub(r"\W+", "-", self.name.lower()).strip("-")


@frozen
class Workshop:
    """A temporary directory, and the servers that run in it."""

    folder: Path
    stack: ExitStack
    ports: Iterator[int] = field(factory=lambda: iter(_free_ports()))

    def start(self, name: str, command: Callable[[int], list[str]]) -> tuple[Path, int]:
        """Start a server, to be stopped at the end; return its state's directory, and its port."""
        state, port = self.folder / name, next(self.ports)
        state.mkdir()
        control.start(state, port, command(port))
        self.stack.callback(control.stop, state)
        return state, port


def _free_ports() -> Iterator[int]:
    while True:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port: int = listening.getsockname()[1]
        yield port


def _server(workshop: Workshop, name: str, command: Callable[[int, Path], list[str]]) -> list[str]:
    stored = workshop.folder / f"{name}-files"
    stored.mkdir()
    state, port = workshop.start(name, lambda port: command(port, stored))
    program = f"{sys.executable} {HERE / 'control.py'}"
    return [
        *("--url", f"ws://127.0.0.1:{port}/upload", "--stored", str(stored)),
        *("--restart", f"{program} restart {state}", "--kill", f"{program} kill {state}"),
    ]


def galileod(workshop: Workshop) -> list[str]:
    """With the defaults, but a free disk is no part of what is judged."""
    return _server(workshop, "galileod", lambda port, stored: _galileod(workshop, port, stored))


def galileod_with_tokens(workshop: Workshop) -> list[str]:
    """With authentication, for two users."""
    auth = f'[auth]\nmode = "token"\ntokens_file = "{workshop.folder / "tokens.toml"}"\n'
    config = workshop.folder / "tokens-only.toml"
    config.write_text(auth)
    made = []
    for user in ("ada", "grace"):
        add = [str(BIN / "galileod"), "token", "add", "--config", str(config), user]
        made.append(subprocess.run(add, check=True, capture_output=True, text=True).stdout)
    (workshop.folder / "made").write_text("\n".join(made))
    options = _server(
        workshop, "tokens", lambda port, stored: _galileod(workshop, port, stored, auth)
    )
    return [*options, "--token-file", str(workshop.folder / "made")]


def _galileod(workshop: Workshop, port: int, stored: Path, more: str = "") -> list[str]:
    config = workshop.folder / f"galileod-{port}.toml"
    config.write_text(
        f'[server]\nlisten = ["127.0.0.1:{port}"]\n'
        f'[storage]\ndirectory = "{stored}"\nmin_free = 0\n{more}'
    )
    return [str(BIN / "galileod"), "serve", "--config", str(config)]


def _go(program: str) -> str:
    if not shutil.which("go"):
        raise Missing("Debian's golang-go")
    subprocess.run(["make", "-C", ROOT / "examples" / "go", program], check=True)
    return str(ROOT / "examples" / "go" / "bin" / f"galileo-{program}")


def go_server(workshop: Workshop) -> list[str]:
    """The example in Go."""
    program = _go("server")

    def command(port: int, stored: Path) -> list[str]:
        return [program, f"127.0.0.1:{port}", str(stored)]

    return _server(workshop, "go", command)


def go_client(_workshop: Workshop) -> list[str]:
    """The example in Go."""
    return ["--command", f"{_go('client')} {{url}} {{file}}"]


def galileo_send(workshop: Workshop) -> list[str]:
    """The command, with a state directory of its own."""
    os.environ["XDG_STATE_HOME"] = str(workshop.folder / "state")
    return ["--command", f"{BIN / 'galileo-send'} --parallel 1 {{url}} {{files}}"]


def galileo_send_asking(workshop: Workshop) -> list[str]:
    """The command, where it asks what is stored: only how it does that."""
    *_, command = galileo_send(workshop)
    asking = command.replace("--parallel 1", "--parallel 1 --skip-existing")
    return ["--command", asking, "--profile", "ask"]


def javascript_in_node(workshop: Workshop) -> list[str]:
    """The JavaScript client, as a daemon serves it."""
    node = shutil.which("node")
    if not node:
        raise Missing("Node.js")
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
    if int(version.removeprefix("v").partition(".")[0]) <= NEWEST_OLD_NODE:
        raise Missing(f"Node.js {NEWEST_OLD_NODE + 1} or newer")
    script = HERE / "javascript" / "node.mjs"
    return ["--command", f"{node} {script} {_served(workshop)} {{url}} {{files}}"]


def _served(workshop: Workshop) -> Path:
    folder = workshop.folder / "served"
    (folder / "vendor" / "hash-wasm").mkdir(parents=True)
    (folder / "package.json").write_text('{"type": "module"}')
    _, port = workshop.start("page", lambda port: _plain_galileod(workshop, port))
    for path in ("galileo.js", "vendor/hash-wasm/sha1.umd.min.js"):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", f"/{path}")
        (folder / path).write_bytes(connection.getresponse().read())
        connection.close()
    return folder


def _plain_galileod(workshop: Workshop, port: int) -> list[str]:
    stored = workshop.folder / f"stored-{port}"
    stored.mkdir()
    return _galileod(workshop, port, stored)


def javascript_in_chromium(workshop: Workshop) -> list[str]:
    """The JavaScript client in a page that loads it from a daemon."""
    if find_browser() is None:
        raise Missing("Debian's chromium")
    _, port = workshop.start("browser", lambda port: _plain_galileod(workshop, port))
    os.environ["GALILEO_JS"] = f"http://127.0.0.1:{port}/galileo.js"
    return ["--listen", "127.0.0.1:0"]


def drive_chromium(kit: str) -> None:
    """Let a page send what the kit asks for."""
    program = find_browser()
    assert program is not None
    script = (HERE / "javascript" / "browser.js").read_text()
    with running_browser(program) as browser:
        page = browser.new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.goto(kit)
        page.evaluate(script, {"kit": kit, "client": os.environ["GALILEO_JS"]})


IMPLEMENTATIONS: Final = (
    Implementation("galileod", "server", galileod),
    Implementation("galileod with tokens", "server", galileod_with_tokens),
    Implementation("examples/go/server", "server", go_server),
    Implementation("galileo-send", "client", galileo_send),
    Implementation("galileo-send --skip-existing", "client", galileo_send_asking),
    Implementation("galileo.js in Node.js", "client", javascript_in_node),
    Implementation("galileo.js in Chromium", "client", javascript_in_chromium, drive_chromium),
    Implementation("examples/go/client", "client", go_client),
)


def judge(implementation: Implementation) -> tuple[bool, Mapping[str, int]]:
    """Run the kit; return whether there was no regression, and the number of each verdict."""
    output = OUTPUT / implementation.slug
    expected = HERE / "expected" / f"{implementation.slug}.txt"
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        options = implementation.prepare(Workshop(Path(folder), stack))
        command = [str(BIN / "galileo-conformance"), implementation.role, *options]
        command += ["--output", str(output)]
        if expected.exists():
            command += ["--expected", str(expected)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as kit:
            assert kit.stdout is not None
            try:
                if implementation.drive is not None:
                    implementation.drive(kit.stdout.readline().split()[-1])
                table, _ = kit.communicate(timeout=SECONDS)
            finally:
                kit.kill()
    passed = kit.returncode == 0
    if not passed:
        say(table)
    return passed, json.loads((output / "index.json").read_text())["counts"]


def violations(implementation: Implementation) -> Iterator[str]:
    """What the last run has found, a line each."""
    report = json.loads((OUTPUT / implementation.slug / "index.json").read_text())
    for case in report["cases"]:
        for found in case["findings"]:
            if found["verdict"] in SHOWN:
                yield f"{implementation.name}: {case['case']}: {found['sentence']}"


def attempt(implementation: Implementation) -> tuple[bool, str | None]:
    """Judge one; return whether that is as it should be, and its row of the table."""
    start = time.monotonic()
    try:
        passed, counts = judge(implementation)
    except Missing as missing:
        say(f"{implementation.name}: left out, since {missing} is not installed")
        return os.environ.get("CI") != "true", None
    seconds = time.monotonic() - start
    say(f"{implementation.name}: {dict(counts)}, {seconds:.0f} s")
    for line in violations(implementation):
        say(line)
    numbers = [str(counts.get(verdict, 0)) for verdict in VERDICTS]
    return passed, f"| {implementation.name} | {' | '.join(numbers)} |"


def main() -> int:
    """Judge all, or those that the arguments name."""
    names = [argument for argument in sys.argv[1:] if argument != "--write"]
    chosen = [one for one in IMPLEMENTATIONS if not names or one.slug in names]
    # Most of the time is spent waiting.
    with ThreadPoolExecutor(AT_ONCE) as executor:
        results = list(executor.map(attempt, chosen))
    passed = all(good for good, _ in results)
    rows = [row for _, row in results if row is not None]
    if len(rows) == len(IMPLEMENTATIONS):
        passed = _compare("\n".join(rows), write="--write" in sys.argv) and passed
    return 0 if passed else 1


def _compare(rows: str, *, write: bool) -> bool:
    """Whether the page has these results; write them down where it is asked for."""
    head = f"| | {' | '.join(VERDICTS)} |\n|---|{'---|' * len(VERDICTS)}\n"
    text = PAGE.read_text()
    new = _TABLE.sub(lambda found: f"{found[1]}{head}{rows}\n{found[2]}", text)
    if new == text:
        return True
    if write:
        PAGE.write_text(new)
        return True
    say(f"The results differ from {PAGE.relative_to(ROOT)}: run make conformance ARGS=--write")
    return False


if __name__ == "__main__":
    sys.exit(main())
