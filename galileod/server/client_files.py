"""The files of the JavaScript client, which `static` serves and the npm package contains.

Imports nothing but the standard library: packaging/npm-package runs it without the daemon's
dependencies.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

WEB: Final = Path(__file__).parents[1] / "web"

_HASHES: Final = ("sha1", "sha256", "sha512", "blake2b")

PARTS: Final = (
    # Concatenated in this order between a head and a tail; the files share one scope.
    "client/errors.js",
    "client/options.js",
    "client/sender.js",
    "client/line.js",
    "client/resumable_hash.js",
    "client/reader.js",
    "client/silence.js",
    "client/watch.js",
    "client/progress.js",
    "client/total.js",
    "client/retry.js",
    "client/socket.js",
    "client/abandon.js",
    "client/tokens.js",
    "client/authorization.js",
    "client/memory.js",
    "client/remembering.js",
    "client/source.js",
    "client/attempt.js",
    "client/transfer.js",
    "client/claims.js",
    "client/connection.js",
    "client/pool.js",
    "client/tally.js",
    "client/file_upload.js",
    "client/places.js",
    "client/waiting.js",
    "client/questions.js",
    "client/uploads.js",
    "client/api.js",
)

CLIENT_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    # path below the address of the client: the files of `web/` that are concatenated
    "galileo.js": ("client/module.head.js", *PARTS, "client/module.tail.js"),
    "galileo_send.js": ("client/classic.head.js", *PARTS, "client/classic.tail.js"),
    "galileo.d.ts": ("galileo.d.ts",),
    "hash_worker.js": ("client/worker.head.js", "client/resumable_hash.js", "hash_worker.js"),
    "vendor/hash-wasm/LICENSE": ("vendor/hash-wasm/LICENSE",),
    **{
        f"vendor/hash-wasm/{name}.umd.min.js": (f"vendor/hash-wasm/{name}.umd.min.js",)
        for name in _HASHES
    },
}


def read_client_file(path: str) -> str:
    """The content of one of CLIENT_FILES; reading blocks."""
    return "".join((WEB / name).read_text("utf-8") for name in CLIENT_FILES[path])
