"""Which engine is loaded for which configuration."""

import subprocess
import sys
from typing import Final

import pytest

LOADED: Final = """
import sys
{}
loaded = {{"psycopg", "galileod.ledger.postgresql"}} & sys.modules.keys()
assert not loaded, loaded
"""

LOCAL: Final = """
from galileod.ledger.engines import open_ledger
from galileod.ledger.settings import Ledger
open_ledger(Ledger(), ":memory:", None).close()
"""

BROKEN: Final = """
import os, sys
os.environ["PSYCOPG_IMPL"] = "none of them"
from galileod.ledger.base import LedgerError
from galileod.ledger.engines import open_ledger
from galileod.ledger.settings import Ledger
try:
    open_ledger(Ledger("postgresql://host/name"), "", None)
except LedgerError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "program",
    [
        "import galileod",
        "import galileod.cli.main, galileod.daemon.run, galileod.daemon.connecting",
        LOCAL,
    ],
)
def test_the_library_of_the_database_is_loaded_only_with_its_url(program: str) -> None:
    subprocess.run([sys.executable, "-c", LOADED.format(program)], check=True, timeout=60)


def test_a_library_that_cannot_be_used_is_named() -> None:
    run = [sys.executable, "-c", BROKEN]
    said = subprocess.run(run, check=True, timeout=60, capture_output=True, text=True).stdout
    assert said.startswith("needs the Python package psycopg: ")
    assert said.count("\n") == 1
