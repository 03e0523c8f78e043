"""Names that are hard for some filesystem: stored under the name that is said, or refused."""

import unicodedata
from typing import Final

import pytest
from filesystems.hosts import check_ledger, check_stored, configured, send
from helpers.clients import Outcome
from helpers.daemon import Daemon

ACCENT: Final = "caf\u00e9"

NAMES: Final = {
    "longest": "x" * 251 + ".bin",
    "longest utf-8": "\u00e9" * 125 + ".bin",
    "longest emoji": "\U0001f600" * 62 + ".bin",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467 family.jpg",
    "trailing dot": "dot.",
    "trailing space": "space.txt ",
    "dots": "a...b..c",
    "composed": unicodedata.normalize("NFC", ACCENT) + " composed",
    "decomposed": unicodedata.normalize("NFD", ACCENT) + " decomposed",
    "upper sharp s": "STRASSE \u1e9e",
    "turkish i": "\u0130stanbul \u0131",
    "plane 2": "\U00020000.txt",
    "unassigned": "\u0378.txt",
    "reserved in windows": 'a<b>c"d|e?f*g:h',
    "device": "AUX.txt",
    "quote": 'it\'s `a` "name" $(x) %41 & more',
    "colon": "file.txt:stream",
    "latin": "\u00ff\u00fe",
    "lone surrogate": "\ud800.txt",
    "control": "a\x01b\n.txt",
}

VARIANTS: Final = (
    ("Report.PDF", "report.pdf"),
    ("caf\u00e9.TXT", "CAF\u00c9.txt"),
    (unicodedata.normalize("NFC", "re\u0301sume\u0301"), unicodedata.normalize("NFD", "résumé")),
    ("stra\u00dfe", "STRASSE"),
    ("\u212a.txt", "k.txt"),
    ("trail", "trail. "),
)
"""Pairs of names that some filesystem takes for one."""


def check(host: Daemon, outcome: Outcome, content: bytes) -> None:
    """Stored as said, or refused for its name before data was sent."""
    if outcome.ending == "stored":
        check_stored(host, outcome, content)
        return
    assert outcome.code == "bad_name", outcome
    assert "chunk" not in {kind for kind, _ in outcome.trace}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_hard_name_is_stored_or_refused(host: Daemon, name: str) -> None:
    check(host, send(host, name, name.encode(errors="replace")), name.encode(errors="replace"))
    check_ledger(host)


@pytest.mark.parametrize("on_conflict", ["rename", "replace"])
def test_names_that_are_alike_are_files_of_their_own_or_one(host: Daemon, on_conflict: str) -> None:
    with configured(host, on_conflict=on_conflict, layout=f"{on_conflict}/{{name}}"):
        for pair in VARIANTS:
            for name in (*pair, *reversed(pair)):
                content = f"{on_conflict} {name}".encode()
                check(host, send(host, name, content), content)
            check_ledger(host)
