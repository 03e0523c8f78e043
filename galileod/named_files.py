"""The files that a configuration names: of no use, they are as wrong as a value."""

from .auth.gate import open_gate
from .config import Config, ConfigError
from .hooks.post import read_secret
from .hooks.settings import HookError
from .policy.slowdown import Slowdown
from .secretfile import SecretFileError
from .tls import load_context


def check_named_files(config: Config, source: str | None) -> None:
    """Look at each file that `config` names, `source` being its own. Raises ConfigError. Blocks."""
    try:
        open_gate(config.auth, Slowdown())
        if config.hooks.secret_file is not None:
            read_secret(config.hooks.secret_file)
        load_context(config.tls)
    except (ConfigError, SecretFileError, HookError) as error:
        raise ConfigError(f"{source}: {error}") from None
