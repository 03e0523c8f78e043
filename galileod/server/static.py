"""The page and the browser client as files over HTTP: read once, at the start, from `web/`."""

import hashlib
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Final

from galileod.config.model import Config
from galileod.net.http11 import Response

SCRIPT: Final = "text/javascript; charset=utf-8"
STYLE: Final = "text/css; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
IMAGE: Final = "image/svg+xml"
TEXT: Final = "text/plain; charset=utf-8"

_HASHES: Final = ("sha1", "sha256", "sha512", "blake2b")

_CLIENT_PARTS: Final = (
    # Joined in this order, between a head and a tail for each form: the parts share one scope.
    "client/errors.js",
    "client/options.js",
    "client/sender.js",
    "client/reader.js",
    "client/silence.js",
    "client/progress.js",
    "client/socket.js",
    "client/transfer.js",
    "client/api.js",
)

_CLIENT: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    # path: its type, and the files that it is joined from
    "/galileo.js": (SCRIPT, ("client/module.head.js", *_CLIENT_PARTS, "client/module.tail.js")),
    "/galileo_send.js": (
        SCRIPT,
        ("client/classic.head.js", *_CLIENT_PARTS, "client/classic.tail.js"),
    ),
    "/galileo.d.ts": (TEXT, ("galileo.d.ts",)),
    "/hash_worker.js": (SCRIPT, ("hash_worker.js",)),
    "/vendor/hash-wasm/LICENSE": (TEXT, ("vendor/hash-wasm/LICENSE",)),
    **{
        f"/vendor/hash-wasm/{name}.umd.min.js": (SCRIPT, (f"vendor/hash-wasm/{name}.umd.min.js",))
        for name in _HASHES
    },
}

_PAGE_SCRIPTS: Final = (
    "page",
    "page_credential",
    "page_drop",
    "page_queue",
    "page_row",
    "page_words",
)

_PAGE: Final[Mapping[str, tuple[str, str]]] = {
    # path: its type, and its file
    "/": (HTML, "index.html"),
    "/page.css": (STYLE, "page.css"),
    "/icon.svg": (IMAGE, "icon.svg"),
    **{f"/{name}.js": (SCRIPT, f"{name}.js") for name in _PAGE_SCRIPTS},
}

_REVALIDATED: Final = {
    # Asked for anew each time, and sent only when it has changed.
    "Cache-Control": "no-cache",
}

_CLIENT_HEADERS: Final = {
    **_REVALIDATED,
    # Pages of other origins may include the client; whether they may upload is asked elsewhere.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    # For the worker, which takes its policy from its own answer: it compiles the hash functions.
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'",
}

_PAGE_HEADERS: Final = {
    **_REVALIDATED,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    # In connect-src, 'self' covers the WebSocket of the same host and port (CSP, level 3). The
    # page compiles the hash functions for small files itself.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
        "img-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
}


def load_static(config: Config) -> Mapping[str, Response]:
    """What there is, by path; the page says the limits of `config`.

    Nothing with `server.page = false`. Blocks the first time; meant for the start.
    """
    if not config.server.page:
        return {}
    values = {
        "max_file_size": config.limits.max_file_size,
        "path": config.server.paths[0],
        "auth": " ".join(config.auth.mode or ("none",)),
    }
    escaped = {name: escape(str(value)) for name, value in values.items()}
    site = dict(_client())
    for path, (kind, name) in _PAGE.items():
        text = _read(name)
        if kind == HTML:
            text = Template(text).substitute(escaped)
        site[path] = _file(kind, text, _PAGE_HEADERS)
    return site


@cache
def _client() -> Mapping[str, Response]:
    return {
        path: _file(kind, "".join(map(_read, names)), _CLIENT_HEADERS)
        for path, (kind, names) in _CLIENT.items()
    }


@cache
def _read(name: str) -> str:
    return (files("galileod") / "web" / name).read_text("utf-8")


def _file(kind: str, text: str, headers: Mapping[str, str]) -> Response:
    tag = hashlib.sha256(text.encode()).hexdigest()[:32]
    return Response(200, text, {"Content-Type": kind, "ETag": f'"{tag}"', **headers})
