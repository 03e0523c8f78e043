"""The memory for parts of files, beside that for credits."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.buffers import PartBuffers
from galileod.policy.sharing import MemoryShare

MIB = 1 << 20

NUMBERS = count()


def memory(total: int = 64 * MIB, minimum: int = MIB) -> tuple[MemoryShare[str], PartBuffers[str]]:
    share: MemoryShare[str] = MemoryShare(total, minimum)
    return share, PartBuffers(share)


def take(buffers: PartBuffers[str], length: int) -> bool:
    """A buffer of an owner of its own."""
    return buffers.take(length, f"owner {next(NUMBERS)}")


def give_back(buffers: PartBuffers[str], length: int, owner: str) -> list[str]:
    assert buffers.give_back(length, owner) == []
    return buffers.serve()


def test_buffers_leave_a_quarter_of_the_memory_for_credits() -> None:
    share, buffers = memory()
    assert [take(buffers, 8 * MIB) for _ in range(8)] == [True] * 6 + [False] * 2
    assert (share.held, share.free) == (48 * MIB, 16 * MIB)
    assert share.room(0, 0) >= MIB


def test_rooms_for_whole_files_count_like_buffers() -> None:
    share, buffers = memory()
    assert share.take_room(8 * MIB, 1) == 8 * MIB
    assert [take(buffers, 8 * MIB) for _ in range(6)] == [True] * 5 + [False]


def test_a_large_buffer_fits_if_it_is_the_only_one() -> None:
    share, buffers = memory()
    while share.take_room(64 * MIB, MIB):
        pass
    assert take(buffers, 32 * MIB)
    assert not take(buffers, 1)
    assert share.free >= share.minimum
    share, buffers = memory()
    assert not take(buffers, 64 * MIB)
    assert not take(buffers, 63 * MIB + 1)
    assert take(buffers, 63 * MIB)


def test_who_waits_gets_a_buffer_in_order_also_if_a_smaller_one_would_fit() -> None:
    _, buffers = memory()
    assert all(buffers.take(16 * MIB, owner) for owner in "abc")
    buffers.wait("large", 16 * MIB, "d")
    buffers.wait("small", 1, "e")
    assert buffers.serve() == []
    assert not take(buffers, 0)
    assert give_back(buffers, 16 * MIB, "a") == ["large"]
    assert give_back(buffers, 16 * MIB, "b") == ["small"]
    assert take(buffers, 1)


def test_who_stops_waiting_lets_the_next_one_go_first() -> None:
    share, buffers = memory()
    assert take(buffers, 40 * MIB)
    buffers.wait("large", 16 * MIB, "a")
    buffers.wait("small", MIB, "b")
    assert buffers.serve() == []
    buffers.leave("large")
    assert buffers.serve() == ["small"]
    assert share.buffers == 41 * MIB


def test_while_a_buffer_waits_for_bytes_of_credits_they_get_fewer() -> None:
    share, buffers = memory()
    share.take(54 * MIB)  # credits
    assert share.room(0, 0) == 2 * MIB
    buffers.wait("waiting", 16 * MIB, "a")
    assert buffers.serve() == []
    assert share.room(0, 0) == MIB, "the minimum, which any upload gets"
    assert share.room(MIB, MIB) == 0
    share.give_back(6 * MIB)
    assert buffers.serve() == ["waiting"]
    assert (share.free, share.buffers, share.aside) == (0, 16 * MIB, 0)


def test_new_uploads_get_their_head_start_beside_buffers() -> None:
    share, buffers = memory()
    assert take(buffers, 48 * MIB)
    assert share.head_start == 4 * MIB


def test_the_uploads_of_an_owner_leave_as_much_as_they_hold() -> None:
    share, buffers = memory()
    assert [buffers.take(8 * MIB, "anna") for _ in range(6)] == [True] * 3 + [False] * 3
    assert [buffers.take(8 * MIB, "bert") for _ in range(3)] == [True] * 2 + [False]
    assert [buffers.take(8 * MIB, owner) for owner in ("carl", "dora")] == [True, False]
    assert share.buffers == 48 * MIB


def test_who_has_enough_is_passed_over_in_the_queue() -> None:
    _, buffers = memory()
    assert all(buffers.take(8 * MIB, "anna") for _ in range(3))
    buffers.wait("fourth of anna", 8 * MIB, "anna")
    assert buffers.serve() == []
    buffers.wait("first of bert", 8 * MIB, "bert")
    assert buffers.serve() == ["first of bert"]
    assert give_back(buffers, 8 * MIB, "anna") == ["fourth of anna"]


STEPS = st.tuples(
    st.sampled_from(["take", "wait", "leave", "give back"]),
    st.integers(1, 40),
    st.sampled_from("abcd"),
)


@given(st.lists(STEPS, max_size=60))
def test_all_that_was_held_comes_back_and_nobody_waits_without_a_reason(  # noqa: C901  a model
    steps: list[tuple[str, int, str]],
) -> None:
    share, buffers = memory()
    held, waiting = list[tuple[int, str]](), dict[str, tuple[int, str]]()

    def serve() -> None:
        for name in buffers.serve():
            held.append(waiting.pop(name))

    def total() -> int:
        return sum(length for length, _ in held)

    for number, (step, size, owner) in enumerate(steps):
        length = size * MIB
        if step == "take" and buffers.take(length, owner):
            assert not waiting
            held.append((length, owner))
        elif step == "wait":
            waiting[str(number)] = length, owner
            buffers.wait(str(number), length, owner)
        elif step == "leave" and waiting:
            first = next(iter(waiting))
            del waiting[first]
            buffers.leave(first)
        elif step == "give back" and held:
            buffers.give_back(*held.pop())
        serve()
        assert share.held == share.buffers == total()
        assert total() <= 48 * MIB or len(held) == 1
        for wanted, of in list(waiting.values())[:1]:
            theirs = sum(length for length, other in held if other == of)
            assert max(wanted, theirs and theirs + wanted) > 48 * MIB - total()
    while held:
        buffers.give_back(*held.pop())
        serve()
    assert not waiting
    assert (share.held, share.buffers, share.aside) == (0, 0, 0)
