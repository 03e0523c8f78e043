"""docs/hooks.md: its examples are programs that run, and its JSON has the keys that are sent."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import pytest
from docs.tables import DOCS, codes, rows, section
from helpers.daemon import DEADLINE, free_port, poll

from galileod.hooks.admit import Answer, make_question, parse_answer
from galileod.hooks.receipt import complete_receipt, make_receipt, make_removed_receipt
from galileod.ledger.records import About, FileEntry

TEXT: Final = (DOCS / "hooks.md").read_text()
EXAMPLES: Final[list[dict[str, Any]]] = [
    json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
]
META: Final = '{"album":7}'
ABOUT: Final = About("report.pdf", "2026/june", "2026/june/report.pdf", 7, None, "t", META)
ENTRY: Final = FileEntry("a", "anna", 5, "f" * 40, 1.0, "a", None, "a", 7, "u1", None, "t", META)


def program(mark: str, language: str) -> str:
    pattern = rf"<!-- {mark}: run by a test -->\n```{language}\n(.*?)```"
    (found,) = re.findall(pattern, TEXT, re.DOTALL)
    return str(found)


def question(meta: str | None = META) -> bytes:
    return make_question("u1", 5, "anna", "peer", About("a", None, "a", None, None, None, meta))


def receipts() -> list[dict[str, object]]:
    stored = make_receipt("u1", 5, "f" * 40, None, "anna", "peer", ABOUT)
    removed = make_removed_receipt(ENTRY, "expired")
    return [complete_receipt(each, "2026/june/a (1).pdf", "/files") for each in (stored, removed)]


def test_the_json_has_the_keys_that_are_sent_in_their_order() -> None:
    asked = json.loads(question())
    stored, removed, documented, answer = EXAMPLES
    assert [list(stored), list(removed)] == [list(each) for each in receipts()]
    assert list(documented) == list(asked)
    assert parse_answer(json.dumps(answer).encode()) == Answer(
        None, "2026-06-30 report.pdf", "reports", 10485760
    )


def test_each_key_of_a_receipt_has_a_row() -> None:
    text = section(TEXT, "The receipt")
    documented = {key for row in rows(text) for key in codes(row[0])}
    assert {key for receipt in receipts() for key in receipt} <= documented


def test_the_command_that_refuses_while_a_file_exists(tmp_path: Path) -> None:
    text = program("admit", "sh")
    assert text.count("/run/backup-is-running") == 1
    hook, file = tmp_path / "hook", tmp_path / "backup"
    hook.write_text(text.replace("/run/backup-is-running", str(file)))
    hook.chmod(0o755)

    def answer() -> Answer:
        done = subprocess.run([hook], input=question(), capture_output=True, check=True)
        return parse_answer(done.stdout)

    assert answer() == Answer()
    file.touch()
    assert answer() == Answer("A backup is running. Try again in an hour.")


def test_the_server_that_sorts_files_into_albums(tmp_path: Path) -> None:
    text, port = program("admit", "python"), free_port()
    assert text.count("8081") == 1
    with subprocess.Popen(
        [sys.executable, "-c", text.replace("8081", str(port))],
        stderr=subprocess.DEVNULL, cwd=tmp_path,
    ) as server:  # fmt: skip

        def answer(meta: str | None) -> Answer | None:
            try:
                url = f"http://127.0.0.1:{port}/"
                with urlopen(url, question(meta), timeout=DEADLINE) as response:
                    return parse_answer(response.read())
            except OSError:
                return None  # it does not listen yet

        try:
            expected = Answer(None, None, "Summer", 10_000_000)
            assert poll("the server", lambda: answer(META)) == expected
            for meta in (None, "{}", '{"album":9}'):
                assert answer(meta) == Answer("This album does not exist any more.")
        finally:
            server.kill()


@pytest.mark.parametrize("times", [1, 2])
def test_the_command_that_keeps_a_list(tmp_path: Path, times: int) -> None:
    text, database = program("receipts", "python"), tmp_path / "files"
    assert text.count("/srv/app/files.sqlite3") == 1
    hook = tmp_path / "hook"
    hook.write_text(text.replace("/srv/app/files.sqlite3", str(database)))

    def listed(receipt: dict[str, object]) -> list[tuple[str, str, int]]:
        for _ in range(times):
            subprocess.run(
                [sys.executable, hook], input=json.dumps(receipt).encode(), check=True,
                env=os.environ,
            )  # fmt: skip
        with closing(sqlite3.connect(database)) as connection:
            return connection.execute("SELECT * FROM files").fetchall()

    stored, removed = receipts()
    assert listed(stored) == [("u1", "2026/june/a (1).pdf", 7)]
    assert listed(removed) == []
