"""Certificates for tests, in PEM files as a daemon or a proxy wants them."""

import ssl
from pathlib import Path

import trustme
from attrs import frozen


@frozen
class Certificate:
    """PEM files for `localhost`, and the authority that a client is to trust."""

    chain: Path
    key: Path
    authority: Path

    @property
    def trusting(self) -> ssl.SSLContext:
        """The context of a client that trusts the authority."""
        return ssl.create_default_context(cafile=str(self.authority))


def make_certificate(folder: Path, authority: trustme.CA | None = None) -> Certificate:
    """A new one, in files in `folder`, in the place of what is there."""
    authority = authority or trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1", "::1")
    made = Certificate(folder / "chain.pem", folder / "key.pem", folder / "authority.pem")
    issued.private_key_pem.write_to_path(made.key)
    made.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    authority.cert_pem.write_to_path(made.authority)
    return made


def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """The context of a server with a certificate of `authority` for localhost."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context
