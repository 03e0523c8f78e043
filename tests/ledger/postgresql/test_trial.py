"""What is found in a database that is tried, and not opened."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from helpers.ledger_nodes import LedgerNodes
from helpers.ledgers import allow, begin

from galileod.ledger.contents import Contents
from galileod.ledger.postgresql import Address, schema, trial
from galileod.ledger.postgresql.schema import Migration
from galileod.ledger.postgresql.trial import try_out

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def nodes(ledger_url: str) -> Iterator[LedgerNodes]:
    with ExitStack() as opened:
        yield LedgerNodes(ledger_url, opened)


def test_there_is_nothing_in_a_new_database_and_nothing_afterwards(nodes: LedgerNodes) -> None:
    for _ in range(2):
        assert try_out(Address(nodes.url), "one", 9) == Contents()


async def test_all_that_a_start_looks_for_is_found(nodes: LedgerNodes) -> None:
    one = nodes.start("one")
    one.set_home("s3://here")
    for number in range(3):
        await one.reserve(f"u{number}", "anna", number, allow)
        await one.commit(f"u{number}", f"f{number}")
    await begin(one, "u9")
    found = try_out(Address(nodes.url), "one", 2)
    assert found is not None
    assert (found.home, found.begun, found.files) == ("s3://here", True, {"f0": 0, "f1": 1})
    assert [node.name for node in found.nodes] == ["one"]
    other = try_out(Address(nodes.url), "two", 2)
    assert other is not None
    assert not other.begun


def test_tables_of_an_older_version_are_looked_at_if_they_tell_enough(
    nodes: LedgerNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes.start("one")
    newer = (*schema.MIGRATIONS, Migration(1, "SELECT 1"))
    for module in (schema, trial):
        monkeypatch.setattr(module, "MIGRATIONS", newer)
    found = try_out(Address(nodes.url), "two", 2)
    assert found is not None
    assert [node.name for node in found.nodes] == ["one"]
    monkeypatch.setattr(trial, "HOSTS_SINCE", len(newer))
    assert try_out(Address(nodes.url), "two", 2) is None
