"""A daemon that asks who uploads, and what can be shown to it: right, and wrong in every way."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import jwt
from helpers.daemon import Daemon, Settings, run_galileod

SECRET: Final = "0123456789abcdef" * 2
AUDIENCE: Final = "uploads"

UNSLOWED: Final = """
from galileod.policy import slowdown
slowdown.MAX_GAP = 0
"""
"""A daemon in which nobody waits for having failed: many tests fail from one address."""

Make = Callable[["Office"], str]


def settings(folder: Path, *modes: str) -> Settings:
    secret = folder / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    return {
        "auth": {
            "mode": list(modes),
            "tokens_file": str(folder / "tokens"),
            "ticket": {"algorithm": "HS256", "key_file": str(secret), "audience": AUDIENCE},
        },
        "metrics": {"allow": ["127.0.0.0/8"]},
    }


class Office:
    """Hands out credentials for one daemon."""

    def __init__(
        self, folder: Path, *modes: str, slowed: bool = False, more: Settings | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        before = "" if slowed else UNSLOWED
        self.host = Daemon(folder, {**settings(folder, *modes), **(more or {})}, before=before)

    def token(self, user: str = "anna", *options: str) -> str:
        """A token of the real command's."""
        made = self.run("token", "add", user, *options)
        token, end = made.split("\n")
        assert not end, "alone on standard output"
        return token

    def revoke(self, which: str) -> None:
        self.run("token", "revoke", which)

    def run(self, *arguments: str) -> str:
        done = run_galileod(*arguments, "--config", self.host.config)
        assert not done.returncode, done.stderr
        assert not done.stderr
        return done.stdout


def ticket(key: str | None = SECRET, algorithm: str = "HS256", **claims: object) -> str:
    """A ticket as an application makes it; a claim given as None stays away."""
    chosen = {"sub": "anna", "aud": AUDIENCE, "exp": time.time() + 60, **claims}
    given = {name: value for name, value in chosen.items() if value is not None}
    return jwt.encode(given, key or "", algorithm)
