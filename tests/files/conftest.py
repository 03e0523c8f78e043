"""What the tests of stored files share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.stored_files import StoredFiles


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[StoredFiles]:
    files = StoredFiles(tmp_path / "files")
    yield files
    files.stop()
