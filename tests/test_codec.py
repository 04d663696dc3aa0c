from __future__ import annotations

import struct

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dualsys import codec
from dualsys.errors import CodecError
from dualsys.messages import (
    Ack,
    Action,
    Admission,
    Guidance,
    Health,
    Hello,
    Introduction,
    Observation,
    PlanRequest,
    Stamp,
)
from tests.fakes import SPEC

STAMP = Stamp(2**53 - 1, 1, 2, 3, 4)
ARRAYS = hnp.arrays(
    st.sampled_from(["bool", "int8", "int32", "uint8", "uint64", "float16", "float32", "float64"]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


def observation(image: np.ndarray, state: np.ndarray) -> Observation:
    scene = np.zeros((1, 3), np.float32)
    return Observation(STAMP, {"eye": image}, {"eye": 2}, state, scene, "go")


def same(one: object, two: object) -> bool:
    if isinstance(one, np.ndarray):
        return (
            isinstance(two, np.ndarray)
            and one.dtype == two.dtype
            and one.shape == two.shape
            and one.tobytes() == two.tobytes()
        )
    if isinstance(one, msgspec.Struct):
        fields = one.__struct_fields__
        return type(one) is type(two) and all(
            same(getattr(one, f), getattr(two, f)) for f in fields
        )
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[k], two[k]) for k in one)
    return one == two or (one != one and two != two)


@given(ARRAYS, ARRAYS)
def test_every_array_comes_back_exactly(image: np.ndarray, state: np.ndarray) -> None:
    message = observation(image, state)
    assert same(codec.decode(codec.encode(message)), message)


def test_every_message_type_comes_back() -> None:
    seen = observation(np.zeros((4, 4, 3), np.uint8), np.zeros(2, np.float32))
    chunk = np.ones((3, 2), np.float32)
    for message in (
        seen,
        Action(STAMP, 3, chunk, 4, 0.5, 3, -1, -1, 7),
        PlanRequest(STAMP, 9, seen, chunk[None], "periodic", 0.5, "short"),
        Guidance(STAMP, 9, 1, chunk[0], chunk, float("nan"), True, 5, "because"),
        Ack(STAMP, 9, 2),
        Hello(STAMP, "system1", SPEC),
        Introduction(STAMP, "0.1.0", SPEC, {"go": "keep"}, "short"),
        Admission(STAMP, "ready", "", {"name": "vlm"}),
        Health(STAMP, "world", "running", {"a": 1}, {"b": [1, 2]}),
    ):
        assert same(codec.decode(codec.encode(message)), message)


def test_decoded_arrays_are_read_only() -> None:
    message = codec.decode(codec.encode(observation(np.zeros((2, 2), np.uint8), np.zeros(2))))
    assert isinstance(message, Observation)
    with pytest.raises(ValueError, match="read-only"):
        message.state[0] = 1


def test_a_foreign_protocol_version_is_named_on_both_sides() -> None:
    frame = codec.encode(Ack(STAMP, 1, 1))
    foreign = frame[:2] + struct.pack("<H", 999) + frame[4:]
    with pytest.raises(CodecError, match=r"version 999, this side version 1"):
        codec.decode(foreign)


def test_an_oversized_frame_is_refused_before_decoding() -> None:
    frame = codec.encode(observation(np.zeros((64, 64, 3), np.uint8), np.zeros(2, np.float32)))
    with pytest.raises(CodecError, match="over the limit of 100 bytes"):
        codec.decode(frame, max_bytes=100)


def test_objects_are_not_encoded() -> None:
    with pytest.raises(CodecError, match="object"):
        codec.encode(observation(np.array([object()]), np.zeros(2)))


@pytest.mark.parametrize("shape", [(2**32 - 1,) * 4, (2**31, 2), (0, 2**32 - 1, 7)])
def test_a_lying_shape_allocates_nothing(shape: tuple[int, ...]) -> None:
    payload = struct.pack("<BB", 10, len(shape)) + struct.pack(f"<{len(shape)}I", *shape) + b"abcd"
    with pytest.raises(CodecError, match="needs"):
        codec._decode_extension(codec._EXTENSION, memoryview(payload))


@settings(max_examples=500)
@given(st.binary(max_size=400))
def test_random_bytes_raise_nothing_but_codec_errors(noise: bytes) -> None:
    header = struct.pack("<2sH", b"DS", 1)
    for frame in (noise, header + noise):
        try:
            codec.decode(frame)
        except CodecError:
            continue


FRAME = codec.encode(observation(np.arange(48, dtype=np.uint8).reshape(4, 4, 3), np.ones(2)))


@settings(max_examples=500)
@given(
    st.lists(st.tuples(st.integers(0, len(FRAME) - 1), st.integers(0, 255)), max_size=6),
    st.integers(0, len(FRAME)),
)
def test_damaged_frames_raise_nothing_but_codec_errors(
    changes: list[tuple[int, int]], length: int
) -> None:
    frame = bytearray(FRAME)
    for place, value in changes:
        frame[place] = value
    for damaged in (bytes(frame), bytes(frame[:length])):
        try:
            decoded = codec.decode(damaged)
        except CodecError:
            continue
        assert isinstance(decoded, msgspec.Struct)
