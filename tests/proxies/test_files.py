"""The files in docs/ themselves: what they let through, and how long they wait."""

import re
import socket
import subprocess
from typing import Final

import pytest
from helpers.clients import ask, read_head, request
from helpers.daemon import DEADLINE, Daemons
from proxies.conftest import TRUSTED, OpenFront
from proxies.fronts import ROOT, Caddy, Nginx

from galileod.config.model import Config
from galileod.units import parse_duration

METRICS: Final = ["/metrics", "/metrics?a=b", "//metrics", "/x/../metrics", "/%6detrics"]


def test_the_program_takes_the_file(front: OpenFront) -> None:
    checked = front("127.0.0.1:9").check()
    assert checked.returncode == 0, checked.stdout


def test_the_page_is_galileods_own(daemon: Daemons, front: OpenFront) -> None:
    host = daemon(TRUSTED)
    proxy = front(host)
    for target in ("/", "/page.js", "/galileo.js", "/healthz"):
        direct = ask(host, f"GET {target} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        through = proxy.get(target)
        assert (through.status, through.body) == (200, direct.body)
        kept = ("content-type", "content-security-policy", "cache-control")
        assert [through.headers.get(name) for name in kept] == [
            direct.headers.get(name) for name in kept
        ]


@pytest.mark.parametrize("target", METRICS)
def test_the_metrics_are_not_for_the_outside(front: OpenFront, target: str) -> None:
    # Nobody is behind it: what were passed on would be a 502.
    proxy = front("127.0.0.1:9")
    assert proxy.get(target).status == 403
    assert proxy.get("/upload").status == 502


@pytest.mark.parametrize("kind", [Nginx], indirect=True)
def test_http_leads_to_https(front: OpenFront) -> None:
    proxy = front("127.0.0.1:9")
    with socket.create_connection(("127.0.0.1", proxy.plain_port), DEADLINE) as sock:
        sock.sendall(request("/upload?a=b", {"Host": "uploads.example.org"}))
        reply = read_head(sock)
    assert reply.status == 301
    assert reply.headers["location"] == "https://uploads.example.org/upload?a=b"


@pytest.mark.parametrize("directive", ["proxy_read_timeout", "proxy_send_timeout"])
def test_nginx_waits_longer_than_galileod(directive: str) -> None:
    text = (ROOT / "docs" / "nginx.conf").read_text()
    (value,) = re.findall(rf"^\s*{directive}\s+(\S+);", text, re.MULTILINE)
    config = Config()
    assert parse_duration(value) > max(config.timeouts.idle, config.timeouts.ping)


@pytest.mark.parametrize("kind", [Caddy], indirect=True)
def test_caddys_file_is_formatted(kind: type[Caddy]) -> None:
    program = kind.found()
    assert program is not None
    path = ROOT / "docs" / "Caddyfile"
    formatted = subprocess.run(
        [program, "fmt", path], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert formatted.stdout == path.read_text()
