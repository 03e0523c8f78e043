"""GalileoSend as a core without I/O: bytes and values in, values out."""

from .errors import Fault, FaultCode, LocalProtocolError, RemoteProtocolError
from .messages import Finished, HashClaim, Ignored, Metadata
from .receiver import Chunk, UploadReceiver
from .sender import ChunkDue, FinishedDue, UploadSender

__all__ = [
    "Chunk",
    "ChunkDue",
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
