"""nginx and Caddy as a user runs them: the repository's own file, with this machine in it.

What of a file is replaced is the outside world: host name, ports, certificate, where galileod is.
"""

import os
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from helpers.certificates import Certificate
from helpers.clients import Reply, read_all, read_head
from helpers.daemon import DEADLINE, poll
from helpers.missing import SEARCHED, find, leave_out
from helpers.ports import reserve
from helpers.replacing import replaced

ROOT: Final = Path(__file__).parents[2]


class Front(ABC):
    """A proxy before whatever listens at `upstream`; all that it writes is in `folder`."""

    program: str
    package: str

    def __init__(self, folder: Path, certificate: Certificate, upstream: str) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.certificate = certificate
        self._reserved = [reserve(), reserve(), reserve()]
        ports: list[int] = [sock.getsockname()[1] for sock in self._reserved]
        self.port, self.plain_port, self.admin_port = ports
        self.url = f"wss://localhost:{self.port}/upload"
        self.origin = f"https://localhost:{self.port}"
        self.tls = certificate.trusting
        self.stderr = folder / "stderr.log"
        self.config = self.configure(upstream)
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def found(cls) -> str | None:
        """The program, or None where this machine has none."""
        return find(cls.program)

    @staticmethod
    @abstractmethod
    def unix_upstream(path: Path) -> str:
        """How the file names a unix socket."""

    @abstractmethod
    def configure(self, upstream: str) -> Path:
        """Write the configuration."""

    @abstractmethod
    def command(self, *arguments: str) -> Sequence[str]:
        """The program with its configuration; without arguments it serves."""

    @abstractmethod
    def check(self) -> "subprocess.CompletedProcess[str]":
        """Have the program say what it thinks of the file."""

    @abstractmethod
    def reload(self) -> None:
        """Have the configuration read anew, and wait until the new one is in force."""

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the program to its own end."""
        return subprocess.run(
            self.command(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            env=self.environment(),
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """No home but the folder."""
        return {"PATH": SEARCHED, "HOME": str(self.folder)}

    def __enter__(self) -> Self:
        with self.stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env=self.environment(),
                cwd=self.folder,
            )
        poll("the proxy", self._listens, self.stderr.read_text)
        return self

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.stderr.read_text()
        try:
            self.dial().close()
        except OSError:  # not yet
            return False
        return True

    def dial(self, source: str = "127.0.0.1") -> socket.socket:
        """A connection to it, from this address; TLS is still to come."""
        return socket.create_connection(("127.0.0.1", self.port), DEADLINE, (source, 0))

    def get(self, target: str) -> Reply:
        """The answer to a request over TLS that is no upload."""
        with self.tls.wrap_socket(self.dial(), server_hostname="localhost") as sock:
            sock.sendall(
                f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            )
            reply = read_head(sock)
            return Reply(reply.status, reply.headers, reply.body + read_all(sock))

    def processes(self) -> list[int]:
        """The process and its children."""
        assert self._process is not None
        pid = self._process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def peak_memory(self) -> int:
        """The most bytes that were resident, added up over the processes."""
        peaks = (Path(f"/proc/{pid}/status").read_text() for pid in self.processes())
        return sum(int(text.partition("VmHWM:")[2].split()[0]) for text in peaks) * 1024

    def bytes_on_disk(self) -> int:
        """What the open files hold, those included that have no name any more."""
        return sum(
            os.stat(link).st_size
            for pid in self.processes()
            for link in Path(f"/proc/{pid}/fd").iterdir()
            if os.readlink(link).startswith(str(self.folder))
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(DEADLINE)
        finally:
            self._process.kill()
            self._process.wait()
            for sock in self._reserved:
                sock.close()


class Nginx(Front):
    """The site, included in an nginx.conf such as Debian's."""

    program = "nginx"
    package = "nginx"

    @staticmethod
    def unix_upstream(path: Path) -> str:
        return f"unix:{path}"

    def configure(self, upstream: str) -> Path:
        site = replaced(
            (ROOT / "docs" / "nginx.conf").read_text(),
            {
                "listen 80;": f"listen 127.0.0.1:{self.plain_port};",
                "listen [::]:80;": "",
                "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
                "listen [::]:443 ssl;": "",
                "/etc/letsencrypt/live/uploads.example.org/fullchain.pem": str(
                    self.certificate.chain
                ),
                "/etc/letsencrypt/live/uploads.example.org/privkey.pem": str(self.certificate.key),
                "proxy_pass http://127.0.0.1:8750;": f"proxy_pass http://{upstream};",
            },
        )
        (self.folder / "site.conf").write_text(site)
        # Workers of root would be `nobody`, who may not come into this folder.
        user = "user root;" if os.geteuid() == 0 else ""
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        places = "\n".join(f"{kind}_temp_path {self.folder};" for kind in kinds)
        config = self.folder / "nginx.conf"
        config.write_text(
            f"{user} daemon off; worker_processes 2; pid {self.folder}/nginx.pid;\n"
            f"error_log stderr notice; events {{ worker_connections 768; }}\n"
            f"http {{ access_log {self.folder}/access.log; {places}\n"
            f"include {self.folder}/site.conf; }}\n"
        )
        return config

    def command(self, *arguments: str) -> Sequence[str]:
        program = self.found()
        assert program is not None
        return [program, "-e", "stderr", "-p", str(self.folder), "-c", str(self.config), *arguments]

    def check(self) -> "subprocess.CompletedProcess[str]":
        return self.run("-t")

    def reload(self) -> None:
        assert self._process is not None
        before = self.processes()[1:]
        self._process.send_signal(signal.SIGHUP)
        log = self.stderr.read_text
        poll("workers", lambda: log().count("gracefully shutting down") == len(before), log)


class Caddy(Front):
    """The file, behind options that keep it off port 80, and off all that is the machine's."""

    program = "caddy"
    package = "caddy"

    @staticmethod
    def unix_upstream(path: Path) -> str:
        return f"unix/{path}"

    def configure(self, upstream: str) -> Path:
        site = replaced(
            (ROOT / "docs" / "Caddyfile").read_text(),
            {
                "\nuploads.example.org {": f"\nhttps://localhost:{self.port} {{\n"
                "\tbind 127.0.0.1\n"
                f"\ttls {self.certificate.chain} {self.certificate.key}\n",
                "reverse_proxy 127.0.0.1:8750 {": f"reverse_proxy {upstream} {{",
            },
        )
        config = self.folder / "Caddyfile"
        config.write_text(
            f"{{\n\tadmin localhost:{self.admin_port}\n\tauto_https disable_redirects\n"
            "\tskip_install_trust\n\tservers {\n\t\tprotocols h1 h2\n\t}\n}\n" + site
        )
        return config

    def command(self, *arguments: str) -> Sequence[str]:
        program = self.found()
        assert program is not None
        place = ["--config", str(self.config), "--adapter", "caddyfile"]
        return [program, *(arguments or ("run",)), *place]

    def check(self) -> "subprocess.CompletedProcess[str]":
        return self.run("validate")

    def reload(self) -> None:
        ended = self.run("reload", "--force", "--address", f"localhost:{self.admin_port}")
        assert ended.returncode == 0, ended.stdout


def require(kind: type[Front]) -> None:
    """Leave the test out where the program is missing; in CI that is a failure."""
    if kind.found() is None:
        leave_out(f"needs {kind.program}: install Debian's package {kind.package}")


FRONTS: Final[Sequence[type[Front]]] = (Nginx, Caddy)
