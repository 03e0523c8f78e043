"""Where to send to, and through what."""

import base64
import os
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.client import AddressError
from galileod.client.address import Address, find_proxy, parse_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ws://host", Address("host", 80, secure=False, target="/")),
        ("wss://host", Address("host", 443, secure=True, target="/")),
        ("http://host/upload", Address("host", 80, secure=False, target="/upload")),
        ("https://host:1/u?a=b", Address("host", 1, secure=True, target="/u?a=b")),
        ("ws://[::1]:8750/upload", Address("::1", 8750, secure=False, target="/upload")),
        ("ws://[FE80::1%25Eth0]:1/", Address("fe80::1%Eth0", 1, secure=False, target="/")),
        ("ws://[fe80::1%eth0]/", Address("fe80::1%eth0", 80, secure=False, target="/")),
        ("ws://[fe80::1%25br-0.7]/", Address("fe80::1%br-0.7", 80, secure=False, target="/")),
        ("ws://[fe80::1%2]/", Address("fe80::1%2", 80, secure=False, target="/")),
        ("ws://[::ffff:169.254.1.1]", Address("::ffff:169.254.1.1", 80, secure=False, target="/")),
        ("ws://HOST/a#part", Address("host", 80, secure=False, target="/a")),
        ("ws://bücher.example/ü", Address("xn--bcher-kva.example", 80, False, "/%C3%BC")),
        ("ws://h/%20a", Address("h", 80, secure=False, target="/%20a")),
        ("ws+unix:/run/g.sock", Address("localhost", 80, False, "/", "/run/g.sock")),
        ("ws+unix:/run/g.sock:/up?x", Address("localhost", 80, False, "/up?x", "/run/g.sock")),
        ("ws+unix:///run/g.sock:/up", Address("localhost", 80, False, "/up", "/run/g.sock")),
    ],
)
def test_a_url_becomes_an_address(url: str, address: Address) -> None:
    assert parse_url(url) == address


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "not a supported URL"),
        ("host:8750", "not a supported URL"),
        ("/upload", "not a supported URL"),
        ("ftp://host/", "not a supported URL"),
        ("ws://", "no host"),
        ("ws:///upload", "no host"),
        ("ws://host:0/", "from 1 to 65535"),
        ("ws://host:70000/", "Port out of range"),
        ("ws://host:x/", "Port could not be"),
        ("ws://[::1/", "Invalid IPv6"),
        ("ws://[fe80::1]/", r"needs its zone: \[fe80::1%25eth0\]"),
        ("ws://[fe80::1%25a/b]/", "Invalid IPv6"),
        ("ws://[v1.a:b]/", "no host"),
        ("ws://[v1.a]/", "no host"),
        ("ws://[::1]x/", "no host"),
        ("ws://[::1]x:80/", "no host"),
        ("ws://x[::1]/", "no host|Invalid IPv6"),
        ("ws://good.example%00.evil/", "no host"),
        ("ws://192.0.2.1%25eth0/", "no host"),
        ("ws://a b/", "space"),
        ("ws://a\nb/", "space"),
        ("ws://" + "a" * 9000, "too long"),
        ("ws://" + "a" * 300 + "/", "no host"),
        ("ws+unix:g.sock", "absolute path"),
        ("ws+unix:", "absolute path"),
        ("ws+unix:/" + "a" * 107, "absolute path"),
        ("ws+unix:/a:b", "slash"),
        ("wss://me:hunter2@host/", "must not contain a user name"),
        ("wsx://me:hunter2@host/", "not a supported URL"),
    ],
)
def test_what_is_no_url_to_send_to_is_told(url: str, said: str) -> None:
    with pytest.raises(AddressError, match=said) as wrong:
        parse_url(url)
    assert "hunter2" not in str(wrong.value)


@given(st.text())
def test_any_text_is_an_address_or_an_error(url: str) -> None:
    for text in (url, f"ws://{url}", f"ws://host{url}", f"ws+unix:/{url}"):
        try:
            address = parse_url(text)
        except AddressError:
            continue
        assert address.target.isascii()
        assert address.target.startswith("/")
        assert not set(address.target + address.authority) & set(" \r\n\t")
        assert "%" not in address.host or ":" in address.host


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("ws://host", "host"),
        ("ws://host:80", "host"),
        ("ws://host:443", "host:443"),
        ("wss://host:443", "host"),
        ("ws://[::1]:1", "[::1]:1"),
        ("ws://[::1]", "[::1]"),
        ("ws://[fe80::1%25eth0]:1", "[fe80::1]:1"),
        ("ws://[fe80::1%eth0]", "[fe80::1]"),
    ],
)
def test_the_host_header_has_the_port_where_it_is_not_the_usual(url: str, authority: str) -> None:
    assert parse_url(url).authority == authority


