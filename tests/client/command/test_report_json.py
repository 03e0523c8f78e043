"""The lines of `--json`."""

import io
import json

import pytest

from galileod.client.command.jobs import Job
from galileod.client.command.output import Lines
from galileod.client.command.report_json import PROGRESS_INTERVAL, JsonReporter, error_fields
from galileod.client.errors import RefusedError, SendError, SourceError, UpgradeError
from galileod.client.options import Receipt


async def nothing() -> bytes:
    return b""


JOB = Job("photos/a.jpg", nothing, "a.jpg", 2048, folder="june")
RECEIPT = Receipt(
    "a.jpg", "a (1).jpg", 2048, {"sha1": "ab12"}, 2.0, 3, verified=True, resumed=1000,
    path="june/a (1).jpg",
)  # fmt: skip


def test_progress_in_json_comes_now_and_then_for_each_file() -> None:
    out, now = io.StringIO(), 0.0
    report = JsonReporter(Lines(out), lambda: now)
    other = Job("b", nothing, "b", 10)
    for moment, job in [
        (0, JOB),
        (0.1, JOB),
        (0.1, other),
        (PROGRESS_INTERVAL - 0.01, JOB),
        (PROGRESS_INTERVAL, JOB),
    ]:
        now = moment
        report.moved(job, int(now * 100), 2048)
    said = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["file"], line["sent"]) for line in said] == [
        ("photos/a.jpg", 0),
        ("b", 10),
        ("photos/a.jpg", int(PROGRESS_INTERVAL * 100)),
    ]


def test_a_receipt_in_json_has_all_of_it() -> None:
    out = io.StringIO()
    JsonReporter(Lines(out), lambda: 0.0).stored(JOB, RECEIPT, 2)
    assert json.loads(out.getvalue()) == {
        "event": "stored",
        "file": "photos/a.jpg",
        "name": "a.jpg",
        "folder": "june",
        "stored_name": "a (1).jpg",
        "path": "june/a (1).jpg",
        "size": 2048,
        "hashes": {"sha1": "ab12"},
        "seconds": 2.0,
        "chunks": 3,
        "verified": True,
        "warnings": [],
        "resumed_at": 1000,
        "attempts": 2,
    }


@pytest.mark.parametrize(
    ("error", "keys"),
    [
        (SourceError("Gone."), {"kind": "source", "error": "Gone."}),
        (UpgradeError("Full.", 503), {"kind": "upgrade", "error": "Full.", "status": 503}),
        (
            RefusedError({"error": "No.", "code": "no_space", "free": 5}),
            {
                "kind": "refused",
                "error": "The server refused the file: No.",
                "code": "no_space",
                "fatal": True,
                "signal": {"error": "No.", "code": "no_space", "free": 5},
            },
        ),
    ],
)
def test_an_error_in_json_has_what_is_known(error: SendError, keys: dict[str, object]) -> None:
    assert error_fields(error) == keys
