"""GalileoSend without I/O: both roles take bytes and values, and return bytes and values.

Imports nothing that reads a clock, a file or a socket.
"""

from .errors import Fault, FaultCode, LocalProtocolError, RemoteProtocolError
from .messages import (
    Abandon,
    Agreement,
    Finished,
    HashClaim,
    Ignored,
    Metadata,
    Resumption,
)
from .receiver import AskFinished, Chunk, Credit, UploadReceiver
from .sender import ChunkDue, FinishedDue, UploadSender

__all__ = [
    "Abandon",
    "Agreement",
    "AskFinished",
    "Chunk",
    "ChunkDue",
    "Credit",
    "Fault",
    "FaultCode",
    "Finished",
    "FinishedDue",
    "HashClaim",
    "Ignored",
    "LocalProtocolError",
    "Metadata",
    "RemoteProtocolError",
    "Resumption",
    "UploadReceiver",
    "UploadSender",
]
