"""What proxies say of a request: whom it is from, and how that one saw us."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.net.forwarded import Forwarded, forwarded_elements, read_forwarded, read_hops

PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8:1::/48"))
PROXY = "10.0.0.1"


@pytest.mark.parametrize(
    ("hops", "client", "read"),
    [
        ([], "10.0.0.1", 0),
        (["192.0.2.7"], "192.0.2.7", 1),
        ([" 192.0.2.7 "], "192.0.2.7", 1),
        (["198.51.100.1", "192.0.2.7"], "192.0.2.7", 1),
        (["192.0.2.7", "10.0.0.2"], "192.0.2.7", 2),
        (["192.0.2.7", "::ffff:10.0.0.2"], "192.0.2.7", 2),
        (["10.0.0.3", "10.0.0.2"], "10.0.0.3", 2),
        (["192.0.2.7", "unknown"], "10.0.0.1", 1),
        (["192.0.2.7", "nonsense", "10.0.0.2"], "10.0.0.2", 2),
    ],
)
def test_the_client_is_the_first_hop_from_the_right_that_is_no_proxy(
    hops: list[str], client: str, read: int
) -> None:
    assert read_hops(PROXY, hops, PROXIES) == (client, read)
    assert read_hops("192.0.2.99", hops, PROXIES) == ("192.0.2.99", 0)


@pytest.mark.parametrize(
    ("header", "elements"),
    [
        ("for=192.0.2.43", [{"for": "192.0.2.43"}]),
        (
            "For=192.0.2.43:4711;proto=https, for=198.51.100.17",
            [{"for": "192.0.2.43:4711", "proto": "https"}, {"for": "198.51.100.17"}],
        ),
        ('for="[2001:db8:cafe::17]:4711"', [{"for": "[2001:db8:cafe::17]:4711"}]),
        (
            'by=203.0.113.43 ; for="192.0.2.60:80";for=1.2.3.4',
            [{"by": "203.0.113.43", "for": "192.0.2.60:80"}],
        ),
        ('for="a, for=1.2.3.4", for=b', [{"for": "a, for=1.2.3.4"}, {"for": "b"}]),
        (r'for="a\", for=1.2.3.4", for=b', [{"for": 'a", for=1.2.3.4'}, {"for": "b"}]),
        (r'host="a;b\""', [{"host": 'a;b"'}]),
        ("", []),
    ],
)
def test_the_elements_of_a_forwarded_header(header: str, elements: list[dict[str, str]]) -> None:
    assert forwarded_elements(header) == elements


@pytest.mark.parametrize(
    "header", ['for="x, for=192.0.2.1', 'for="x, for="[2001:db8::1]"', '"', r'"\"']
)
def test_a_quotation_without_end_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match="unterminated"):
        read_forwarded(PROXY, {"forwarded": header}, PROXIES)


@given(st.text(max_size=100))
def test_whatever_a_client_puts_before_it_the_proxys_own_hop_is_the_last(text: str) -> None:
    for own, host in (("for=192.0.2.9", "192.0.2.9"), ('for="[2001:db8::9]"', "2001:db8::9")):
        try:
            told = read_forwarded(
                PROXY, {"forwarded": f"{text}, {own};proto=https;host=x"}, PROXIES
            )
        except ValueError:
            continue
        assert told == Forwarded(host, "https", "x")
    told = read_forwarded(PROXY, {"x-forwarded-for": f"{text}, 192.0.2.9"}, PROXIES)
    assert told.client == "192.0.2.9"


X_FOR, X_PROTO, X_HOST = "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"
X_PORT = "x-forwarded-port"


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, Forwarded(PROXY, None, None)),
        ({X_FOR: ""}, Forwarded(PROXY, None, None)),
        ({X_FOR: "192.0.2.7"}, Forwarded("192.0.2.7", None, None)),
        ({X_PROTO: "https", X_HOST: "a:1"}, Forwarded(PROXY, "https", "a:1")),
        ({X_PROTO: "http, WSS", X_HOST: "forged, a"}, Forwarded(PROXY, "https", "a")),
        ({X_PROTO: "ws"}, Forwarded(PROXY, "http", None)),
        ({X_PROTO: "", X_HOST: " "}, Forwarded(PROXY, None, None)),
        ({X_PORT: "8443"}, Forwarded(PROXY, None, None, "8443")),
        ({X_PORT: "1, 8443", X_HOST: "a"}, Forwarded(PROXY, None, "a", "8443")),
        ({X_PORT: ""}, Forwarded(PROXY, None, None)),
        ({X_PORT: "8443/a"}, Forwarded(PROXY, None, None)),
        ({X_PORT: "\u0668"}, Forwarded(PROXY, None, None)),
        (
            {"forwarded": "for=192.0.2.7;proto=https;host=a"},
            Forwarded("192.0.2.7", "https", "a"),
        ),
        # The outermost proxy is the one that the client spoke to.
        (
            {"forwarded": "for=1.1.1.1;host=z, for=192.0.2.7;host=a, for=10.0.0.2;host=b"},
            Forwarded("192.0.2.7", None, "a"),
        ),
        ({"forwarded": "for=_hidden;proto=https"}, Forwarded(PROXY, "https", None)),
        (
            {"forwarded": 'for="192.0.2.7:4711"', X_FOR: "192.0.2.7"},
            Forwarded("192.0.2.7", None, None),
        ),
        (
            {"forwarded": "for=192.0.2.7", X_FOR: "192.0.2.7", X_PROTO: "https", X_HOST: "a"},
            Forwarded("192.0.2.7", "https", "a"),
        ),
        (
            {"forwarded": 'for="[2001:DB8::7]"', X_FOR: "2001:db8:0::7"},
            Forwarded("2001:db8::7", None, None),
        ),
    ],
)
def test_what_is_told(headers: dict[str, str], told: Forwarded) -> None:
    assert read_forwarded(PROXY, headers, PROXIES) == told


@pytest.mark.parametrize(
    ("headers", "what"),
    [
        ({"forwarded": "for=192.0.2.8", X_FOR: "192.0.2.7"}, "client"),
        ({"forwarded": "for=unknown", X_FOR: "192.0.2.7"}, "client"),
        ({"forwarded": "proto=https", X_FOR: "192.0.2.7"}, "client"),
        ({"forwarded": "for=192.0.2.7", X_FOR: "nonsense"}, "client"),
        ({"forwarded": "for=192.0.2.7;proto=http", X_PROTO: "https"}, "scheme"),
        ({"forwarded": "for=192.0.2.7;host=a", X_HOST: "b"}, "host"),
    ],
)
def test_headers_that_contradict_each_other_are_refused(headers: dict[str, str], what: str) -> None:
    with pytest.raises(ValueError, match=f"the same {what}"):
        read_forwarded(PROXY, headers, PROXIES)
