"""The file with the credentials: what is read of it, and when it is read again."""

import os
from pathlib import Path

import pytest

from galileod.secretfile import SecretFileError
from galileod.storage.s3.credentials import KeyFile, Keys, read_keys

FILE = "[default]\naws_access_key_id = AKID\naws_secret_access_key = s3cr%et\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.touch(0o640)
    path.write_text(FILE)
    return path


def test_the_keys_of_the_default_profile_are_read(path: Path) -> None:
    path.write_text(f"[other]\naws_access_key_id = no\n{FILE}aws_session_token=a==\n")
    assert read_keys(str(path)) == Keys("AKID", "s3cr%et", "a==")


def test_a_secret_is_not_printed(path: Path) -> None:
    assert "s3cr" not in repr(read_keys(str(path)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no section [default]"),
        ("[other]\n", "has no section [default]"),
        ("AKID s3cr%et", "expected a section [default] as in ~/.aws/credentials"),
        ("[default]\ns3cr%et\n", "expected a section [default] as in ~/.aws/credentials"),
        (
            "[default]\naws_access_key_id=a\n",
            "has no aws_secret_access_key in its section [default]",
        ),
        (
            "[default]\naws_secret_access_key=a\n",
            "has no aws_access_key_id in its section [default]",
        ),
    ],
)
def test_what_is_wrong_is_told_without_the_content(path: Path, text: str, reason: str) -> None:
    path.write_text(text)
    with pytest.raises(SecretFileError) as caught:
        read_keys(str(path))
    assert str(caught.value) == f"{path}: {reason}"


def test_a_file_that_others_may_read_is_refused(path: Path) -> None:
    path.chmod(0o644)
    with pytest.raises(SecretFileError, match="has mode 0644"):
        KeyFile(str(path))


def test_a_file_that_is_replaced_is_read_again(path: Path) -> None:
    keys = KeyFile(str(path))
    assert keys.keys().access_key == "AKID"
    other = path.with_name("other")
    other.touch(0o600)
    other.write_text(FILE.replace("AKID", "NEW1"))
    other.rename(path)
    assert keys.keys().access_key == "NEW1"
    assert keys.problem is None


def test_a_file_that_is_gone_does_not_change_the_keys(path: Path) -> None:
    keys = KeyFile(str(path))
    path.rename(path.with_name("away"))
    assert keys.keys().access_key == "AKID"
    assert keys.problem == f"{path}: cannot be read: No such file or directory"
    path.with_name("away").rename(path)
    assert keys.keys().access_key == "AKID"
    assert keys.problem is None


def test_a_change_that_does_not_show_is_found_when_keys_are_refused(path: Path) -> None:
    keys = KeyFile(str(path))
    status = path.stat()
    path.write_text(FILE.replace("AKID", "NEW1"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert keys.keys().access_key == "AKID"
    assert keys.renew()
    assert keys.keys().access_key == "NEW1"
    assert not keys.renew()
