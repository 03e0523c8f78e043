import pytest

from galileod.conformance.expected import parse_expected, regression
from galileod.conformance.verdicts import Ending, Result, Verdict

KNOWN = frozenset({"3.1.1", "3.1.2", "4.2.1"})


def result(verdict: Verdict, case: str = "3.1.1") -> Result:
    return Result(case, verdict, (), Ending.CLEAN, "", 0.1)


def test_a_line_has_a_case_a_verdict_and_a_reason() -> None:
    text = "# known failures\n\n3.1.1 FAIL # issue 5\n 4.2.1\tNON-STRICT\n3.1.2 UNSUPPORTED#no\n"
    assert parse_expected(text, KNOWN) == {
        "3.1.1": Verdict.FAIL,
        "4.2.1": Verdict.NON_STRICT,
        "3.1.2": Verdict.UNSUPPORTED,
    }


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("3.1.1", "line 2: '3.1.1' is not CASE VERDICT"),
        ("3.1.1 FAIL because", "is not CASE VERDICT"),
        ("9.1.1 FAIL", "there is no case 9.1.1"),
        ("3.1.1 PASS", "'PASS' is none of FAIL, NON-STRICT, UNSUPPORTED"),
        ("3.1.1 fail", "is not CASE VERDICT"),
        ("3.1.2 FAIL", "3.1.2 stands there twice"),
    ],
)
def test_a_wrong_line_is_named(line: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^line 2: ") as caught:
        parse_expected(f"3.1.2 FAIL\n{line}\n", KNOWN)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("verdict", list(Verdict))
def test_what_is_a_regression_where_nothing_is_expected(verdict: Verdict) -> None:
    bad = {Verdict.FAIL, Verdict.HARNESS_ERROR}
    assert (regression(result(verdict), {}) is not None) == (verdict in bad)
    strict = regression(result(verdict), {}, strict=True)
    assert (strict is not None) == (verdict in bad | {Verdict.NON_STRICT})


@pytest.mark.parametrize("verdict", list(Verdict))
def test_only_the_expected_verdict_is_none_and_a_skipped_case(verdict: Verdict) -> None:
    found = regression(result(verdict), {"3.1.1": Verdict.FAIL}, strict=True)
    if verdict in {Verdict.FAIL, Verdict.SKIPPED}:
        assert found is None
    else:
        assert found == f"expected FAIL, got {verdict.value}"


def test_what_is_expected_of_another_case_changes_nothing() -> None:
    assert regression(result(Verdict.PASS), {"3.1.2": Verdict.FAIL}) is None
    assert regression(result(Verdict.FAIL), {"3.1.2": Verdict.FAIL}) == "got FAIL"
