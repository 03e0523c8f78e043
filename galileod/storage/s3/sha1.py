"""SHA-1 whose state can be kept and restored, which hashlib cannot.

It is that of libcrypto, which Python's own modules use as well. Its functions for this have been
deprecated since OpenSSL 3.0, and are still there.
"""

import _hashlib
import ctypes
import struct
from functools import cache
from typing import Any, Final, Self

from galileod.storage.errors import StorageError

BLOCK: Final = 64
"""Bytes that are hashed at once."""

_STATE: Final = struct.Struct(">5IQ")
"""A state, which is the same on each machine: the hash so far and the number of bytes, and then the
bytes that are no whole block yet."""

_LIBRARIES: Final = (_hashlib.__file__, "libcrypto.so.3", "libcrypto.so.1.1")
"""Where the functions are looked for: first in what Python has loaded."""


class _Context(ctypes.Structure):
    """SHA_CTX of <openssl/sha.h>. `low` and `high` count bits; `data` has `pending` bytes."""

    _fields_ = (
        ("hash", ctypes.c_uint32 * 5),
        ("low", ctypes.c_uint32),
        ("high", ctypes.c_uint32),
        ("data", ctypes.c_ubyte * BLOCK),
        ("pending", ctypes.c_uint32),
    )


class _Buffer(ctypes.Structure):
    """Py_buffer, a part of Python's stable interface: where the bytes of an object are."""

    _fields_ = (
        ("bytes", ctypes.c_void_p),
        ("object", ctypes.py_object),
        ("length", ctypes.c_ssize_t),
        ("item_size", ctypes.c_ssize_t),
        ("read_only", ctypes.c_int),
        ("dimensions", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


class Sha1:
    """The hash of all data that `update` is called with. Raises StorageError without libcrypto."""

    def __init__(self, state: bytes | None = None) -> None:
        """Begin anew, or where `state` was taken. Raises ValueError for what is no state."""
        self._library = _library()
        self._context = _Context()
        if state is None:
            self._library.SHA1_Init(ctypes.byref(self._context))
        else:
            _restore(self._context, state)

    @property
    def length(self) -> int:
        """The number of bytes that were hashed."""
        return int(self._context.high << 32 | self._context.low) // 8

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Hash more data, without a copy. Other threads run meanwhile; they must not change it."""
        buffer = _Buffer()
        ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(data), ctypes.byref(buffer), 0)
        try:
            self._library.SHA1_Update(ctypes.byref(self._context), buffer.bytes, buffer.length)
        finally:
            ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))

    def state(self) -> bytes:
        """What a new object can go on from; at most 91 bytes."""
        pending = bytes(self._context.data[: self._context.pending])
        return _STATE.pack(*self._context.hash, self.length) + pending

    def copy(self) -> Self:
        """Another object with the same state."""
        return type(self)(self.state())

    def hexdigest(self) -> str:
        """The hash of all data so far, in lower-case hex."""
        context, digest = _Context.from_buffer_copy(self._context), ctypes.create_string_buffer(20)
        self._library.SHA1_Final(digest, ctypes.byref(context))
        return digest.raw.hex()


def _restore(context: _Context, state: bytes) -> None:
    begin, pending = state[: _STATE.size], state[_STATE.size :]
    if len(begin) < _STATE.size:
        raise ValueError("a state of a hash is too short")
    *words, length = _STATE.unpack(begin)
    if len(pending) != length % BLOCK or length >> 61:
        raise ValueError("a state of a hash contradicts itself")
    context.hash[:] = words
    context.low, context.high = length * 8 & 0xFFFFFFFF, length * 8 >> 32
    context.data[: len(pending)] = pending
    context.pending = len(pending)


@cache
def _library() -> Any:  # noqa: ANN401  ctypes makes its functions when they are looked for
    """libcrypto, if it does what is expected here. Raises StorageError."""
    for name in _LIBRARIES:
        try:
            library = ctypes.CDLL(name)
            pointer = ctypes.c_void_p
            library.SHA1_Init.argtypes = (pointer,)
            library.SHA1_Update.argtypes = (pointer, pointer, ctypes.c_size_t)
            library.SHA1_Final.argtypes = (pointer, pointer)
        except (OSError, AttributeError):
            continue  # it is not there, or lacks them, as where it is a part of Python itself
        return library
    raise StorageError(
        'storage.backend = "s3" needs SHA1_Init, SHA1_Update and SHA1_Final of libcrypto, from'
        " OpenSSL 1.1 or 3: install libssl3"
    )
