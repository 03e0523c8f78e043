"""The memory for parts of files, beside that for credits."""

from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.buffers import PartBuffers
from galileod.policy.sharing import MemoryShare

MIB = 1 << 20


def memory(total: int = 64 * MIB, minimum: int = MIB) -> tuple[MemoryShare[str], PartBuffers[str]]:
    share: MemoryShare[str] = MemoryShare(total, minimum)
    return share, PartBuffers(share)


def give_back(buffers: PartBuffers[str], length: int) -> list[str]:
    assert buffers.give_back(length) == []
    return buffers.serve()


def test_buffers_leave_a_quarter_of_the_memory_for_credits() -> None:
    share, buffers = memory()
    assert [buffers.take(8 * MIB) for _ in range(8)] == [True] * 6 + [False] * 2
    assert (share.held, share.free) == (48 * MIB, 16 * MIB)
    assert share.room(0, 0) >= MIB


def test_rooms_for_whole_files_count_like_buffers() -> None:
    share, buffers = memory()
    assert share.take_room(8 * MIB, 1) == 8 * MIB
    assert [buffers.take(8 * MIB) for _ in range(6)] == [True] * 5 + [False]


def test_a_large_buffer_fits_if_it_is_the_only_one() -> None:
    share, buffers = memory()
    while share.take_room(64 * MIB, MIB):
        pass
    assert buffers.take(32 * MIB)
    assert not buffers.take(1)
    assert share.free >= share.minimum
    share, buffers = memory()
    assert not buffers.take(64 * MIB)
    assert not buffers.take(63 * MIB + 1)
    assert buffers.take(63 * MIB)


def test_who_waits_gets_a_buffer_in_order_also_if_a_smaller_one_would_fit() -> None:
    _, buffers = memory()
    assert [buffers.take(16 * MIB) for _ in range(3)] == [True] * 3
    buffers.wait("large", 16 * MIB)
    buffers.wait("small", 1)
    assert buffers.serve() == []
    assert not buffers.take(0)
    assert give_back(buffers, 16 * MIB) == ["large"]
    assert give_back(buffers, 16 * MIB) == ["small"]
    assert buffers.take(1)


def test_who_stops_waiting_lets_the_next_one_go_first() -> None:
    share, buffers = memory()
    assert buffers.take(40 * MIB)
    buffers.wait("large", 16 * MIB)
    buffers.wait("small", MIB)
    assert buffers.serve() == []
    buffers.leave("large")
    assert buffers.serve() == ["small"]
    assert share.buffers == 41 * MIB


def test_while_a_buffer_waits_for_bytes_of_credits_they_get_fewer() -> None:
    share, buffers = memory()
    share.take(54 * MIB)  # credits
    assert share.room(0, 0) == 2 * MIB
    buffers.wait("waiting", 16 * MIB)
    assert buffers.serve() == []
    assert share.room(0, 0) == MIB, "the minimum, which any upload gets"
    assert share.room(MIB, MIB) == 0
    share.give_back(6 * MIB)
    assert buffers.serve() == ["waiting"]
    assert (share.free, share.buffers, share.aside) == (0, 16 * MIB, 0)


def test_new_uploads_get_their_head_start_beside_buffers() -> None:
    share, buffers = memory()
    assert buffers.take(48 * MIB)
    assert share.head_start == 4 * MIB


@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "wait", "leave", "give back"]), st.integers(1, 40)),
        max_size=60,
    )
)
def test_all_that_was_held_comes_back_and_nobody_waits_without_a_reason(
    steps: list[tuple[str, int]],
) -> None:
    share, buffers = memory()
    held, waiting = list[int](), dict[str, int]()

    def serve() -> None:
        for name in buffers.serve():
            held.append(waiting.pop(name))

    for number, (step, size) in enumerate(steps):
        length = size * MIB
        if step == "take" and buffers.take(length):
            assert not waiting
            held.append(length)
        elif step == "wait":
            waiting[str(number)] = length
            buffers.wait(str(number), length)
        elif step == "leave" and waiting:
            first = next(iter(waiting))
            del waiting[first]
            buffers.leave(first)
        elif step == "give back" and held:
            buffers.give_back(held.pop())
        serve()
        assert share.held == share.buffers == sum(held)
        assert sum(held) <= 48 * MIB or len(held) == 1
        if waiting and len(held) < 2:
            assert next(iter(waiting.values())) + sum(held) > 48 * MIB
    while held:
        buffers.give_back(held.pop())
        serve()
    assert not waiting
    assert (share.held, share.buffers, share.aside) == (0, 0, 0)
