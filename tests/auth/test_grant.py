import pytest

from galileod.auth.grant import MAX_USER, is_user


@pytest.mark.parametrize(
    "name", ["anna", "anna@example.org", "auth0|123", "Анна", "a b", "x" * MAX_USER, "192.0.2.7"]
)
def test_what_can_be_shown_on_a_line_is_a_user(name: str) -> None:
    assert is_user(name)


@pytest.mark.parametrize(
    "name", ["", " ", " a", "a ", "a\nb", "a\x1b[0m", "a\u202eb", "\ud800", "x" * (MAX_USER + 1)]
)
def test_what_would_upset_a_table_is_none(name: str) -> None:
    assert not is_user(name)
