"""The memory for data on its way, shared among uploads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galileod.policy.sharing import MemoryShare

KIB = 1024


def share_of(total: int = 1024 * KIB, minimum: int = 64 * KIB) -> MemoryShare[int]:
    return MemoryShare(total, minimum)


def fill(share: MemoryShare[int], held: int = 0) -> int:
    while room := share.room(held, held):
        share.take(room)
        held += room
    return held


def test_a_lone_upload_may_hold_a_fifth_of_the_memory() -> None:
    assert 1024 * KIB // 5 - 64 * KIB <= fill(share_of()) <= 1024 * KIB // 5


@given(st.integers(0, 20))
def test_there_is_room_for_a_newcomer_beside_many_that_hold_all_they_can_get(hogs: int) -> None:
    share = share_of(total=256 * 1024 * KIB)
    for _ in range(hogs):
        fill(share)
    assert fill(share) >= 256 * KIB


@pytest.mark.parametrize("uploads", [10, 42, 200])
def test_the_uploads_of_one_address_leave_room_for_others(uploads: int) -> None:
    share: MemoryShare[int] = MemoryShare(256 * 1024 * KIB, 250_000)
    theirs = 0
    for _ in range(uploads):
        held = 0
        while (room := share.room(held, theirs)) and held < 16 * 1024 * KIB:
            share.take(room)
            held += room
            theirs += room
    assert fill(share) >= 250_000
    assert share.free >= 250_000


def test_nothing_below_the_minimum_is_handed_out() -> None:
    share = share_of(total=100 * KIB)
    share.take(64 * KIB)
    assert share.room(0, 0) == 0


def test_while_others_wait_nobody_gets_room_but_in_turn() -> None:
    share = share_of(total=128 * KIB)
    share.take(128 * KIB)
    share.wait(1)
    share.wait(2)
    assert share.give_back(64 * KIB) == [1]
    assert share.room(0, 0) == 0
    assert share.give_back(64 * KIB) == [2]


def test_an_upload_that_left_the_queue_is_not_served() -> None:
    share = share_of(total=64 * KIB)
    share.take(64 * KIB)
    share.wait(1)
    share.wait(2)
    share.leave(1)
    assert share.give_back(64 * KIB) == [2]


@given(
    total=st.integers(1, 40),
    uploads=st.integers(2, 60),
    turns=st.lists(st.integers(0, 10_000), min_size=50, max_size=400),
)
def test_no_upload_starves_and_no_bound_breaks_however_small_the_memory(
    total: int, uploads: int, turns: list[int]
) -> None:
    """Uploads take what they can, give back when told to, and wait when they hold nothing.

    Whoever waits is served in the order of coming, and nobody gets anything before.
    """
    share, held = share_of(total=total * 16 * KIB, minimum=16 * KIB), [0] * uploads
    waiting: list[int] = []
    for turn in turns:
        upload = turn % uploads
        if held[upload] and turn % 2:
            given_back, held[upload] = held[upload], 0
            served = share.give_back(given_back)
            assert served == waiting[: len(served)]
            del waiting[: len(served)]
            for lucky in served:
                held[lucky] += share.minimum
        elif room := share.room(held[upload], held[upload]):
            assert not waiting
            assert room >= share.minimum
            share.take(room)
            held[upload] += room
        elif not held[upload] and upload not in waiting:
            share.wait(upload)
            waiting.append(upload)
        assert share.held == sum(held) <= share.total
        assert not waiting or share.free < share.minimum


def test_memory_that_became_less_is_promised_to_nobody_until_enough_came_back() -> None:
    share = share_of(total=1024 * KIB)
    share.take(800 * KIB)
    assert share.resize(256 * KIB, 64 * KIB) == []
    assert share.free < 0
    assert share.head_start == 0
    assert share.room(0, 0) == 0
    share.wait(1)
    assert share.give_back(600 * KIB) == []
    assert share.give_back(8 * KIB) == [1]
    assert share.held == share.total == 256 * KIB


def test_memory_that_became_more_is_given_to_those_who_wait() -> None:
    share = share_of(total=64 * KIB)
    share.take(64 * KIB)
    for turn in (1, 2, 3):
        share.wait(turn)
    assert share.resize(100 * KIB, 16 * KIB) == [1, 2]
    assert share.resize(112 * KIB, 16 * KIB) == [3]
    assert share.held == 112 * KIB


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 64), st.integers(1, 16)), max_size=200
    )
)
def test_however_the_memory_is_resized_no_promise_is_lost_and_none_goes_beyond_it(
    steps: list[tuple[int, int, int]],
) -> None:
    """Each step is an upload that takes or gives back all, or a new size for the memory."""
    share, held, waiting = share_of(total=32, minimum=4), [0] * 8, list[int]()
    for who, total, minimum in steps:
        before = share.held
        served, returned = list[int](), 0
        if who >= len(held):
            served = share.resize(max(total, minimum), minimum)
        elif held[who]:
            returned, held[who] = held[who], 0
            served = share.give_back(returned)
        elif room := share.room(0, 0):
            share.take(room)
            held[who] = room
        elif who not in waiting:
            share.wait(who)
            waiting.append(who)
        assert served == waiting[: len(served)]
        del waiting[: len(served)]
        for lucky in served:
            held[lucky] = share.minimum
        assert share.held == sum(held)
        # More than there is may be held, but nothing is added to that.
        assert share.held <= share.total or share.held == before - returned
        assert not waiting or share.free < share.minimum


@given(
    total=st.integers(64, 4096),
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2048), st.integers(0, 512)), max_size=100
    ),
)
def test_rooms_are_as_large_as_asked_for_or_none_and_leave_half_of_the_memory(
    total: int, steps: list[tuple[int, int, int]]
) -> None:
    """Each step takes a room, gives the first one back, or is an upload that takes what it may."""
    share, rooms, uploads = share_of(total=total, minimum=16), list[int](), 0
    for what, wanted, least in steps:
        if what == 0:
            left = min(total // 2 - sum(rooms), share.free)
            room = share.take_room(wanted, min(least, wanted))
            assert room == 0 or min(least, wanted) <= room <= wanted
            assert 0 <= room <= left // 4
            rooms.append(room)
        elif what == 1 and rooms:
            assert share.give_room_back(rooms.pop(0)) == []
        else:
            room = share.room(0, 0)
            share.take(room)
            uploads += room
        assert share.rooms == sum(rooms) <= total // 2
        assert share.held == sum(rooms) + uploads <= total


def test_connections_get_smaller_rooms_the_more_of_them_there_are_and_then_none() -> None:
    share = share_of(total=32 * 1024 * KIB)
    rooms = [share.take_room(4096 * KIB, 256 * KIB) for _ in range(30)]
    assert rooms[0] == 4096 * KIB
    assert rooms == sorted(rooms, reverse=True)
    assert rooms[-1] == 0
    assert share.room(0, 0) >= 1024 * KIB


def test_rooms_do_not_take_the_head_start_of_new_uploads() -> None:
    share = share_of(total=32 * 1024 * KIB)
    before = share.head_start
    assert share.take_room(4096 * KIB, 0)
    assert share.head_start == before


def test_no_room_is_taken_while_uploads_wait_and_one_that_comes_back_is_theirs() -> None:
    share = share_of(total=64 * KIB, minimum=32 * KIB)
    room = share.take_room(8 * KIB, 8 * KIB)
    share.take(32 * KIB)
    share.wait(1)
    assert share.take_room(1, 1) == 0
    assert share.give_room_back(room) == [1]
    assert share.held == 64 * KIB


def test_no_room_is_taken_of_memory_that_became_less() -> None:
    share = share_of(total=1024 * KIB)
    assert share.take_room(100 * KIB, 0) == 100 * KIB
    share.resize(128 * KIB, 16 * KIB)
    assert share.take_room(100 * KIB, 0) == 0
    assert share.rooms == 100 * KIB
