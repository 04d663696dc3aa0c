"""The wire format: one frame = 4-byte header (magic, protocol version) + msgpack body.

msgspec with a tagged union of `dualsys.messages`; arrays are msgpack extensions of dtype code,
rank, dimensions and raw little-endian bytes. Never pickle: a decoder that can run code is a door
(CVE-2026-25874 in a peer's stack). Everything is checked against the real length of the frame
before anything is allocated; decoded arrays are read-only views of the frame.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np

from dualsys.errors import CodecError, VersionError
from dualsys.messages import PROTOCOL_VERSION, Message

MAX_BYTES = 64 * 1024 * 1024
MAX_RANK = 4
_MAGIC = b"DS"
_HEADER = struct.Struct("<2sH")
_ARRAY = struct.Struct("<BB")  # dtype code, rank; then rank uint32 dimensions
_EXTENSION = 17

_DTYPES: tuple[str, ...] = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
)
_CODES = {np.dtype(name): code for code, name in enumerate(_DTYPES)}


def encode(message: Message) -> bytes:
    """Encode one message. Raises `CodecError` for an array that the wire does not carry."""
    # Written behind the header in place: joining the two would copy every image once more.
    frame = bytearray(_HEADER.pack(_MAGIC, PROTOCOL_VERSION))
    _ENCODER.encode_into(message, frame, len(frame))
    return bytes(frame)


def decode(frame: bytes | memoryview, max_bytes: int = MAX_BYTES) -> Message:
    """Decode one frame. Raises `CodecError`, and nothing else, for anything malformed."""
    if len(frame) > max_bytes:
        raise CodecError(f"frame of {len(frame)} bytes is over the limit of {max_bytes} bytes")
    if len(frame) < _HEADER.size:
        raise CodecError(f"frame of {len(frame)} bytes is truncated: no header")
    magic, version = _HEADER.unpack_from(frame)
    if magic != _MAGIC:
        raise CodecError(f"not a dualsys frame: it starts with {magic!r}, {_MAGIC!r} was expected")
    if version != PROTOCOL_VERSION:
        raise VersionError(
            f"the sender speaks protocol version {version}, this side version {PROTOCOL_VERSION}; "
            "run the same dualsys version on both sides"
        )
    try:
        message: Message = _DECODER.decode(memoryview(frame)[_HEADER.size :])
    except CodecError:
        raise
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise CodecError(f"malformed frame: {error}") from error
    return message


def _encode_array(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        raise CodecError(f"the wire carries messages and arrays, not {type(value).__name__}")
    array = np.ascontiguousarray(value).reshape(value.shape)
    if array.dtype.newbyteorder("=") not in _CODES or array.ndim > MAX_RANK:
        raise CodecError(
            f"the wire carries arrays of {', '.join(_DTYPES)} and rank up to {MAX_RANK}, "
            f"not {array.dtype} of rank {array.ndim}"
        )
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    code = _CODES[array.dtype.newbyteorder("=")]
    prefix = _ARRAY.pack(code, array.ndim) + struct.pack(f"<{array.ndim}I", *array.shape)
    data = bytearray(len(prefix) + little.nbytes)
    data[: len(prefix)] = prefix
    np.frombuffer(data, np.uint8, offset=len(prefix))[:] = little.reshape(-1).view(np.uint8)
    return msgspec.msgpack.Ext(_EXTENSION, data)


def _decode_extension(code: int, data: memoryview) -> np.ndarray:
    if code != _EXTENSION:
        raise CodecError(f"extension type {code} is not an array ({_EXTENSION})")
    if len(data) < _ARRAY.size:
        raise CodecError("array without a header")
    dtype_code, rank = _ARRAY.unpack_from(data)
    if dtype_code >= len(_DTYPES):
        raise CodecError(f"dtype code {dtype_code} is not one of the {len(_DTYPES)} allowed")
    if rank > MAX_RANK or len(data) < _ARRAY.size + 4 * rank:
        raise CodecError(f"array of rank {rank} is over the limit of {MAX_RANK} or truncated")
    shape = struct.unpack_from(f"<{rank}I", data, _ARRAY.size)
    dtype = np.dtype(_DTYPES[dtype_code]).newbyteorder("<")
    count = 1
    for dimension in shape:  # Python integers: no overflow to hide behind
        count *= dimension
    payload = data[_ARRAY.size + 4 * rank :]
    if count * dtype.itemsize != len(payload):
        raise CodecError(
            f"array {dtype.name} {shape} needs {count * dtype.itemsize} bytes, "
            f"the frame has {len(payload)}"
        )
    if dtype == np.bool_ and len(payload) and np.frombuffer(payload, np.uint8).max() > 1:
        raise CodecError("array of bool holds bytes other than 0 and 1")
    array = np.frombuffer(payload, dtype).reshape(shape)
    array.flags.writeable = False
    return array


def _decode_array(expected: type, value: Any) -> Any:
    if expected is np.ndarray and isinstance(value, np.ndarray):
        return value
    raise CodecError(f"{expected.__name__} was expected, the frame has {type(value).__name__}")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode_array)
_DECODER = msgspec.msgpack.Decoder(Message, dec_hook=_decode_array, ext_hook=_decode_extension)
