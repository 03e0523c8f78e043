import pytest

from galileod.policy.folders import MAX_DEPTH
from galileod.policy.newfolders import HOUR, MAX_NEW, MAX_USERS, NewFolders
from galileod.protocol.errors import Fault, FaultCode


def fill(folders: NewFolders, user: str = "anna", now: float = 0.0) -> int:
    """Store files in folders of the greatest depth until no more are accepted; their number."""
    files = 0
    while accepts(folders, user, now):
        folders.count(user, MAX_DEPTH, now)
        files += 1
    return files


def accepts(folders: NewFolders, user: str, now: float) -> bool:
    try:
        folders.check(user, now)
    except Fault:
        return False
    return True


def test_a_tree_with_a_folder_for_each_file_has_no_limit() -> None:
    folders = NewFolders()
    for _ in range(10 * MAX_NEW):
        folders.count("anna", 1, 0)
    folders.check("anna", 0)


def test_folders_without_end_are_refused_with_a_sentence() -> None:
    folders = NewFolders()
    files = fill(folders)
    assert MAX_NEW <= files * (MAX_DEPTH - 1) < MAX_NEW + MAX_DEPTH
    with pytest.raises(Fault) as told:
        folders.check("anna", 0)
    assert told.value.code is FaultCode.BAD_NAME
    assert told.value.reason == (
        "The files of this hour have 10000 more new folders than there are files."
        " Try again later, or without folders."
    )
    assert told.value.details == {"limit": MAX_NEW}
    assert accepts(folders, "ben", 0)


def test_an_hour_later_as_many_are_accepted_again() -> None:
    folders = NewFolders()
    fill(folders)
    assert not accepts(folders, "anna", 0)
    assert accepts(folders, "anna", HOUR / 2)
    assert fill(folders, now=HOUR / 2) <= MAX_NEW / 2 / (MAX_DEPTH - 1) + 1
    assert not accepts(folders, "anna", HOUR / 2)


def test_files_without_new_folders_make_up_for_some() -> None:
    folders = NewFolders()
    fill(folders)
    for _ in range(MAX_DEPTH):
        folders.count("anna", 0, 0)
    assert accepts(folders, "anna", 0)


def test_only_some_users_are_remembered() -> None:
    folders = NewFolders()
    for user in range(MAX_USERS + 5):
        folders.count(f"{user}", 2, 0)
    assert len(folders._counts) == MAX_USERS
    folders.count("ben", 1, 0)
    assert "ben" not in folders._counts
