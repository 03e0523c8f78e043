"""The budget of BINARY messages, step by step."""

from hypothesis import given
from hypothesis import strategies as st

from galileod.net.budget import DataBudget


def test_nothing_may_be_sent_at_first() -> None:
    budget = DataBudget()
    assert (budget.left, budget.largest, budget.promised) == (0, 0, 0)


def test_a_message_counts_from_its_header_until_it_is_delivered() -> None:
    budget = DataBudget()
    budget.promise(100, 60)
    budget.begin(60)
    assert (budget.left, budget.promised) == (40, 100)
    budget.delivered(60)
    assert (budget.left, budget.promised) == (40, 40)


def test_an_undelivered_message_is_a_part_of_what_is_promised() -> None:
    budget = DataBudget()
    budget.promise(100, 60)
    budget.begin(60)
    budget.promise(160, 60)
    assert budget.left == 100
    budget.promise(0, 60)
    assert budget.left == -60, "it came before the promise was reduced"


@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=30))
def test_no_more_can_be_announced_than_was_promised(steps: list[tuple[int, bool]]) -> None:
    budget, announced, promised = DataBudget(), 0, 0
    undelivered: list[int] = []
    for length, deliver in steps:
        if deliver and undelivered:
            budget.delivered(undelivered.pop(0))
        elif length <= budget.left:
            budget.begin(length)
            undelivered.append(length)
            announced += length
        else:
            promised += length
            budget.promise(budget.promised + length, 100)
        assert budget.left == promised - announced >= 0
