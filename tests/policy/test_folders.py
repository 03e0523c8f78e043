import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy.test_names import DEVICES, NAMES

from galileod.policy.folders import MAX_DEPTH, MAX_FOLDER_BYTES, place_of, safe_folder
from galileod.policy.names import MAX_BYTES, safe_name
from galileod.protocol.errors import Fault, FaultCode

FOLDERS = st.text(st.characters()) | st.lists(
    NAMES | st.sampled_from(["", ".", "..", "...", ".galileod", "/", "\\"]), max_size=40
).map("/".join)


@pytest.mark.parametrize(
    ("folder", "safe"),
    [
        (None, ()),
        ("", ()),
        ("/", ()),
        ("./.", ()),
        ("june", ("june",)),
        ("2026/june", ("2026", "june")),
        ("/2026//june/", ("2026", "june")),
        ("2026\\june", ("2026", "june")),
        ("./a/./b", ("a", "b")),
        ("..", ("_",)),
        ("../../etc", ("_", "_", "etc")),
        ("a/../b", ("a", "_", "b")),
        ("a/.../b", ("a", "_", "b")),
        (" / ", ("_", "_")),
        (".galileod/spool", ("_galileod", "spool")),
        (".git", ("_git",)),
        ("-rf", ("_rf",)),
        ("C:\\Users", ("C_", "Users")),
        ("con/nul.d", ("_con", "_nul.d")),
        ("e\u0301te\u0301", ("\u00e9t\u00e9",)),
        ("a\0b/\ud800", ("a_b", "_")),
        ("two words/more. ", ("two words", "more")),
        ("x" * 300, ("x" * MAX_BYTES,)),
        ("/".join("x" * MAX_DEPTH), tuple("x" * MAX_DEPTH)),
    ],
)
def test_each_part_is_made_safe(folder: str | None, safe: tuple[str, ...]) -> None:
    assert safe_folder(folder) == safe


@pytest.mark.parametrize(
    ("folder", "limit", "sentence"),
    [
        ("a/" * 33, 32, "The folder has 33 levels; at most 32 are accepted."),
        ("../" * 100_000, 32, "The folder has 100000 levels; at most 32 are accepted."),
        (
            "/".join(["x" * 240] * 9),
            2048,
            "The path of the folder has 2168 bytes; at most 2048 are accepted.",
        ),
    ],
)
def test_what_is_too_deep_or_too_long_is_refused(folder: str, limit: int, sentence: str) -> None:
    with pytest.raises(Fault) as told:
        safe_folder(folder)
    assert told.value.code is FaultCode.BAD_NAME
    assert told.value.reason == sentence
    assert told.value.details == {"limit": limit}


@given(FOLDERS)
def test_any_folder_is_safe_bounded_and_final(folder: str) -> None:
    try:
        parts = safe_folder(folder)
    except Fault:
        return  # beyond the bounds
    assert len(parts) <= MAX_DEPTH
    assert len("/".join(parts).encode()) <= MAX_FOLDER_BYTES
    for part in parts:
        assert safe_name(part) == part
        assert not part.startswith(".")
        assert "/" not in part
        assert "\\" not in part
    assert safe_folder("/".join(parts)) == parts


@pytest.mark.parametrize("device", DEVICES)
def test_no_part_is_a_device(device: str) -> None:
    assert safe_folder(f"a/{device}/{device}.x") == ("a", f"_{device}", f"_{device}.x")


@pytest.mark.parametrize(
    ("folder", "name", "place"),
    [
        (None, "a.jpg", "a.jpg"),
        ("june", "a.jpg", "june/a.jpg"),
        ("june/../x", "/etc/passwd", "june/_/x/passwd"),
        ("ju\\ne", "e\u0301", "ju/ne/\u00e9"),
    ],
)
def test_the_place_has_folder_and_name(folder: str | None, name: str, place: str) -> None:
    assert place_of(folder, name) == place


def test_what_has_no_name_has_no_place() -> None:
    with pytest.raises(Fault):
        place_of("june", "..")