def test_an_address_with_a_zone_is_shown_with_it() -> None:
    assert str(parse_url("ws://[fe80::1%25eth0]:1")) == "[fe80::1%eth0]:1"


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("ws://h", {}, None),
        ("ws://h", {"HTTP_PROXY": "http://p:3128"}, "p:3128"),
        ("ws://h", {"HTTP_PROXY": "p:3128"}, "p:3128"),
        ("ws://h", {"HTTP_PROXY": "p"}, "p:8080"),
        ("ws://h", {"HTTP_PROXY": "http://[::1]:9"}, "[::1]:9"),
        ("ws://h", {"HTTP_PROXY": "http://[fe80::1%25eth0]:9"}, "[fe80::1%eth0]:9"),
        ("ws://h", {"HTTP_PROXY": "http://upper", "http_proxy": "http://lower"}, "lower:8080"),
        ("ws://h", {"HTTPS_PROXY": "http://p"}, None),
        ("wss://h", {"HTTPS_PROXY": "http://p"}, "p:8080"),
        ("wss://h", {"HTTPS_PROXY": "https://p"}, "p:443"),
        ("wss://h", {"ALL_PROXY": "http://a"}, "a:8080"),
        ("wss://h", {"ALL_PROXY": "http://a", "https_proxy": "http://p"}, "p:8080"),
        ("ws://h", {"HTTP_PROXY": "http://p", "REQUEST_METHOD": "GET"}, None),
        ("ws://h", {"http_proxy": "http://p", "REQUEST_METHOD": "GET"}, "p:8080"),
        ("ws://h", {"HTTP_PROXY": "http://p", "NO_PROXY": "*"}, None),
        ("ws://h.example", {"HTTP_PROXY": "http://p", "NO_PROXY": "other, example"}, None),
        ("ws://h.example", {"HTTP_PROXY": "http://p", "NO_PROXY": ".EXAMPLE"}, None),
        ("ws://h.example", {"HTTP_PROXY": "http://p", "NO_PROXY": "*.example"}, None),
        ("ws://hexample", {"HTTP_PROXY": "http://p", "NO_PROXY": "example"}, "p:8080"),
        ("ws://h:1", {"HTTP_PROXY": "http://p", "NO_PROXY": "h:1"}, None),
        ("ws://h:1", {"HTTP_PROXY": "http://p", "NO_PROXY": "h:2"}, "p:8080"),
        ("ws://10.1.2.3", {"HTTP_PROXY": "http://p", "no_proxy": "10.0.0.0/8"}, None),
        ("ws://[::1]", {"HTTP_PROXY": "http://p", "no_proxy": "::1"}, None),
        ("ws://[fe80::1%25eth0]", {"HTTP_PROXY": "http://p", "no_proxy": "fe80::/10"}, None),
        ("ws://[fe80::1%25eth0]", {"HTTP_PROXY": "http://p", "no_proxy": "fe80::1%eth0"}, None),
        ("ws://11.1.2.3", {"HTTP_PROXY": "http://p", "no_proxy": "10.0.0.0/8"}, "p:8080"),
        ("ws+unix:/a", {"ALL_PROXY": "http://p"}, None),
    ],
)
def test_the_environment_names_the_proxy(
    url: str, environ: Mapping[str, str], proxy: str | None
) -> None:
    found = find_proxy(parse_url(url), environ)
    assert (str(found) if found else None) == proxy


def test_user_and_password_of_a_proxy_are_sent_and_never_shown() -> None:
    proxy = find_proxy(parse_url("ws://h"), {"http_proxy": "http://me%40home:p%3Aw@p:1"})
    assert proxy is not None
    assert proxy.authorization is not None
    assert base64.b64decode(proxy.authorization.removeprefix("Basic ")) == b"me@home:p:w"
    assert proxy.authorization not in repr(proxy)


def test_a_password_with_a_slash_is_not_shown() -> None:
    with pytest.raises(AddressError) as wrong:
        find_proxy(parse_url("ws://h"), {"http_proxy": "http://me:sec/ret@p:1"})
    assert "sec" not in str(wrong.value)
    with pytest.raises(AddressError) as wrong:
        parse_url("ws://me:sec/ret@h/")
    assert "sec" not in str(wrong.value)


def test_a_password_of_a_proxy_may_be_of_any_bytes() -> None:
    text = os.fsdecode(b"http://me:\xff@p:1")
    proxy = find_proxy(parse_url("ws://h"), {"http_proxy": text})
    assert proxy is not None
    assert proxy.authorization is not None
    assert base64.b64decode(proxy.authorization.removeprefix("Basic ")) == b"me:\xff"


@pytest.mark.parametrize(
    "text", ["socks5://p:1080", "http://", "http://p:x", "http://p:99999", "p:0"]
)
def test_a_proxy_that_cannot_be_is_an_error(text: str) -> None:
    with pytest.raises(AddressError) as wrong:
        find_proxy(parse_url("ws://h"), {"http_proxy": text})
    assert str(wrong.value) == (
        f'$http_proxy has "{text}", which is not a supported proxy. '
        'Expected something like "http://host:3128".'
    )
    with pytest.raises(AddressError, match=r"^\$ALL_PROXY has "):
        find_proxy(parse_url("ws://h"), {"ALL_PROXY": text})
