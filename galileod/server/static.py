"""Serves the page and the JavaScript client: files of `web/`, read once and kept in memory."""

import hashlib
from collections.abc import Mapping
from functools import cache
from html import escape
from http import HTTPStatus
from importlib.resources import files
from string import Template
from typing import Final

from galileod.config.model import Config
from galileod.net.http11 import Request, Response

from .client_files import CLIENT_FILES, read_client_file
from .exchange import Exchange

SCRIPT: Final = "text/javascript; charset=utf-8"
STYLE: Final = "text/css; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
IMAGE: Final = "image/svg+xml"
TEXT: Final = "text/plain; charset=utf-8"

_PAGE_SCRIPTS: Final = (
    "page",
    "page_announce",
    "page_choose",
    "page_credential",
    "page_drop",
    "page_list",
    "page_order",
    "page_queue",
    "page_renew",
    "page_row",
    "page_states",
    "page_total",
    "page_unfinished",
    "page_units",
    "page_words",
)

_PAGE: Final[Mapping[str, tuple[str, str]]] = {
    # path: media type, and file
    "/": (HTML, "index.html"),
    "/page.css": (STYLE, "page.css"),
    "/icon.svg": (IMAGE, "icon.svg"),
    **{f"/{name}.js": (SCRIPT, f"{name}.js") for name in _PAGE_SCRIPTS},
}

_REVALIDATED: Final = {
    # Browsers revalidate before each use, and load the file again only if it has changed.
    "Cache-Control": "no-cache",
}

_CLIENT_HEADERS: Final = {
    **_REVALIDATED,
    # Pages of any origin may load the client; server.allowed_origins restricts their uploads.
    "Access-Control-Allow-Origin": "*",
    "Cross-Origin-Resource-Policy": "cross-origin",
    # For hash_worker.js, which compiles the hash functions: the policy of a Worker is that of the
    # response with its script.
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'",
}

_PAGE_HEADERS: Final = {
    **_REVALIDATED,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    # In connect-src, 'self' includes the WebSocket of the same host and port (CSP, level 3). The
    # page itself compiles the hash functions for small files.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
        "img-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
}


def load_static(config: Config) -> Mapping[str, Response]:
    """The responses by path; some values of `config` are substituted in the page.

    Empty with `server.page = false`. The first call reads the files, which blocks.
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


async def answer_static(file: Response, exchange: Exchange) -> Response:
    """The file, or 304 if the browser has cached it (RFC 9110, section 13.1.2)."""
    return _not_modified(file) if _is_cached(exchange.request, file) else file


def _is_cached(request: Request, file: Response) -> bool:
    tags = request.headers.get("if-none-match", "").split(",")
    return not {tag.strip().removeprefix("W/") for tag in tags}.isdisjoint(
        {file.headers["ETag"], "*"}
    )


def _not_modified(file: Response) -> Response:
    kept = ("ETag", "Cache-Control", "Access-Control-Allow-Origin")
    headers = {name: file.headers[name] for name in kept if name in file.headers}
    return Response(HTTPStatus.NOT_MODIFIED, "", headers)


@cache
def _client() -> Mapping[str, Response]:
    return {
        f"/{path}": _file(
            SCRIPT if path.endswith(".js") else TEXT, read_client_file(path), _CLIENT_HEADERS
        )
        for path in CLIENT_FILES
    }


@cache
def _read(name: str) -> str:
    return (files("galileod") / "web" / name).read_text("utf-8")


def _file(kind: str, text: str, headers: Mapping[str, str]) -> Response:
    tag = hashlib.sha256(text.encode()).hexdigest()[:32]
    return Response(200, text, {"Content-Type": kind, "ETag": f'"{tag}"', **headers})
