import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.layout import LAYOUT_EXPECTED, check_layout, place

DATE = "2026-11-23"


@pytest.mark.parametrize(
    ("layout", "folders"),
    [
        ("{name}", ()),
        ("{user}/{name}", ("anna",)),
        ("{date}/{user}/{name}", (DATE, "anna")),
        ("in/{user}-{date}/{name}", ("in", f"anna-{DATE}")),
        ("{folder}/{name}", ("june", "first")),
        ("{user}/{folder}/{name}", ("anna", "june", "first")),
        ("{folder}/{date}/{name}", ("june", "first", DATE)),
        ("in/{folder}/{user}-x/{date}/{name}", ("in", "june", "first", "anna-x", DATE)),
    ],
)
def test_a_file_goes_where_the_layout_says(layout: str, folders: tuple[str, ...]) -> None:
    check_layout(layout)
    assert place(layout, "anna", DATE, ("june", "first")) == folders


def test_a_file_without_a_folder_has_only_the_other_directories() -> None:
    assert place("{folder}/{name}", "anna", DATE) == ()
    assert place("{user}/{folder}/{date}/{name}", "anna", DATE, ()) == ("anna", DATE)


def test_a_user_called_as_a_field_is_not_one() -> None:
    assert place("{user}/{name}", "{folder}", DATE, ("june",)) == ("{folder}",)
    assert place("{user}/{folder}/{name}", "{folder}", DATE, ("june",)) == ("{folder}", "june")


@pytest.mark.parametrize(
    "layout",
    [
        "", "{user}", "{name}/{user}", "/{name}", "{user}//{name}", "../{name}", "./{name}",
        ".galileod/{name}", "{what}/{name}", "{user/{name}", "a}/{name}", "a:b/{name}",
        "{name}.part", "x" * 101 + "/{name}", "\u00e9" * 60 + "/{name}", "a/" * 9 + "{name}",
        "{user}{user}/{name}", "{date}" * 16 + "/{name}", " /{name}", "-a/{name}", "a\\b/{name}",
        "{folder}/{folder}/{name}", "in-{folder}/{name}", "{folder}{user}/{name}", "{folder}",
    ],
)  # fmt: skip
def test_what_is_no_layout_is_refused(layout: str) -> None:
    with pytest.raises(ValueError, match=r"^a path that ends") as told:
        check_layout(layout)
    assert str(told.value) == LAYOUT_EXPECTED


@given(st.text(max_size=200))
def test_whatever_a_user_is_called_it_is_one_plain_folder(user: str) -> None:
    (folder,) = place("{user}/{name}", user, DATE)
    assert "/" not in folder
    assert folder not in ("", ".", "..")
    assert not folder.startswith(".")
    assert len(folder.encode()) <= 255


@given(st.text(max_size=20), st.text(max_size=20))
def test_two_users_never_share_a_folder(one: str, other: str) -> None:
    if one != other:
        assert place("{user}/{name}", one, DATE) != place("{user}/{name}", other, DATE)


@pytest.mark.parametrize("user", ["a:b", "../../etc", "\u00e9" * 100])
def test_nobody_gets_another_users_folder_by_taking_its_name(user: str) -> None:
    (folder,) = place("{user}/{name}", user, DATE)
    assert place("{user}/{name}", folder, DATE) != (folder,)


@pytest.mark.parametrize("user", ["../../etc", "..", ".galileod", "a/b", "a\\b", "con", "\0", ""])
def test_a_user_leads_nowhere_else(user: str) -> None:
    (folder,) = place("{user}/{name}", user, DATE)
    assert "/" not in folder
    assert not folder.startswith(".")
