import pytest

from galileod.conformance.judge import MAX_FINDINGS, MAX_SENTENCE, CaseEnded, Judge, KitError
from galileod.conformance.verdicts import Ending, Finding, Level, Verdict, worst_ending

LEVELS = {"S1.1": Level.MUST, "S1.2": Level.SHOULD, "S1.3": Level.MUST}


@pytest.fixture
def judge() -> Judge:
    return Judge(("S1.1", "S1.2"), LEVELS)


def test_a_case_in_which_everything_holds_passes(judge: Judge) -> None:
    assert judge.check("S1.1", holds=True, sentence="expected a, but b came") is True
    judge.require("S1.2", holds=True, sentence="expected a, but b came")
    assert judge.verdict is Verdict.PASS
    assert judge.findings == ()


def test_a_must_that_does_not_hold_is_a_fail_and_the_case_goes_on(judge: Judge) -> None:
    assert judge.check("S1.1", holds=False, sentence="expected a, but b came") is False
    assert judge.verdict is Verdict.FAIL
    assert judge.findings == (Finding(Verdict.FAIL, "S1.1", "expected a, but b came"),)


def test_a_should_that_does_not_hold_is_non_strict(judge: Judge) -> None:
    judge.check("S1.2", holds=None, sentence="expected a, but b came")
    assert judge.verdict is Verdict.NON_STRICT


def test_a_fail_outweighs_non_strict_in_any_order(judge: Judge) -> None:
    judge.check("S1.1", holds=False, sentence="one")
    judge.check("S1.2", holds=False, sentence="two")
    assert judge.verdict is Verdict.FAIL


def test_what_is_required_ends_the_case(judge: Judge) -> None:
    with pytest.raises(CaseEnded):
        judge.require("S1.2", holds=False, sentence="one")
    assert judge.verdict is Verdict.NON_STRICT


def test_a_case_can_be_failed_at_once(judge: Judge) -> None:
    with pytest.raises(CaseEnded):
        judge.fail("S1.1", "one")
    assert judge.findings == (Finding(Verdict.FAIL, "S1.1", "one"),)


def test_a_dialogue_that_does_not_get_far_enough_is_a_fail_without_a_requirement(
    judge: Judge,
) -> None:
    with pytest.raises(CaseEnded):
        judge.fail(None, "expected ready, but nothing came")
    assert judge.findings == (Finding(Verdict.FAIL, None, "expected ready, but nothing came"),)


def test_a_requirement_that_the_case_does_not_declare_is_an_error_of_the_kit(judge: Judge) -> None:
    with pytest.raises(KitError, match=r"does not declare S1\.3"):
        judge.check("S1.3", holds=True, sentence="one")


def test_a_violation_seen_in_passing_need_not_be_declared_but_must_exist(judge: Judge) -> None:
    judge.violation("S1.3", "one")
    assert judge.verdict is Verdict.FAIL
    with pytest.raises(KitError, match=r"no requirement S1\.4"):
        judge.violation("S1.4", "two")


def test_unsupported_and_skipped_end_the_case(judge: Judge) -> None:
    with pytest.raises(CaseEnded):
        judge.unsupported("the server does not offer resume")
    assert judge.verdict is Verdict.UNSUPPORTED
    other = Judge(("S1.1",), LEVELS)
    with pytest.raises(CaseEnded):
        other.skip("the case needs kill")
    assert other.verdict is Verdict.SKIPPED


def test_a_fail_before_unsupported_stays_a_fail(judge: Judge) -> None:
    judge.check("S1.1", holds=False, sentence="one")
    with pytest.raises(CaseEnded):
        judge.unsupported("two")
    assert judge.verdict is Verdict.FAIL


def test_an_error_of_the_kit_outweighs_everything(judge: Judge) -> None:
    judge.check("S1.1", holds=False, sentence="one")
    judge.harness_error("two")
    assert judge.verdict is Verdict.HARNESS_ERROR


def test_information_changes_no_verdict(judge: Judge) -> None:
    judge.info("the server keeps it for 10 s")
    assert judge.verdict is Verdict.PASS
    assert judge.findings[0].verdict is Verdict.INFO


def test_a_case_without_requirements_only_describes() -> None:
    judge = Judge((), LEVELS)
    judge.info("the server sends 4 credits")
    assert judge.verdict is Verdict.INFO


def test_findings_are_bounded_and_not_repeated(judge: Judge) -> None:
    for number in range(MAX_FINDINGS + 10):
        judge.check("S1.1", holds=False, sentence=f"mistake {number}")
        judge.check("S1.1", holds=False, sentence="mistake 0")
    assert len(judge.findings) == MAX_FINDINGS


def test_a_sentence_is_bounded_and_escaped(judge: Judge) -> None:
    judge.info("\x1b[2J\n\u202e" + "x" * MAX_SENTENCE)
    sentence = judge.findings[0].sentence
    assert sentence.startswith(r"\u001b[2J\n\u202e")
    assert len(sentence) < MAX_SENTENCE + 20


def test_the_worst_ending_counts() -> None:
    assert worst_ending([]) is Ending.NONE
    assert worst_ending([Ending.CLEAN, Ending.NONE]) is Ending.CLEAN
    assert worst_ending([Ending.CLEAN, Ending.OPEN, Ending.TCP]) is Ending.OPEN
