"""GalileoSend without I/O: both roles take bytes and values, and return bytes and values.

Imports nothing that reads a clock, a file or a socket.
"""

from .errors import Fault, FaultCode, LocalProtocolError, RemoteProtocolError
from .messages import Finished, HashClaim, Ignored, Metadata
from .receiver import AskFinished, Chunk, Credit, UploadReceiver
from .sender import ChunkDue, FinishedDue, UploadSender

__all__ = [
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
    "UploadReceiver",
    "UploadSender",
]
