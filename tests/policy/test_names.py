import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galileod.policy.names import MAX_BYTES, numbered, safe_name
from galileod.protocol.errors import Fault, FaultCode

DEVICES = ["con", "prn", "aux", "nul", "conin$", "conout$"] + [
    f"{port}{number}" for port in ("com", "lpt") for number in "0123456789\u00b9\u00b2\u00b3"
]
NASTY = [
    *"./\\-_ ~:?*\0\n\t<>|$",
    "..",
    "con",
    "NUL",
    "com1",
    ".txt",
    "e\u0301",
    "\u200d",
    "\u202e",
]
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
TEXAS = "\U0001f3f4\U000e0075\U000e0073\U000e0074\U000e0078\U000e007f"
NASTY += [
    ENGLAND,
    ENGLAND[:-1],
    ENGLAND[1:],
    ENGLAND * 8,
    TEXAS,
    "\U000e0001",
    "\U000e0067",
    "x.tar.gz",
]
NASTY += ["\U0001fae9", "\U0001faff", "\u0378", "\ufdd0", "\uffff", "\u2065", "\U000e0fff"]
NASTY += ["\ud800", "\u3000", "\u2028", "x" * 230, " " * 240, "\U0001f600" * 60]
NAMES = st.text(st.characters()) | st.lists(
    st.sampled_from(NASTY) | st.characters(), max_size=12
).map("".join)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("two words.txt", "two words.txt"),
        ("no_extension", "no_extension"),
        ("archive.tar.gz", "archive.tar.gz"),
        ("~", "~"),
        ("a/b/c.txt", "c.txt"),
        ("/etc/passwd", "passwd"),
        ("../../etc/shadow", "shadow"),
        ("..\\..\\x.txt", "x.txt"),
        ("C:\\fakepath\\x.txt", "x.txt"),
        ("a\\b/c.txt", "c.txt"),
        ("C:x.txt", "C_x.txt"),
        ("file.txt::$DATA", "file.txt__$DATA"),
        ("a\0b.txt", "a_b.txt"),
        ("a\r\nb.txt", "a__b.txt"),
        ("a\tb\x1b[31m\x7f\x85", "a_b_[31m__"),
        ('<a>:"b"|c?*.txt', "_a___b__c__.txt"),
        ("a\u202egpj.exe", "a_gpj.exe"),
        ("\u2066a\u2069\u200e\u200f\ufeff", "_a____"),
        ("a\u2028b\u2029c", "a_b_c"),
        ("soft\u00adhyphen", "soft_hyphen"),
        (".bashrc", "_bashrc"),
        ("..x", "_.x"),
        ("...x", "_..x"),
        ("-rf", "_rf"),
        ("--help", "_-help"),
        (" -rf", "_rf"),
        (" .x", "_x"),
        ("a.", "a"),
        ("a...", "a"),
        ("a. . .", "a"),
        ("  a.txt  ", "a.txt"),
        ("\u00a0\u3000a\u2003", "a"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        ("Nul.tar.gz", "_Nul.tar.gz"),
        ("nul .txt", "_nul .txt"),
        ("NUL:", "NUL_"),
        ("COM1", "_COM1"),
        ("lpt9.log", "_lpt9.log"),
        ("com\u00b2", "_com\u00b2"),
        ("CONIN$", "_CONIN$"),
        ("console", "console"),
        ("com10", "com10"),
        ("com", "com"),
        ("nullable.txt", "nullable.txt"),
        ("x.con", "x.con"),
        ("cafe\u0301.txt", "caf\u00e9.txt"),
        ("caf\u00e9.txt", "caf\u00e9.txt"),
        ("\u212b", "\u00c5"),
        ("\ud83d.txt", "_.txt"),
        ("\udcff", "_"),
        ("\U0001f469\u200d\U0001f680.png", "\U0001f469\u200d\U0001f680.png"),
        ("\u2764\ufe0f", "\u2764\ufe0f"),
        # Newer than Unicode 14, which Python 3.11 has; and not assigned at all.
        ("\U0001fae9.png", None),
        ("\U00011f02\U00031350.txt", None),
        ("a\u0378b", None),
        ("\U000323b0", None),
        # Never to be characters; or reserved for characters that cannot be seen.
        ("a\ufdd0\ufdef\ufffe\uffff\U0001fffe\U0010ffff", "a______"),
        ("a\u2065\ufff0\ufff8\U000e0000\U000e0080\U000e0fff", "a______"),
        (f"{ENGLAND}.png", None),
        (f"{TEXAS}{ENGLAND}", None),
        (f"a{ENGLAND[:-1]}.png", "a\U0001f3f4_____.png"),
        (f"a{ENGLAND[1:]}", "a______"),
        ("\U0001f3f4\U000e007f", "\U0001f3f4_"),
        ("\U0001f3f4" + "\U000e0061" * 8 + "\U000e007f", "\U0001f3f4" + "_" * 9),
        ("\U0001f3f4\U000e0041\U000e0042\U000e0043\U000e007f", "\U0001f3f4____"),
        ("a\U000e0001\U000e0061b", "a__b"),
        ("x" * 220 + ENGLAND, "x" * 220),
        ("x" * 212 + ENGLAND, "x" * 212 + ENGLAND),
        ("x" * 220 + ENGLAND + ".png", "x" * 220 + ".png"),
        ("x" * 236 + ENGLAND, "x" * 236),
        ("x" * 300 + ".tar.gz", "x" * 233 + ".tar.gz"),
        ("x" * 300 + ".TAR.ZST", "x" * 232 + ".TAR.ZST"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", None),
        ("\u043e\u0442\u0447\u0451\u0442.docx", "\u043e\u0442\u0447\u0451\u0442.docx"),
        ("\u65e5\u672c\u8a9e.txt", "\u65e5\u672c\u8a9e.txt"),
        ("x" * 300, "x" * 240),
        ("x" * 300 + ".txt", "x" * 236 + ".txt"),
        ("x" * 236 + ".txt", "x" * 236 + ".txt"),
        ("x" * 10 + "." + "y" * 300, "x" * 10 + "." + "y" * 229),
        ("\u00e9" * 150 + ".txt", "\u00e9" * 118 + ".txt"),
        ("a" + "\u00e9" * 150, "a" + "\u00e9" * 119),
        ("x" * 230 + " " * 20 + "y", "x" * 230),
        ("x" * 230 + " " * 20 + ".txt", "x" * 230 + ".txt"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_name_is_made_safe(name: str, safe: str | None) -> None:
    assert safe_name(name) == (name if safe is None else safe)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "...", " ", "\u3000 .", "/", "a/", "a\\", "a/..", "C:\\", "a/ "]
)
def test_a_name_of_which_nothing_is_left_is_refused(name: str) -> None:
    with pytest.raises(Fault) as caught:
        safe_name(name)
    assert caught.value.code is FaultCode.BAD_NAME


@pytest.mark.parametrize(
    "name", ["\u200d", "\u200c\u200d", " \u200d ", "\u200c \u200c", "\u200c" + " " * 241 + "-"]
)
def test_a_name_that_cannot_be_seen_is_refused(name: str) -> None:
    with pytest.raises(Fault) as caught:
        safe_name(name)
    assert caught.value.code is FaultCode.BAD_NAME


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rest", ["", ".txt", " .txt", ".tar.gz"])
def test_a_windows_device_is_never_named(device: str, rest: str) -> None:
    assert safe_name(device + rest) == "_" + device + rest
    assert safe_name(device.upper() + rest) == "_" + device.upper() + rest


@pytest.mark.parametrize(
    ("name", "safe"), [("con" + " " * 300 + "x", "_con"), ("con" + " " * 300 + "x.txt", "_con.txt")]
)
def test_a_name_cut_short_is_no_windows_device_either(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@settings(max_examples=400)
@given(NAMES | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_ ().,+@-]{0,240}", fullmatch=True))
def test_any_text_gives_a_plain_name_or_is_a_bad_name(name: str) -> None:
    try:
        safe = safe_name(name)
    except Fault as fault:
        assert fault.code is FaultCode.BAD_NAME  # noqa: PT017  both ends are right
        return
    assert 0 < len(safe.encode()) <= MAX_BYTES
    assert not set(safe) & set('/\\\0<>:"|?*')
    assert safe[0] not in ".-"
    assert safe == safe.strip().rstrip(".")
    assert safe.split(".", maxsplit=1)[0].rstrip().lower() not in DEVICES
    assert unicodedata.is_normalized("NFC", safe)
    assert not re.search("[\ufdd0-\ufdef\ufffe\uffff\u2065\u202a-\u202e\u2066-\u2069]", safe)
    assert not re.search("[\U000e0000-\U000e00ff]", safe.replace(ENGLAND, "").replace(TEXAS, ""))
    assert safe_name(safe) == safe


@given(st.text(st.sampled_from("abc\u00e9\u65e5")), st.sampled_from(["", ".txt", ".tar.gz"]))
def test_an_ordinary_name_stays_as_it_is(stem: str, extension: str) -> None:
    name = "x" + stem[:50] + extension
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("name", "number", "other"),
    [
        ("a.txt", 1, "a (1).txt"),
        ("a.txt", 12, "a (12).txt"),
        ("a", 1, "a (1)"),
        ("a.tar.gz", 2, "a (2).tar.gz"),
        ("a.b.tar.xz", 1, "a.b (1).tar.xz"),
        ("A.Tar.BZ2", 1, "A (1).Tar.BZ2"),
        ("a.tar.zst", 1, "a (1).tar.zst"),
        ("dump.sql.gz", 1, "dump (1).sql.gz"),
        ("tar.gz", 1, "tar (1).gz"),
        ("_.tar.gz", 1, "_ (1).tar.gz"),
        ("a.tar", 1, "a (1).tar"),
        ("Mr. Smith.gz", 1, "Mr. Smith (1).gz"),
        ("v1.2.gz", 1, "v1.2 (1).gz"),
        ("a.tar.pdf", 1, "a.tar (1).pdf"),
        ("_x", 1, "_x (1)"),
        ("a (1).txt", 1, "a (1) (1).txt"),
    ],
)
def test_another_name_has_the_number_before_the_extension(
    name: str, number: int, other: str
) -> None:
    assert numbered(name, number) == other


@given(NAMES, st.integers(1, 10**9))
def test_a_numbered_name_is_another_name_and_fits_a_directory_entry(name: str, number: int) -> None:
    try:
        safe = safe_name(name)
    except Fault:
        safe = "x" * MAX_BYTES
    other = numbered(safe, number)
    assert other != safe
    assert len(other.encode()) <= 255
    assert other[0] not in ".-"


@pytest.mark.parametrize("filler", [".", " ", ". ", "\u0323\u0301", "/", "\u202e"])
def test_a_name_costs_no_more_than_it_is_worth(filler: str) -> None:
    """Were any step quadratic, this would not end in time."""
    assert safe_name("a" + filler * 1_000_000 + "b.txt").endswith(".txt")
