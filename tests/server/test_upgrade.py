"""WebSocket handshakes: whose Origin may upload."""

import pytest

from galileod.server.upgrade import is_same_origin

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
