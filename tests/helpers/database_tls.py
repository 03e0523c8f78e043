"""A PostgreSQL that uses TLS."""

import os

from helpers.certificates import Certificate, make_certificate
from helpers.engines.postgresql import FAST, NOBODY, Postgresql


def use_tls(engine: Postgresql) -> Certificate:
    """Start the server again with TLS; returns its certificate, of an authority of its own."""
    folder = engine.folder / "tls"
    folder.mkdir()
    made = make_certificate(folder)
    for path in (folder, made.chain, made.key):
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
        path.chmod(0o700)
    engine.kill("server")
    engine.spawn_server(*FAST, "ssl=on", f"ssl_cert_file={made.chain}", f"ssl_key_file={made.key}")
    return made
