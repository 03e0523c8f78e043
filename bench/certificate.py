"""A certificate for servers with TLS."""

import subprocess
from pathlib import Path

from install_servers import UnavailableError

SECONDS = 30
"""Time limit in seconds for openssl."""


def make_certificate(folder: Path) -> Path:
    """Make a self-signed certificate with its key, in one PEM file.

    Raises UnavailableError if openssl is missing.
    """
    pem = folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=localhost", "-days", "2", "-keyout", "-", "-out", "-"]
    try:
        made = subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise UnavailableError(f"no certificate: {error}") from None
    pem.write_bytes(made.stdout)
    return pem
