"""Preparation: a configuration with everything that is made from the files that it names.

`check-config`, the start and each reload use it, so that a file is read once and fails alike.
"""

import ssl
from collections.abc import Mapping

from attrs import frozen

from galileod.auth.authenticator import Authenticator, open_authenticator
from galileod.config.model import Config, ConfigError
from galileod.hooks.post import read_secret
from galileod.hooks.settings import HookError
from galileod.net.http11 import Response
from galileod.net.tls import CertificateError, load_context
from galileod.secretfile import SecretFileError
from galileod.server.static import load_static


@frozen
class Prepared:
    """A checked configuration, the file that it came from, and what was made for it."""

    config: Config
    source: str | None
    authenticator: Authenticator
    static: Mapping[str, Response]
    tls: ssl.SSLContext | None


def prepare(config: Config, source: str | None) -> Prepared:
    """Read each file that `config` names, and make what needs it. Blocks.

    Raises ConfigError, which names `source`, the key, the file and what was expected.
    """
    try:
        authenticator = open_authenticator(config.auth)
        if config.hooks.secret_file is not None:
            read_secret(config.hooks.secret_file)  # a check: each delivery reads the current one
        tls = load_context(config.tls)
    except (CertificateError, SecretFileError, HookError) as error:
        raise ConfigError(f"{source}: {error}") from None
    return Prepared(config, source, authenticator, load_static(config), tls)
