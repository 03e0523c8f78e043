"""The page and the JavaScript client over HTTP."""

import re
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import cast

import pytest
import trio
from attrs import evolve, frozen
from structlog import get_logger

from galileod.config.model import Config
from galileod.net.addresses import UNIX_PEER
from galileod.net.http11 import Refused, Request, Response
from galileod.net.peer import Peer
from galileod.net.settings import Server
from galileod.policy.settings import Limits
from galileod.server.exchange import Exchange
from galileod.server.routes import Route, public_routes
from galileod.server.static import load_static
from galileod.units import Size
from galileod.uploads.context import Context

PAGE = ("/", "/page.js", "/page.css", "/icon.svg")


@frozen
class Holder:
    """What the table needs of the context."""

    config: Config


def find(path: str, headers: Mapping[str, str], config: Config) -> tuple[Route, Exchange]:
    """The row for a request. Raises Refused."""
    asked = Request("GET", path, headers, b"")
    context = cast("Context", Holder(config))
    route = public_routes(context, load_static(config), lambda: 0).find(asked)
    peer = Peer(UNIX_PEER, UNIX_PEER, UNIX_PEER)
    return route, Exchange(asked, cast("trio.SocketStream", None), peer, peer, get_logger())


def get(
    path: str, headers: Mapping[str, str] | None = None, config: Config | None = None
) -> Response:
    try:
        route, exchange = find(path, headers or {}, config or Config())
        found = trio.run(route.handler, exchange)
    except Refused as refused:
        found = refused.response
    assert isinstance(found, Response)
    return found


class Reader(HTMLParser):
    """What a page holds: the attributes of its elements, by tag, and the text in some of them."""

    def __init__(self, page: Response) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._open = ""
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style") and data.strip():
            self.inline.append(data)

    @property
    def body(self) -> dict[str, str | None]:
        """The attributes of the one body."""
        (attributes,) = [attributes for tag, attributes in self.elements if tag == "body"]
        return attributes


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/galileo.js", "export { upload, uploadAll, unfinished, GalileoSend, UploadError };"),
        ("/galileo_send.js", "globalThis.GalileoSend = GalileoSend;"),
        ("/hash_worker.js", "importScripts"),
        ("/vendor/hash-wasm/sha1.umd.min.js", "hash-wasm"),
        ("/page.js", 'from "./galileo.js"'),
    ],
)
def test_a_script_is_served_as_one(path: str, says: str) -> None:
    found = get(path)
    assert found.status == 200
    assert found.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert says in found.text


def test_both_forms_have_the_same_source() -> None:
    module, classic = get("/galileo.js").text, get("/galileo_send.js").text
    core = module.partition("class UploadError")[2].partition("export {")[0]
    assert len(core) > 10_000
    assert core in classic


def test_the_licence_of_what_is_vendored_is_served_beside_it() -> None:
    assert "MIT" in get("/vendor/hash-wasm/LICENSE").text


def test_every_file_has_a_validator_of_its_own() -> None:
    site = load_static(Config())
    assert len({found.headers["ETag"] for found in site.values()}) == len(site)


@pytest.mark.parametrize("path", ["/galileo.js", *PAGE])
@pytest.mark.parametrize("sent", ["{}", "W/{}", '"other", {}', "*"])
def test_what_the_browser_has_is_not_sent_again(path: str, sent: str) -> None:
    tag = get(path).headers["ETag"]
    known = get(path, {"if-none-match": sent.format(tag)})
    assert (known.status, known.text, known.headers["ETag"]) == (304, "", tag)
    assert known.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/galileo.js", *PAGE])
@pytest.mark.parametrize("sent", ['"other"', "", "W/"])
def test_what_the_browser_has_of_an_earlier_version_is_sent_anew(path: str, sent: str) -> None:
    assert get(path, {"if-none-match": sent}).status == 200


def test_there_is_nothing_else() -> None:
    absent = ("/client/api.js", "/web/client/api.js", "/vendor/", "/../galileo.js", "/galileo.js/")
    for path in (*absent, "/index.html", "/page"):
        assert get(path).status == 404


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
def test_the_page_has_these_headers_and_no_others(path: str, kind: str) -> None:
    found = get(path)
    assert found.status == 200
    assert {**found.headers, "ETag": ""} == {
        "Content-Type": kind,
        "ETag": "",
        "Cache-Control": "no-cache",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
            "img-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'"
        ),
    }


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    page = Reader(get("/"))
    assert page.inline == []
    names = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in names if name.startswith("on") or name == "style"]
    references = [
        str(value)
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("href", "src")
    ]
    assert references
    for reference in references:  # relative: a proxy may put all of it below a path of its own
        assert get(f"/{reference}").status == 200


def test_everything_that_the_page_imports_is_there() -> None:
    seen, todo = set[str](), ["page.js"]
    while todo:
        name = todo.pop()
        seen.add(name)
        todo += set(re.findall(r' from "\./([^"]+)";', get(f"/{name}").text)) - seen
    assert {"galileo.js", "page_queue.js", "page_words.js"} <= seen


@pytest.mark.parametrize("size", [0, 1, 10 << 30, (1 << 63) - 1])
def test_the_page_knows_the_largest_file(size: int) -> None:
    page = get("/", config=Config(limits=Limits(max_file_size=Size(size))))
    assert Reader(page).body["data-max-file-size"] == str(size)


def test_a_page_with_another_limit_has_another_validator() -> None:
    other = get("/", config=Config(limits=Limits(max_file_size=Size(5))))
    assert other.headers["ETag"] != get("/").headers["ETag"]


@pytest.mark.parametrize(
    "paths",
    [("/", "/upload"), ("/here", "/"), ("/a/b c",), ('/"><script>alert(1)</script>&amp;$path',)],
)
def test_the_page_knows_the_first_path_that_takes_uploads(paths: tuple[str, ...]) -> None:
    page = Reader(get("/", config=Config(server=Server(paths=paths))))
    assert page.body["data-path"] == paths[0]
    assert page.inline == []


def test_an_upgrade_of_the_page_s_path_is_an_upload() -> None:
    head = {
        "upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    route, _ = find("/", head, Config())
    assert route.websocket


def test_the_page_is_there_where_its_path_takes_no_uploads() -> None:
    assert get("/", config=Config(server=Server(paths=("/here",)))).status == 200


@pytest.mark.parametrize(("paths", "status"), [(("/",), 426), (("/upload",), 404)])
def test_a_daemon_without_a_page_has_none_of_it(paths: tuple[str, ...], status: int) -> None:
    config = Config(server=evolve(Server(), page=False, paths=paths))
    assert load_static(config) == {}
    assert get("/", config=config).status == status
    assert get("/galileo.js", config=config).status == 404
