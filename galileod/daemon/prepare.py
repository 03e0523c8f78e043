"""Preparation: reads the files that a configuration names, and creates objects from them.

`check-config`, the start and each reload use it, so that all of them report the same errors.
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
    """A checked configuration, the file `source` that it was read from, and the objects for it."""

    config: Config
    source: str | None
    authenticator: Authenticator
    static: Mapping[str, Response]
    tls: ssl.SSLContext | None


def prepare(config: Config, source: str | None) -> Prepared:
    """Read each file that `config` names, and create the objects that need it. Blocks.

    Raises ConfigError, whose message has `source`, the key, the file and what was expected.
    """
    try:
        authenticator = open_authenticator(config.auth)
        if config.hooks.secret_file is not None:
            read_secret(config.hooks.secret_file)  # only a check: each delivery reads it again
        tls = load_context(config.tls)
    except (CertificateError, SecretFileError, HookError) as error:
        raise ConfigError(f"{source}: {error}") from None
    return Prepared(config, source, authenticator, load_static(config), tls)
