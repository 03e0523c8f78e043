"""HAProxy, as a process for the time of a test, and the documented configuration of it."""

import csv
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from helpers.daemon import DEADLINE, poll
from helpers.missing import find, leave_out
from helpers.replacing import replaced

DOCUMENTED: Final = Path(__file__).parents[2] / "docs/haproxy.cfg"

CERTIFICATE: Final = " ssl crt /etc/haproxy/uploads.pem"
"""How the documented configuration names the certificate, where it listens."""

_CHECKS: Final = re.compile("#   (check-ssl .*)")


def documented(
    port: int, nodes: Mapping[str, int], statistics: Path, certificate: Path | None = None
) -> str:
    """The documented configuration, which listens on `port`, before nodes at these ports.

    Without what only root may do. TLS ends there with the `certificate`, if there is one. Who asks
    at the unix socket `statistics` hears what HAProxy says of its servers: see `stated`.
    """
    text = DOCUMENTED.read_text()
    named = "" if certificate is None else f" ssl crt {certificate}"
    text = replaced(text, {f"    bind :443{CERTIFICATE}": f"    bind 127.0.0.1:{port}{named}"})
    rest = text[text.index("\ndefaults\n") : text.index("    server node1")]
    lines = [f"    server {name} 127.0.0.1:{at}\n" for name, at in nodes.items()]
    return f"global\n    stats socket {statistics}\n{rest}" + "".join(lines)


def tls_up_to_the_nodes(text: str, checks: str) -> str:
    """The configuration with its lines changed as their comments say; see `checks_over_tls`."""
    changed = list[str]()
    for line in text.splitlines():
        if line.startswith("    bind "):
            changed.append(line.partition(" ssl ")[0])
        elif line.startswith("    default-server "):
            changed.append(f"{line} {checks}")
        else:
            changed.append(line)
    return "\n".join(changed) + "\n"


def checks_over_tls() -> list[str]:
    """What the documented configuration says to append, if TLS ends at the nodes."""
    return _CHECKS.findall(DOCUMENTED.read_text())


def stated(statistics: Path, proxy: str, server: str, column: str) -> str:
    """What HAProxy says of one of its servers."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(statistics))
        asking.sendall(b"show stat\n")
        with asking.makefile() as lines:
            rows = csv.DictReader(lines)
            return next(
                row[column] for row in rows if (row["# pxname"], row["svname"]) == (proxy, server)
            )


def complaints(text: str, folder: Path) -> str:
    """What HAProxy says of a configuration; empty if it accepts it without a warning."""
    config = folder / "checked.cfg"
    config.write_text(text)
    checked = subprocess.run(
        [_program(), "-c", "-q", "-f", config],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return checked.stdout or ("" if checked.returncode == 0 else f"status {checked.returncode}")


def _program() -> str:
    program = find("haproxy")
    if program is None:
        leave_out("needs haproxy: install Debian's package haproxy")
    return program


@contextmanager
def running_haproxy(text: str, folder: Path, port: int) -> Iterator[None]:
    """With this configuration; it listens on `port` once the block begins."""
    program = _program()
    config, log = folder / "haproxy.cfg", folder / "haproxy.log"
    config.write_text(text)
    with (
        log.open("wb") as written,
        subprocess.Popen(
            [program, "-db", "-f", config],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        ) as process,
    ):

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port), DEADLINE).close()
            except OSError:  # not yet
                return False
            return True

        try:
            poll("haproxy", listens, log.read_text)
            yield
        finally:
            process.kill()
