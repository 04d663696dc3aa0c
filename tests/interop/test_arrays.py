"""Arrays in the dialects of others: their own bytes, anybody's bytes, and what is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.errors import CodecError
from dualsys.interop.arrays import DIALECTS, MSGPACK_NUMPY, NPY, OPENPI, decode, encode

WIRE = Path(__file__).parent.parent / "data" / "wire"
CONTENT = {
    "state": np.array([[1.5, -2.0]], np.float32),
    "image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
    "prompt": "reach",
}
MOST = 1 << 20


def theirs(name: str) -> bytes:
    return (WIRE / f"{name}.msgpack").read_bytes()


def same(one: Any, two: Any) -> None:
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert list(one) == list(two)
        for key in one:
            same(one[key], two[key])
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (two.dtype, two.shape)
        np.testing.assert_array_equal(one, two)
    else:
        assert one == two


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_the_other_side_wrote_is_read_and_written_byte_for_byte(dialect: str) -> None:
    content, spoken = decode(theirs(dialect), MOST)
    assert spoken == dialect
    same(content, CONTENT)
    assert encode(CONTENT, dialect) == theirs(dialect)


@pytest.mark.parametrize("name", ["openpi-scalar", "msgpack-numpy-scalar"])
def test_a_number_of_numpy_is_a_number(name: str) -> None:
    assert decode(theirs(name), MOST)[0] == {"n": 2.5}


def test_an_array_that_was_saved_by_column_is_read_the_right_way_round() -> None:
    found = decode(theirs("npy-by-column"), MOST)[0]
    np.testing.assert_array_equal(found, np.arange(6, dtype=np.int16).reshape(2, 3))


def test_a_pickled_array_is_refused_without_being_opened() -> None:
    with pytest.raises(CodecError, match="array of objects"):
        decode(theirs("pickled"), MOST)


arrays = hnp.arrays(
    st.sampled_from([np.dtype(n) for n in ("<f4", "<f8", "<i8", "|u1", "|b1", "<U3", "<f2")]),
    hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=3),
)
leaves = arrays | st.integers(-(2**40), 2**40) | st.text(max_size=5) | st.booleans() | st.none()
names = st.text("abcdefghij./", min_size=3, max_size=8)
contents = st.dictionaries(names, leaves | st.dictionaries(names, leaves, max_size=3), max_size=4)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(content=contents)
def test_what_is_written_is_read_again(dialect: str, content: dict[str, Any]) -> None:
    def even(value: Any) -> Any:  # nan is unequal to itself
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            return np.nan_to_num(value)
        return {k: even(v) for k, v in value.items()} if isinstance(value, dict) else value

    found, spoken = decode(encode(content, dialect), MOST)
    same(even(found), even(content))
    assert spoken in (dialect, None)


@given(frame=st.binary(max_size=300))
def test_any_bytes_are_content_or_an_error_of_ours(frame: bytes) -> None:
    with contextlib.suppress(CodecError):
        decode(frame, MOST)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
def test_a_damaged_message_is_content_or_an_error_of_ours(
    dialect: str, data: st.DataObject
) -> None:
    frame = bytearray(theirs(dialect))
    for _ in range(data.draw(st.integers(1, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CodecError):
        decode(bytes(frame[: data.draw(st.integers(1, len(frame)))]), MOST)


def openpi(**changed: Any) -> bytes:
    array = {b"__ndarray__": True, b"data": b"\0" * 8, b"dtype": "<f4", b"shape": [2]}
    named = {key.encode(): value for key, value in changed.items()}
    return msgspec.msgpack.encode({"x": array | named})


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (openpi(shape=[2**40, 2**40]), "needs"),
        (openpi(shape=[-2, -1]), "none below zero"),
        (openpi(shape=[1] * 7 + [2]), "at most 6"),
        (openpi(dtype="|O"), "never objects"),
        (openpi(dtype="f4,f4"), "never objects"),
        (openpi(dtype=["a"]), "never objects"),
        (openpi(data="text"), "the message has str"),
        (msgspec.msgpack.encode({"x": {b"__ndarray__": True}}), "malformed"),
        (msgspec.msgpack.encode({"x": {"__ndarray_class__": True, "as_npy": b"PK"}}), "malformed"),
        (msgspec.msgpack.encode({"x": {b"complex": True, b"data": "1j"}}), "complex"),
        (b"\x81", "malformed"),
    ],
)
def test_what_lies_about_its_size_or_kind_is_refused(frame: bytes, says: str) -> None:
    with pytest.raises(CodecError, match=says):
        decode(frame, MOST)


def test_what_is_too_large_is_refused_before_it_is_read() -> None:
    with pytest.raises(CodecError, match="135 bytes, at most 100"):
        decode(theirs(OPENPI), 100)


def test_two_dialects_in_one_message_are_refused() -> None:
    both = [msgspec.msgpack.decode(theirs(name)) for name in (NPY, MSGPACK_NUMPY)]
    with pytest.raises(CodecError, match=r"several dialects in one message: \['msgpack-numpy'"):
        decode(msgspec.msgpack.encode(both), MOST)


def test_objects_are_not_written() -> None:
    for value in (np.array([{}], object), np.zeros(2, [("a", "f4")]), object()):
        with pytest.raises(CodecError):
            encode({"x": value}, OPENPI)
