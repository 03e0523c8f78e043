"""What the documents show as a program is one that runs."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, build_opener

from helpers.clients import JavaScriptClient
from helpers.credentials import Office
from helpers.daemon import free_port, poll

AUTHENTICATION = Path(__file__).parents[2] / "docs" / "authentication.md"


class Staying(HTTPRedirectHandler):
    """Goes nowhere: the answer itself is looked at."""

    def redirect_request(self, *_: object) -> None:
        return None


def test_the_application_that_issues_tickets_lets_its_user_in(tmp_path: Path) -> None:
    text = AUTHENTICATION.read_text()
    (program,) = re.findall(
        r"<!-- tickets: run by a test -->\n```python\n(.*?)```", text, re.DOTALL
    )
    office = Office(tmp_path, "ticket")
    port = free_port()
    for told, ours in (
        ("/etc/galileod.ticket-secret", str(tmp_path / "secret")),
        ('"uploads.example.org"', '"uploads"'),
        ("8080", str(port)),
    ):
        assert program.count(told) == 1
        program = program.replace(told, ours)

    def location() -> str | None:
        try:
            build_opener(Staying).open(f"http://127.0.0.1:{port}/")
        except HTTPError as answer:
            with answer:
                return str(answer.headers["Location"])
        except OSError:
            pass  # it does not listen yet
        return None

    with (
        office.host as host,
        subprocess.Popen(
            [sys.executable, "-c", program], stderr=subprocess.DEVNULL, cwd=tmp_path
        ) as application,
    ):
        try:
            host.start()
            address = poll("the application", location)
            assert address is not None
            key, _, ticket = urlsplit(address).fragment.partition("=")
            assert key == "ticket"
            client = JavaScriptClient(host.url, b"data", token=ticket)
            assert client.run().ending == "stored"
            assert host.wait_for("upload.stored", name=client.name)["user"] == "anna"
        finally:
            application.kill()
