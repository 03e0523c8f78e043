"""Limits of connections: in all, for each network, and of those that a response refuses."""

from contextlib import ExitStack

import pytest

from galileod.net.settings import Server
from galileod.server import caps
from galileod.server.caps import Admission, Cap, ConnectionCaps

LIMITS = Server(max_connections=4, max_connections_per_address=2)


def admit(stack: ExitStack, counted: ConnectionCaps, network: str | None) -> Admission:
    return stack.enter_context(counted.admit(network, LIMITS))


def test_a_cap_holds_so_many_of_each_key() -> None:
    cap = Cap()
    with cap.hold("a", 1) as first, cap.hold("a", 1) as second, cap.hold("b", 1) as other:
        assert (first, second, other) == (True, False, True)
        assert (cap.held("a"), cap.held("b")) == (1, 1)
    with cap.hold("a", 1) as again, cap.hold(None, 0) as never_counted:
        assert again
        assert never_counted


def test_connections_are_refused_above_either_limit_and_let_in_when_others_end() -> None:
    counted = ConnectionCaps()
    with ExitStack() as open_:
        networks = ("a", "a", "a", "b", "b", None)
        assert [admit(open_, counted, network) for network in networks] == [
            Admission.ADMITTED, Admission.ADMITTED, Admission.REFUSED,
            Admission.ADMITTED, Admission.REFUSED, Admission.REFUSED,
        ]  # fmt: skip
    with ExitStack() as open_:
        assert admit(open_, counted, "a") is Admission.ADMITTED


def test_one_that_is_refused_is_still_counted_for_its_network() -> None:
    counted = ConnectionCaps()
    with ExitStack() as open_:
        for network in (None, None, None, None):
            admit(open_, counted, network)
        assert admit(open_, counted, "a") is Admission.REFUSED
        assert open_.enter_context(counted.count("a", LIMITS))
        assert not open_.enter_context(counted.count("a", LIMITS))


def test_only_so_many_are_refused_with_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps, "MAX_REFUSING", 2)
    counted = ConnectionCaps()
    with ExitStack() as open_:
        for _ in range(4):
            admit(open_, counted, None)
        assert counted.open == 4
        with ExitStack() as refused:
            assert [admit(refused, counted, None) for _ in range(3)] == [
                Admission.REFUSED, Admission.REFUSED, Admission.DROPPED,
            ]  # fmt: skip
            assert counted.open == 4
        assert admit(open_, counted, None) is Admission.REFUSED
