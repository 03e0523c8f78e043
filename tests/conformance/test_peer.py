"""The connections of cases."""

import trio.testing

from galileod.conformance.events import Nothing
from galileod.conformance.judge import Judge
from galileod.conformance.peer import Peer
from galileod.conformance.trial import Trial


async def test_a_wait_that_ends_exactly_at_its_deadline_is_not_repeated(
    autojump_clock: object,
) -> None:
    near, _far = trio.testing.memory_stream_pair()
    trial = Trial(Judge(()))
    peer = Peer(trial, trial.websocket(near, b"", "server"))
    assert await peer.message(0.5) == Nothing(0.5)
