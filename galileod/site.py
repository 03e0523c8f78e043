"""The browser client as files over HTTP: read once, at the start, from `galileod/web/`."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from .front import Response

SCRIPT: Final = "text/javascript; charset=utf-8"
TEXT: Final = "text/plain; charset=utf-8"

_HASHES: Final = ("sha1", "sha256", "sha512", "blake2b")

_FILES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    # path: its type, and the files that it is joined from
    "/galileo.js": (SCRIPT, ("module.head.js", "core.js", "module.tail.js")),
    "/galileo_send.js": (SCRIPT, ("classic.head.js", "core.js", "classic.tail.js")),
    "/galileo.d.ts": (TEXT, ("galileo.d.ts",)),
    "/hash_worker.js": (SCRIPT, ("hash_worker.js",)),
    "/vendor/hash-wasm/LICENSE": (TEXT, ("vendor/hash-wasm/LICENSE",)),
    **{
        f"/vendor/hash-wasm/{name}.umd.min.js": (SCRIPT, (f"vendor/hash-wasm/{name}.umd.min.js",))
        for name in _HASHES
    },
}

_HEADERS: Final = {
    # Asked for anew each time, and sent only when it has changed.
    "Cache-Control": "no-cache",
    # Pages of other origins may include the client; whether they may upload is asked elsewhere.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    # For the worker, which takes its policy from its own answer: it compiles the hash functions.
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'",
}


@cache
def load_site() -> Mapping[str, Response]:
    """What there is, by path. Blocks the first time; meant for the start."""
    folder = files(__package__) / "web"
    site = {}
    for path, (kind, names) in _FILES.items():
        text = "".join((folder / name).read_text("utf-8") for name in names)
        tag = hashlib.sha256(text.encode()).hexdigest()[:32]
        site[path] = Response(200, text, {"Content-Type": kind, "ETag": f'"{tag}"', **_HEADERS})
    return site
