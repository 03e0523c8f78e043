"""docs/faults.md has every fault code, with the keys that its signal may have."""

import ast
from collections import defaultdict
from typing import Final

from docs.source import calls
from docs.tables import DOCS, codes, rows

from galileod.protocol.errors import FaultCode

TEXT: Final = (DOCS / "faults.md").read_text()
TABLE: Final = {codes(row[0])[0]: row[1:] for row in rows(TEXT) if len(row) == 4}


def test_the_table_has_every_code_in_the_order_of_the_enumeration() -> None:
    assert list(TABLE) == [code.value for code in FaultCode]


def test_the_table_has_the_keys_that_come_with_each_code() -> None:
    keys: defaultdict[str, set[str]] = defaultdict(set)
    for call in calls():
        match call.args:
            case [ast.Attribute(ast.Name("FaultCode"), code), *_]:
                keys[FaultCode[code].value] |= {each.arg for each in call.keywords if each.arg}
    assert {code: set(codes(row[1])) for code, row in TABLE.items()} == {
        code: keys[code] for code in TABLE
    }
    assert set(keys) == set(TABLE)  # each of them is used
