"""The whole state of a receiver, to check that a step changed nothing."""

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
        receiver._asked_finished,
        receiver._empty_chunks,
    ]
