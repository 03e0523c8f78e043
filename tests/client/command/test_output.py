"""Lines to standard output and error."""

import io
import os

from galileod.client.command.output import Lines, standard


def test_a_reader_that_went_away_is_no_error() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        lines = Lines(stream)
        os.close(reading)
        lines.write("nobody hears")
        lines.write("nor this")


def test_what_an_encoding_lacks_is_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    standard(stream).write("häh \udce4")
    assert raw.getvalue() == b"h\\xe4h \\udce4\n"
