"""Prometheus itself, and promtool, from Debian's package; nothing is ever downloaded."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from helpers.daemon import DEADLINE, Daemon, free_port, poll

MISSING: Final = "needs Prometheus: install Debian's package prometheus"

DOCS: Final = Path(__file__).parents[2] / "docs"

CONFIG: Final = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: galileod
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus:
    """A Prometheus that runs on loopback, and watches one daemon."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    @property
    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._base}/-/ready", timeout=DEADLINE) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False  # it does not listen yet, or answers 503 until it has read its files

    def ask(self, path: str, **values: str) -> Any:  # noqa: ANN401  whatever the answer holds
        """The data of an answer of its API; an error there fails the test."""
        url = f"{self._base}/api/v1/{path}?{urllib.parse.urlencode(values)}"
        try:
            with urllib.request.urlopen(url, timeout=DEADLINE) as answer:  # noqa: S310
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{values}: {error.read().decode()}") from None

    def query(self, expression: str) -> Sequence[Any]:
        """The series that an expression gives now."""
        result: Sequence[Any] = self.ask("query", query=expression)["result"]
        return result


@contextmanager
def running_prometheus(program: str, folder: Path, daemon: Daemon) -> Iterator[Prometheus]:
    """Prometheus with our rules, scraping `daemon` each second, while the block runs."""
    config = folder / "prometheus.yml"
    host, port = daemon.address
    config.write_text(CONFIG.format(rules=DOCS / "alerts.yml", target=f"{host}:{port}"))
    own = free_port()
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{own}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    prometheus = Prometheus(own)
    try:

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            return prometheus.ready

        poll("Prometheus", ready, log.read_text)
        yield prometheus
    finally:
        process.terminate()
        process.wait(DEADLINE)
