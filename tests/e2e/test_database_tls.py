"""A database whose certificate galileod verifies, in an environment that names no authorities."""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
from helpers.certificates import Certificate
from helpers.daemon import DEADLINE, GALILEOD, write_config
from helpers.database_tls import use_tls
from helpers.engines.postgresql import PASSWORD, SECRETIVE, Postgresql

pytestmark = pytest.mark.timeout(60)

DOCS: Final = Path(__file__).parents[2] / "docs"

BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"

ENVIRONMENT: Final = {key: os.environ[key] for key in ("PYTHONPATH",) if key in os.environ}
"""Not SSL_CERT_FILE, by which an OpenSSL of its own finds what it does not know itself."""


def documented(name: str) -> str:
    (url,) = set(
        re.findall(r'^ *url = "(postgresql://.*@db\..*)"$', (DOCS / name).read_text(), re.MULTILINE)
    )
    return str(url)


@pytest.fixture
def certificate(own_postgresql: Postgresql) -> Certificate:
    """That of the server, which uses TLS from now on."""
    return use_tls(own_postgresql)


@pytest.fixture
def url(own_postgresql: Postgresql, certificate: Certificate) -> str:
    """That of the documents, with this server, a new database and its authority."""
    parts = own_postgresql.new_database(user=SECRETIVE).replace("127.0.0.1", "localhost")
    text = documented("postgresql.md")
    text = text.replace("db.example.org/galileod", parts.partition("@")[2])
    assert text.count(BUNDLE) == 1
    return text.replace(BUNDLE, str(certificate.authority))


def run(tmp_path: Path, url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    files = tmp_path / "files"
    files.mkdir(exist_ok=True)
    config = write_config(
        tmp_path / "galileod.toml",
        {
            "server": {"listen": [f"unix:{tmp_path}/socket"]},
            "storage": {"directory": str(files)},
            "ledger": {"url": url, "password_file": str(password)},
        },
    )
    return subprocess.run(
        [GALILEOD, *arguments, "--config", config],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE,
        env=ENVIRONMENT, check=False,
    )  # fmt: skip


def test_both_documents_name_the_file_that_this_system_has() -> None:
    assert documented("nodes.md") == documented("postgresql.md")
    assert BUNDLE in documented("nodes.md")
    assert "BEGIN CERTIFICATE" in Path(BUNDLE).read_text()


def test_the_documented_url_verifies_the_server_without_an_environment(
    tmp_path: Path, url: str
) -> None:
    tried = run(tmp_path, url, "check-config", "--connect")
    assert (tried.returncode, tried.stderr) == (0, "")
    assert f"ledger: use {url}: ok" in tried.stdout


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("sslrootcert=system", "certificate verify failed"),
        (f"sslrootcert={BUNDLE}", "certificate verify failed"),
        ("sslrootcert=/no/such/file", "does not exist"),
    ],
)
def test_a_start_does_not_wait_for_a_server_whose_certificate_is_not_verified(
    tmp_path: Path, url: str, change: str, reason: str
) -> None:
    started = run(tmp_path, re.sub("sslrootcert=[^&]*", change, url))
    assert started.returncode == 1
    assert reason in started.stderr
    assert "server.failed" in started.stderr
