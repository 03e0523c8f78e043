"""The Origin of a handshake: whose pages may upload, and what the others are told."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.config.convert import structure
from galileod.config.model import violations
from galileod.net.http11 import Refused, Request
from galileod.server.origin import check_origin, is_same_origin

pytestmark = pytest.mark.timeout(30)


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://files.example", "files.example", True),
        ("http://files.example", "files.example:80", True),
        ("http://files.example:80", "files.example", True),
        ("http://FILES.example", "files.EXAMPLE", True),
        ("http://[::1]:8750", "[::1]:8750", True),
        ("http://127.0.0.1:8750", "127.0.0.1:8750", True),
        ("http://[fe80::1]:8750", "[fe80::1%25eth0]:8750", True),
        ("http://[fe80::1]:8750", "[fe80::1%eth0]:8750", True),
        ("http://[fe80::1%25eth0]:8750", "[fe80::1]:8750", True),
        ("http://[fe80::1]:8750", "[fe80::2%eth0]:8750", False),
        ("http://[fe80::1]:8750", "[fe80::1%eth0]:8751", False),
        ("http://files%evil", "files%example", False),
        ("http://files.example:81", "files.example", False),
        ("http://files.example", "files.example:81", False),
        ("https://files.example", "files.example", False),
        ("https://files.example", "files.example:443", False),
        ("https://files.example:80", "files.example", False),
        ("http://files.example.evil", "files.example", False),
        ("http://evil", "files.example", False),
        ("null", "files.example", False),
        ("", "files.example", False),
        ("", "", False),
        ("null", "", False),
        ("http://", "", False),
        ("http://files.example:x", "files.example", False),
        ("http://files.example", "files.example:x", False),
        ("http://files.example", "files.example:99999", False),
        ("http://[", "[", False),
        ("file://", "files.example", False),
        ("HTTP://files.example", "files.example", True),
        ("http://files.example", "files.example:", True),
        ("http://evil", "files.example@evil", False),
        ("http://evil", "evil/.files.example", False),
        ("http://evil", "evil?files.example", False),
        ("http://evil", "evil#files.example", False),
        ("http://evil", "evil\\files.example", False),
        ("http://evil@files.example", "files.example", False),
        ("http://files.example/", "files.example", False),
        ("http://files.example/x", "files.example", False),
        ("http://files.ex\tample", "files.example", False),
        (" http://files.example", "files.example", False),
        ("http://files.example\n", "files.example", False),
        ("http:files.example", "files.example", False),
        ("http:///files.example", "files.example", False),
        ("http://[::1]x:8750", "[::1]:8750", False),
        ("http://[::1]:8750", "[::1]x:8750", False),
        ("http://files.example:\u0668\u0660", "files.example", False),
    ],
)
def test_which_origins_are_our_own(origin: str, host: str, *, same: bool) -> None:
    assert is_same_origin(origin, "http", host) is same


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("https://files.example", "files.example", True),
        ("https://files.example:443", "files.example", True),
        ("https://files.example", "files.example:443", True),
        ("https://files.example:8750", "files.example:8750", True),
        ("http://files.example", "files.example", False),
        ("http://files.example:443", "files.example:443", False),
        ("https://files.example", "files.example:80", False),
        ("https://evil.example", "files.example", False),
        ("wss://files.example", "files.example", False),
    ],
)
def test_which_origins_are_our_own_over_tls(origin: str, host: str, *, same: bool) -> None:
    assert is_same_origin(origin, "https", host) is same


@pytest.mark.parametrize("scheme", ["javascript", "chrome-extension", "", "http://evil/"])
def test_no_origin_is_our_own_if_a_proxy_names_another_scheme(scheme: str) -> None:
    assert not is_same_origin(f"{scheme}://files.example", scheme, "files.example")


def refusal(origin: str, *allowed: str, by_unknown_proxy: bool = False) -> str | None:
    """What a page of `origin` is told; None if it may upload."""
    request = Request("GET", "/", {"host": "files.example", "origin": origin}, b"")
    try:
        check_origin(request, allowed, by_unknown_proxy=by_unknown_proxy)
    except Refused as refused:
        return str(refused)
    return None


@pytest.mark.parametrize(
    ("scheme", "host", "port", "own"),
    [
        ("https", "a.example", "8443", ["https://a.example", "https://a.example:8443"]),
        ("https", "a.example", "443", ["https://a.example"]),
        ("http", "a.example", "8080", ["http://a.example", "http://a.example:8080"]),
        # A proxy behind the one that ends TLS names its own port.
        ("https", "a.example", "80", ["https://a.example"]),
        ("https", "a.example:8443", "443", ["https://a.example:8443"]),
        ("https", "[2001:db8::1]", "8443", ["https://[2001:db8::1]", "https://[2001:db8::1]:8443"]),
        ("https", "a.example", None, ["https://a.example"]),
    ],
)
def test_a_host_without_its_port_has_that_which_a_proxy_names(
    scheme: str, host: str, port: str | None, own: list[str]
) -> None:
    origins = [
        f"{scheme}://{name}{number}"
        for scheme in ("http", "https")
        for name in ("a.example", "b.example", "[2001:db8::1]")
        for number in ("", ":8443", ":8080", ":1")
    ]
    admitted = []
    for origin in origins:
        headers = {"host": "upstream", "origin": origin}
        request = Request("GET", "/", headers, b"", scheme=scheme, host=host, port=port)
        try:
            check_origin(request, ())
        except Refused:
            continue
        admitted.append(origin)
    assert admitted == own


def test_a_refusal_names_the_key_and_the_value_to_write() -> None:
    assert refusal("https://app.example") == (
        "Pages of this origin may not upload here."
        ' To allow them, set server.allowed_origins = ["https://app.example"].'
    )
    assert refusal("https://app.example", "https://friend.example") == (
        "Pages of this origin may not upload here."
        ' To allow them, add "https://app.example" to server.allowed_origins.'
    )
    assert refusal("null") == (
        "Pages of this origin may not upload here."
        ' To allow them, set server.allowed_origins = ["null"].'
    )


def test_behind_an_unknown_proxy_a_refusal_names_the_proxies_first() -> None:
    assert refusal("https://app.example", by_unknown_proxy=True) == (
        "Pages of this origin may not upload here. The request came through a proxy that is not in"
        " server.trusted_proxies: for galileod's own page, add the address of the proxy there."
        ' To allow pages of another server, set server.allowed_origins = ["https://app.example"].'
    )


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "*",
        "HTTPS://app.example",
        "https://app.example:443",
        "https://app.example/",
        "https://user:password@app.example",
        'https://a"]',
        "https://a\\b",
        "https://" + "a" * 300,
        "nonsense",
    ],
)
def test_what_no_browser_sends_is_not_quoted(origin: str) -> None:
    assert refusal(origin) == "Pages of this origin may not upload here."


@given(
    st.text(st.characters(max_codepoint=255), max_size=20)
    | st.from_regex(r"[a-z]{1,5}://[!-~]{1,20}", fullmatch=True)
)
def test_the_value_that_a_refusal_names_lets_the_page_in(origin: str) -> None:
    told = refusal(origin) or ""
    _, quoted, value = told.partition("set server.allowed_origins = ")
    if not quoted:
        return
    config, mistakes, _ = structure(
        tomllib.loads(f"server.allowed_origins = {value.removesuffix('.')}")
    )
    assert not mistakes
    assert list(violations(config)) == []
    assert refusal(origin, *config.server.allowed_origins) is None
