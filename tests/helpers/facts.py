"""All that a receiver knows, for tests that nothing of it has changed."""

from galileod.protocol.receiver import UploadReceiver


def receiver_facts(receiver: UploadReceiver) -> list[object]:
    window = receiver.window
    return [
        receiver.state,
        receiver.metadata,
        receiver.received,
        window.remaining,
        window.outstanding,
        window.promised,
        window.limit,
        receiver._end_ready_out,
        receiver._empty_chunks,
    ]
