"""Arrays as other stacks put them into msgpack: openpi's way, and both of GR00T's.

openpi: `__ndarray__`, `data`, `dtype`, `shape`, all keys bytes (openpi-client 0.1). GR00T up to
N1.6: `__ndarray_class__` with a file of `np.save`; from N1.7 on the package msgpack-numpy: `nd`,
`type`, `kind`, `shape`, `data`. The first GR00T pickled, and msgpack-numpy still does for arrays of
objects: neither is read nor written here. Numbers and text alone are arrays, and their bytes are
counted before anything is made of them.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from dualsys.errors import CodecError

MAX_RANK = 6  # a batch of videos has five
MAX_HEADER = 4096  # of a file of np.save
_PLAIN = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|U[0-9]{1,4})")  # no object, no record

Read = Callable[[Mapping[str, Any]], Any]
Write = Callable[[np.ndarray], dict[Any, Any]]


class Dialect(NamedTuple):
    """One way to write arrays: the keys by which one is known, and how it is read and written."""

    marks: tuple[str, ...]
    read: Read
    write: Write


def decode(frame: bytes, max_bytes: int) -> tuple[Any, str | None]:
    """What a frame holds, arrays (read-only) in their places, and the dialect they came in.

    Raises `CodecError`, and nothing else, for what is malformed, too large or of no dialect.
    """
    if len(frame) > max_bytes:
        raise CodecError(f"message of {len(frame)} bytes, at most {max_bytes} are taken")
    spoken: list[str] = []
    try:
        content = _with_arrays(msgspec.msgpack.decode(frame), spoken)
    except CodecError:
        raise
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError, LookupError) as error:
        raise CodecError(f"malformed message: {error}") from error
    if len(set(spoken)) > 1:
        raise CodecError(f"arrays in several dialects in one message: {sorted(set(spoken))}")
    return content, spoken[0] if spoken else None


def encode(content: Any, dialect: str) -> bytes:
    """A frame of maps, lists, text, numbers and arrays."""
    write = DIALECTS[dialect].write

    def hook(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return write(_plain(value))
        if isinstance(value, np.generic):
            return value.item()
        raise CodecError(f"the message would hold a {type(value).__name__}")

    return msgspec.msgpack.encode(content, enc_hook=hook)


def _with_arrays(node: Any, spoken: list[str]) -> Any:
    if isinstance(node, list):
        return [_with_arrays(part, spoken) for part in node]
    if not isinstance(node, dict):
        return node
    named = {_text(key): value for key, value in node.items()}
    for name, dialect in DIALECTS.items():
        if any(mark in named for mark in dialect.marks):
            spoken.append(name)
            return dialect.read(named)
    return {key: _with_arrays(value, spoken) for key, value in named.items()}


def _text(key: Any) -> str:
    return key.decode("ascii", "replace") if isinstance(key, bytes) else str(key)


def _plain(array: np.ndarray) -> np.ndarray:
    """The array, little-endian and in rows. Raises `CodecError` for objects and records."""
    _dtype(array.dtype.str)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)


def _dtype(name: Any) -> np.dtype[Any]:
    text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
    if not isinstance(text, str) or not _PLAIN.fullmatch(text):
        raise CodecError(f"array of {text!r}: only numbers and text are taken, never objects")
    return np.dtype(text)


def _of_bytes(data: Any, dtype: np.dtype[Any], shape: Any) -> np.ndarray:
    """An array over received bytes, once their number is right."""
    sizes = list(shape) if isinstance(shape, list | tuple) else [-1]
    if len(sizes) > MAX_RANK or not all(type(n) is int and n >= 0 for n in sizes):
        raise CodecError(f"array of shape {shape}: at most {MAX_RANK} sizes, none below zero")
    if not isinstance(data, bytes) or math.prod(sizes) * dtype.itemsize != len(data):
        has = len(data) if isinstance(data, bytes) else type(data).__name__
        raise CodecError(
            f"array {dtype.name} {tuple(sizes)} needs {math.prod(sizes) * dtype.itemsize} bytes, "
            f"the message has {has}"
        )
    array = np.frombuffer(data, dtype).reshape(sizes)
    array.flags.writeable = False
    return array


def _read_openpi(named: Mapping[str, Any]) -> Any:
    dtype = _dtype(named["dtype"])
    if "__npgeneric__" in named:
        return np.array(named["data"], dtype).item()
    return _of_bytes(named["data"], dtype, named["shape"])


def _write_openpi(array: np.ndarray) -> dict[Any, Any]:
    return {
        b"__ndarray__": True,
        b"data": array.tobytes(),
        b"dtype": array.dtype.str,
        b"shape": array.shape,
    }


def _read_npy(named: Mapping[str, Any]) -> Any:
    if not isinstance(named["as_npy"], bytes):
        raise CodecError(f"as_npy holds {type(named['as_npy']).__name__}, bytes were expected")
    file = io.BytesIO(named["as_npy"])
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise CodecError(f"as_npy is of version {version}, (1, 0) is what np.save writes")
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(file, MAX_HEADER)
    array = _of_bytes(file.read(), _dtype(dtype.str), shape[::-1] if by_column else shape)
    return array.T if by_column else array


def _write_npy(array: np.ndarray) -> dict[Any, Any]:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return {"__ndarray_class__": True, "as_npy": file.getvalue()}


def _read_msgpack_numpy(named: Mapping[str, Any]) -> Any:
    if "complex" in named or named.get("kind") not in (None, b"", ""):
        raise CodecError("an array of objects, records or complex numbers is not taken")
    dtype = _dtype(named["type"])
    if named["nd"] is False:
        return _of_bytes(named["data"], dtype, []).item()
    return _of_bytes(named["data"], dtype, named["shape"])


def _write_msgpack_numpy(array: np.ndarray) -> dict[Any, Any]:
    return {
        b"nd": True,
        b"type": array.dtype.str,
        b"kind": b"",
        b"shape": array.shape,
        b"data": array.tobytes(),
    }


OPENPI, NPY, MSGPACK_NUMPY = "openpi", "npy", "msgpack-numpy"
DIALECTS: dict[str, Dialect] = {
    OPENPI: Dialect(("__ndarray__", "__npgeneric__"), _read_openpi, _write_openpi),
    NPY: Dialect(("__ndarray_class__",), _read_npy, _write_npy),
    MSGPACK_NUMPY: Dialect(("nd", "complex"), _read_msgpack_numpy, _write_msgpack_numpy),
}
