"""The files that a configuration names: of no use, they are as wrong as a value."""

from galileod.auth.authenticator import open_authenticator
from galileod.config.model import Config, ConfigError
from galileod.hooks.post import read_secret
from galileod.hooks.settings import HookError
from galileod.net.tls import CertificateError, load_context
from galileod.policy.slowdown import Slowdown
from galileod.secretfile import SecretFileError


def check_named_files(config: Config, source: str | None) -> None:
    """Look at each file that `config` names, `source` being its own. Raises ConfigError. Blocks."""
    try:
        open_authenticator(config.auth, Slowdown())
        if config.hooks.secret_file is not None:
            read_secret(config.hooks.secret_file)
        load_context(config.tls)
    except (CertificateError, SecretFileError, HookError) as error:
        raise ConfigError(f"{source}: {error}") from None
