import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.net.addresses import (
    ADDRESS_EXPECTED,
    MAX_UNIX_PATH,
    ZONE_EXPECTED,
    Listen,
    TcpAddress,
    UnixAddress,
    is_loopback,
    network_of,
    parse_address,
)

PORTS = st.integers(0, 65535)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8750", TcpAddress("127.0.0.1", 8750)),
        ("localhost:0", TcpAddress("localhost", 0)),
        ("localhost.:80", TcpAddress("localhost.", 80)),
        ("b\u00fccher.example:80", TcpAddress("b\u00fccher.example", 80)),
        ("my_host:80", TcpAddress("my_host", 80)),
        ("files.example.org:65535", TcpAddress("files.example.org", 65535)),
        ("[::]:80", TcpAddress("::", 80)),
        ("[2001:db8::1]:443", TcpAddress("2001:db8::1", 443)),
        ("[fe80::1%eth0]:80", TcpAddress("fe80::1%eth0", 80)),
        ("[fe80::1%br-0a1b2c.7]:80", TcpAddress("fe80::1%br-0a1b2c.7", 80)),
        ("[fe80::1%4]:80", TcpAddress("fe80::1%4", 80)),
        ("[::ffff:1.2.3.4]:80", TcpAddress("::ffff:1.2.3.4", 80)),
        ("[::ffff:169.254.1.1]:80", TcpAddress("::ffff:169.254.1.1", 80)),
        ("unix:/run/galileod.sock", UnixAddress("/run/galileod.sock")),
        ("unix:/a b:c", UnixAddress("/a b:c")),
        ("127.0.0.1:8751 proxy_protocol", TcpAddress("127.0.0.1", 8751, proxy_protocol=True)),
        ("[::]:0 proxy_protocol", TcpAddress("::", 0, proxy_protocol=True)),
        ("unix:/run/x proxy_protocol", UnixAddress("/run/x", proxy_protocol=True)),
        ("unix:/" + "x" * (MAX_UNIX_PATH - 1), UnixAddress("/" + "x" * (MAX_UNIX_PATH - 1))),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_address_is_read_and_written_back(text: str, address: Listen) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "value",
    [
        "",
        ":80",
        "localhost",
        "localhost:",
        "localhost:http",
        "localhost:-1",
        "localhost:65536",
        "localhost:999999",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[]:80",
        "[::1:80",
        "a b:80",
        "a:80\n",
        "\x1b:80",
        "a\u202eb:80",
        "a..b:80",
        ".a:80",
        "a" * 64 + ":80",
        "a." * 130 + "a:80",
        "\u00e4" * 60 + ":80",
        "a%eth0:80",
        "192.0.2.1%eth0:80",
        "a/b:80",
        "http://a:80",
        "localhost:\u0668\u0660",
        "unix:",
        "unix:run/x",
        "unix:x",
        " proxy_protocol",
        "localhost proxy_protocol",
        "127.0.0.1:80 proxy_protocol proxy_protocol",
        "127.0.0.1:80  proxy_protocol",
        "127.0.0.1:80 ssl",
        "unix:/a\0b",
        "/run/x",
        "unix:/" + "x" * MAX_UNIX_PATH,
        "unix:/" + "\u00e9" * (MAX_UNIX_PATH // 2) + "x",
        None,
        8750,
        True,
        ["a:1"],
        b"a:1",
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_address_is_refused_with_the_forms_there_are(value: object) -> None:
    with pytest.raises(ValueError, match="unix:/path") as caught:
        parse_address(value)
    assert str(caught.value) == ADDRESS_EXPECTED


LINK_LOCAL = ipaddress.ip_network("fe80::/10")
HOSTS = st.from_regex(
    r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z0-9]{1,5}){0,2}", fullmatch=True
) | st.ip_addresses().map(lambda ip: f"{ip}%eth0" if ip in LINK_LOCAL else str(ip))
UNIX_PATHS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=25).map(
    "/{}".format
)


@given(
    st.builds(TcpAddress, HOSTS, PORTS, st.booleans())
    | st.builds(UnixAddress, UNIX_PATHS, st.booleans())
)
def test_any_address_reads_back_as_written(address: Listen) -> None:
    assert parse_address(str(address)) == address


@given(st.text() | st.from_regex(r"[\[\]a-z0-9:%.]{0,12}:[0-9]{1,5}", fullmatch=True))
def test_any_text_is_an_address_that_reads_back_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError as error:
        assert str(error) in (ADDRESS_EXPECTED, ZONE_EXPECTED)  # noqa: PT017  both ends are right
    else:
        assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::1", "::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(host: str, network: str) -> None:
    assert network_of(host) == network


@given(st.ip_addresses(v=6), st.integers(0, (1 << 64) - 1))
def test_addresses_of_one_ipv6_network_are_one_client(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, low: int
) -> None:
    other = ipaddress.IPv6Address(int(address) >> 64 << 64 | low)
    if not any(ipaddress.IPv6Address(int(one)).ipv4_mapped for one in (address, other)):
        assert network_of(str(address)) == network_of(str(other))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.8.8.8", True),
        ("::1", True),
        ("::1%lo", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("example.org", False),
    ],
)
def test_loopback_is_what_this_machine_alone_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_link_local_address_needs_its_zone() -> None:
    with pytest.raises(ValueError, match="with its zone") as wrong:
        parse_address("[FE80::1]:8750")
    assert str(wrong.value) == ZONE_EXPECTED


def test_the_address_of_a_socket_has_the_zone_that_it_is_dialled_with() -> None:
    loopback = socket.if_nametoindex("lo")
    assert str(TcpAddress.of(("fe80::1", 8750, 0, loopback))) == "[fe80::1%lo]:8750"
    assert str(TcpAddress.of(("2001:db8::1", 8750, 0, 0))) == "[2001:db8::1]:8750"
    assert str(TcpAddress.of(("::1", 8750, 0, loopback))) == "[::1]:8750"
    assert str(TcpAddress.of(("127.0.0.1", 8750))) == "127.0.0.1:8750"
    assert str(TcpAddress.of(("fe80::1", 8750, 0, 0))) == "[fe80::1]:8750"
    # The interface is gone.
    assert str(TcpAddress.of(("fe80::1", 8750, 0, 2**31 - 1))) == f"[fe80::1%{2**31 - 1}]:8750"
