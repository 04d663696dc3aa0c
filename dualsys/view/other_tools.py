"""A copy of a log that other MCAP tools show: pictures and words in Foxglove's schemas.

Beside them stand our own messages, verbatim. Replay and training read the log itself.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dualsys.codec import decode
from dualsys.errors import DualsysError
from dualsys.messages import Message, Observation, Thought
from dualsys.runtime.log import ENCODING, frames_of
from dualsys.spec import WorldSpec
from dualsys.view.said import Said


def write_copy(log: Path, spec: WorldSpec, out: Path) -> int:
    """Write the copy; returns how many messages of the log it holds. Raises `DualsysError`."""
    try:
        import foxglove
    except ImportError as error:
        raise DualsysError(
            f"a copy for other tools needs foxglove-sdk ({error}); pip install 'dualsys[view]'"
        ) from error
    out.parent.mkdir(parents=True, exist_ok=True)
    context, count = foxglove.Context(), 0
    copy = _Copy(foxglove, context, spec)
    with foxglove.open_mcap(out, allow_overwrite=True, context=context):
        for topic, frame, time_ns in frames_of(log):
            copy.own(topic, frame, time_ns)
            copy.shown(decode(frame), time_ns)
            count += 1
    return count


class _Copy:
    """The channels of a copy, made when they are first used."""

    def __init__(self, foxglove: Any, context: Any, spec: WorldSpec) -> None:
        self._foxglove, self._context, self._said = foxglove, context, Said(spec)
        self._channels: dict[str, Any] = {}

    def own(self, topic: str, frame: bytes, time_ns: int) -> None:
        """A frame of the log, as it is."""
        schema = self._foxglove.Schema(name=f"dualsys.{topic}", encoding="", data=b"")
        how = {"message_encoding": ENCODING, "schema": schema}
        channel = self._channel(f"/dualsys/{topic}", self._foxglove.Channel, **how)
        channel.log(frame, log_time=time_ns)

    def shown(self, message: Message, time_ns: int) -> None:
        """What of a message is a picture or words."""
        from foxglove import channels, messages

        at = messages.Timestamp(*divmod(time_ns, 1_000_000_000))
        for name, image in _pictures(message):
            picture = messages.CompressedImage(
                timestamp=at, frame_id=name, data=_png(image), format="png"
            )
            self._channel(f"/{name}", channels.CompressedImageChannel).log(
                picture, log_time=time_ns
            )
        for line in self._said.of(message):
            level = messages.LogLevel.Warning if line.warning else messages.LogLevel.Info
            told = messages.Log(timestamp=at, level=level, message=line.text, name=line.who)
            self._channel("/log", channels.LogChannel).log(told, log_time=time_ns)

    def _channel(self, topic: str, make: Any, **how: Any) -> Any:
        if topic not in self._channels:
            self._channels[topic] = make(topic, context=self._context, **how)
        return self._channels[topic]


def _pictures(message: Message) -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(message, Observation):
        yield from ((f"cameras/{name}", image) for name, image in message.images.items())
    elif isinstance(message, Thought):
        yield from ((f"thought/{name}", image) for name, image in message.images.items())


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image[..., :3]).save(file, "PNG", compress_level=1)
    return file.getvalue()
