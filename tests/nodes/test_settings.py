"""Nodes that do not have the settings that all should have."""

from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from helpers.daemon import Daemon, Settings, poll

pytestmark = pytest.mark.timeout(60)


def test_a_node_names_the_keys_that_another_has_otherwise_and_runs(
    tmp_path: Path, ledger_url: str
) -> None:
    def settings(name: str, on_conflict: str, total: int) -> Settings:
        directory = str(tmp_path / "shared")
        return {
            "quota": {"total_files": total, "user_files": 7},
            "storage": {"directory": directory, "on_conflict": on_conflict, "min_free": 0},
            "ledger": {"url": ledger_url, "node": name},
        }

    def told() -> bool:
        with psycopg.connect(ledger_url) as connection:
            row = connection.execute("SELECT settings IS NOT NULL FROM nodes").fetchone()
        return row is not None and bool(row[0])

    with ExitStack() as running:
        one, two = (
            running.enter_context(Daemon(tmp_path / name, settings(name, on_conflict, total)))
            for name, on_conflict, total in (("one", "replace", 5), ("two", "reject", 6))
        )
        one.start()
        poll("its settings", told)
        two.start()
        line = two.wait_for("node.differs")
        assert (line["node"], line["other"], line["level"]) == ("two", "one", "warning")
        assert line["keys"] == ["quota.total_files", "storage.on_conflict"]
        assert one.find("node.differs") is None
