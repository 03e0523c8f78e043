"""The JavaScript client over HTTP."""

from collections.abc import Mapping

import pytest

from galileod import front
from galileod.front import Request, Response
from galileod.site import load_site


def get(path: str, headers: Mapping[str, str] | None = None) -> Response:
    found = front.answer(Request("GET", path, headers or {}, b""), ("/",), (), load_site())
    assert isinstance(found, Response)
    return found


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/galileo.js", "export { upload, GalileoSend, UploadError };"),
        ("/galileo_send.js", "globalThis.GalileoSend = GalileoSend;"),
        ("/hash_worker.js", "importScripts"),
        ("/vendor/hash-wasm/sha1.umd.min.js", "hash-wasm"),
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
    tags = {found.headers["ETag"] for found in load_site().values()}
    assert len(tags) == len(load_site())


@pytest.mark.parametrize("sent", ["{}", "W/{}", '"other", {}', "*"])
def test_what_the_browser_has_is_not_sent_again(sent: str) -> None:
    tag = get("/galileo.js").headers["ETag"]
    known = get("/galileo.js", {"if-none-match": sent.format(tag)})
    assert (known.status, known.text, known.headers["ETag"]) == (304, "", tag)


@pytest.mark.parametrize("sent", ['"other"', "", "W/"])
def test_what_the_browser_has_of_an_earlier_version_is_sent_anew(sent: str) -> None:
    assert get("/galileo.js", {"if-none-match": sent}).status == 200


def test_there_is_nothing_else() -> None:
    for path in ("/core.js", "/web/core.js", "/vendor/", "/../galileo.js", "/galileo.js/"):
        assert get(path).status == 404


def test_a_daemon_without_a_page_has_none_of_it() -> None:
    asked = Request("GET", "/galileo.js", {}, b"")
    found = front.answer(asked, ("/",), (), {})
    assert isinstance(found, Response)
    assert found.status == 404
