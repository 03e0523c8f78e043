"""What may stand in `[hooks]`."""

import pytest

from galileod.hooks.settings import HOOK_EXPECTED, parse_hook


@pytest.mark.parametrize(
    "value",
    [
        "http://localhost/",
        "https://example.org",
        "https://anna:secret@example.org:8443/a/b?token=x%20y",
        "http://[::1]:8080/",
    ],
)
def test_a_url_is_a_hook(value: str) -> None:
    assert parse_hook(value) == value


@pytest.mark.parametrize("value", [[], ["/bin/true"], ["notify", "", "a b"]])
def test_a_command_with_its_arguments_is_a_hook(value: list[str]) -> None:
    assert parse_hook(value) == tuple(value)


@pytest.mark.parametrize(
    "value",
    [
        "", "/bin/true", "ftp://example.org/", "http://", "http:///path", "https://:80/",
        "http://example.org:0/", "http://example.org:99999/", "http://example.org:x/",
        "http://[::1/", "http://example.org/a b", "http://example.org/#part", "http://exämple.org/",
        "http://example.org/\n", "http://a..b/", f"http://{'a' * 64}/",
        [""], ["", "a"], ["a", 1], ["a\0"], 1, True, {}, None,
    ],
)  # fmt: skip
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a command as a list") as caught:
        parse_hook(value)
    assert str(caught.value) == HOOK_EXPECTED
