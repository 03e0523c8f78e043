from random import Random

from hypothesis import given
from hypothesis import strategies as st

from galileod.protocol.credits import CreditWindow
from galileod.protocol.receiver import AskFinished, Credit, UploadReceiver

SEEDS = st.integers(0, 2**32)


def receiver_of(size: int) -> UploadReceiver:
    receiver = UploadReceiver()
    receiver.receive_text(f'{{"name": "a", "size": {size}}}')
    return receiver


@given(
    size=st.integers(1, 3000),
    chunks=st.lists(st.integers(1, 400), min_size=1, max_size=6),
    in_flight=st.integers(1, 8),
    seed=SEEDS,
)
def test_no_more_is_promised_than_is_to_come_nor_than_memory_allows(
    size: int, chunks: list[int], in_flight: int, seed: int
) -> None:
    random = Random(seed)
    window = CreditWindow(size)
    for _ in range(200):
        if window.outstanding < in_flight and random.random() < 0.6:
            free = window.remaining - window.promised
            credit = window.next_credit(random.choice(chunks))
            if window.outstanding:
                assert credit <= free
            if credit:
                window.grant(credit)
        elif window.outstanding:
            limit = window.limit
            window.take(random.choice((0, limit, random.randint(0, limit))))
        assert 0 <= window.limit <= window.promised <= window.remaining <= size
        assert window.limit <= max(chunks)
        assert window.promised <= (in_flight + 1) * max(chunks)


@given(
    size=st.integers(1, 3000),
    own=st.integers(1, 200),
    more=st.lists(st.integers(0, 200), min_size=1, max_size=5),
    in_flight=st.integers(1, 8),
    seed=SEEDS,
)
def test_a_client_with_a_chunk_size_of_its_own_below_ours_gets_through(
    size: int, own: int, more: list[int], in_flight: int, seed: int
) -> None:
    random = Random(seed)
    receiver = receiver_of(size)
    window = receiver.window
    while window.remaining:
        if not window.outstanding or random.random() < 0.7:
            while receiver.grant(own + random.choice(more), in_flight) is not None:
                pass
        assert window.outstanding > 0
        receiver.receive_binary(min(own, window.remaining))
    assert receiver.received == size


@given(
    size=st.integers(1, 3000), chunk=st.integers(1, 500), in_flight=st.integers(1, 8), seed=SEEDS
)
def test_no_ready_is_out_once_the_last_byte_is_in(
    size: int, chunk: int, in_flight: int, seed: int
) -> None:
    random = Random(seed)
    receiver = receiver_of(size)
    while receiver.window.remaining:
        while receiver.grant(chunk, in_flight) is not None:
            pass
        receiver.receive_binary(random.randint(1, receiver.window.limit))
    assert receiver.window.outstanding == 0
    assert receiver.window.promised == 0


@given(st.integers(1, 1000), st.integers(1, 100))
def test_with_one_in_flight_it_stops_and_waits(size: int, chunk: int) -> None:
    receiver = receiver_of(size)
    while receiver.window.remaining:
        assert receiver.grant(chunk, 1) == Credit(min(chunk, receiver.window.remaining))
        assert receiver.grant(chunk, 1) is None
        receiver.receive_binary(receiver.window.limit)
    assert receiver.grant(chunk, 1) == AskFinished()


def test_a_window_without_credits_promises_nothing() -> None:
    window = CreditWindow(100)
    assert (window.outstanding, window.promised, window.limit) == (0, 0, 0)


def test_what_a_small_chunk_leaves_over_is_carried_to_the_next_credit() -> None:
    window = CreditWindow(150)
    window.grant(window.next_credit(100))
    window.grant(window.next_credit(100))
    window.take(80)
    assert (window.limit, window.promised, window.remaining) == (70, 70, 70)


def test_the_carry_is_held_to_one_chunk() -> None:
    window = CreditWindow(10_000)
    for _ in range(5):
        window.grant(window.next_credit(100))
    for _ in range(4):
        window.take(1)
    assert (window.promised, window.limit) == (200, 100)


def test_only_one_credit_is_smaller_than_a_chunk() -> None:
    window = CreditWindow(130)
    window.grant(window.next_credit(100))
    assert window.next_credit(100) == 30
    window.grant(30)
    window.take(0)
    assert window.next_credit(100) == 0


def test_a_larger_chunk_waits_until_the_small_credit_is_answered() -> None:
    window = CreditWindow(1000)
    window.grant(window.next_credit(10))
    assert window.next_credit(995) == 0
    window.take(10)
    assert window.next_credit(995) == 990


def test_what_was_left_over_lapses_when_no_credit_is_outstanding() -> None:
    window = CreditWindow(1000)
    window.grant(window.next_credit(100))
    window.take(10)
    assert (window.promised, window.limit) == (0, 0)
    window.grant(window.next_credit(100))
    assert (window.promised, window.limit) == (100, 100)
