import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.net.addresses import TcpAddress
from galileod.net.proxyproto import (
    HEAD,
    SIGNATURE,
    ProxyHeaderError,
    client_of,
    is_over_tls,
    length_of,
)


def header(command: int, family: int, rest: bytes, length: int | None = None) -> bytes:
    size = len(rest) if length is None else length
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack("!H", size) + rest


def read(data: bytes) -> TcpAddress | None:
    length = length_of(data[:HEAD])
    return client_of(data[:HEAD], data[HEAD : HEAD + length])


def addresses(source: str, port: int) -> bytes:
    packed = ipaddress.ip_address(source).packed
    return packed + bytes(len(packed)) + struct.pack("!HH", port, 443)


@pytest.mark.parametrize(
    ("family", "source"), [(0x11, "192.0.2.7"), (0x21, "2001:db8::7"), (0x21, "::ffff:c000:207")]
)
@pytest.mark.parametrize("more", [b"", b"\x04\0\x02hi"])
def test_the_client_is_read(family: int, source: str, more: bytes) -> None:
    data = header(1, family, addresses(source, 4711) + more)
    # The text of an address with IPv4 inside differs between versions of Python.
    assert read(data) == TcpAddress(str(ipaddress.ip_address(source)), 4711)


@pytest.mark.parametrize(
    "data",
    [
        header(0, 0, b""),
        header(0, 0x11, b"anything"),
        header(1, 0, b""),
        header(1, 0x31, bytes(216)),
    ],
)
def test_a_proxy_that_speaks_for_itself_is_the_client(data: bytes) -> None:
    assert read(data) is None


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"GET / HTTP/1.1\r\n", "expected"),
        (b"PROXY TCP4 1.2.3.4 ", "expected"),
        (SIGNATURE + b"\x11\x11\0\x0c", "version 1"),
        (header(2, 0x11, addresses("192.0.2.7", 1)), "command 2"),
        (header(1, 0x11, bytes(11)), "too short for its addresses"),
        (header(1, 0x21, bytes(35)), "too short for its addresses"),
        (header(1, 0x11, b"", 4097), "4097"),
    ],
)
def test_what_is_no_header_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(ProxyHeaderError, match=told):
        read(data)


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def tls(data: bytes) -> bool:
    return is_over_tls(data[:HEAD], data[HEAD:])


OTHERS = st.lists(
    st.builds(tlv, st.integers(0, 255).filter(lambda kind: kind != 0x20), st.binary(max_size=20))
).map(b"".join)
FAMILIES = st.sampled_from([(0x11, "192.0.2.7"), (0x21, "2001:db8::7")])


@given(FAMILIES, OTHERS, OTHERS, st.binary(min_size=1, max_size=40))
def test_tls_is_what_the_proxy_says_of_the_client_among_all_that_it_says(
    announced: tuple[int, str], before: bytes, after: bytes, value: bytes
) -> None:
    family, source = announced
    known = addresses(source, 4711)
    assert tls(header(1, family, known + before + tlv(0x20, value) + after)) == bool(value[0] & 1)
    assert not tls(header(1, family, known + before + after))
    assert not tls(header(0, family, known + tlv(0x20, b"\x07")))


@given(FAMILIES, st.integers(0, 7), st.integers(5, 65535))
def test_tls_is_not_said_by_what_ends_before_its_length(
    announced: tuple[int, str], there: int, length: int
) -> None:
    family, source = announced
    cut = (struct.pack("!BH", 0x20, length) + b"\x07\0\0\0\0")[: min(there, length + 2)]
    assert not tls(header(1, family, addresses(source, 4711) + cut))


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=80))
def test_any_header_is_read_or_refused(kind: bytes, rest: bytes) -> None:
    head = SIGNATURE + kind[:2] + struct.pack("!H", len(rest))
    tls(head + rest)
    try:
        read(head + rest)
    except ProxyHeaderError:
        pass  # as it may
