"""Videos of episodes, made from the log after the run: filming can never slow a control loop."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

from dualsys.messages import Command, Guidance, Message, Observation, Outcome
from dualsys.runtime.log import read_log
from dualsys.spec import WorldSpec

VIEW_PX = 256  # each camera is shown in a square of this size
CAPTION_PX = 44
FPS = 20


def film(log: Path, folder: Path, episodes: dict[int, tuple[str, WorldSpec]]) -> list[Path]:
    """Write `folder/SCENARIO-EPOCH.mp4` for each epoch of `episodes` that the log holds.

    Shows all cameras side by side, the plan in force with its age, and what the shield did.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    scene: _Scene | None = None
    for _, message in read_log(log):
        epoch = message.stamp.epoch
        if epoch not in episodes:
            continue
        if scene is None or scene.epoch != epoch:
            if scene is not None:
                scene.close()
            scenario, spec = episodes[epoch]
            paths.append(folder / f"{scenario.replace('/', '-')}-{epoch:04d}.mp4")
            scene = _Scene(paths[-1], epoch, spec)
        scene.take(message)
    if scene is not None:
        scene.close()
    return paths


class _Scene:
    """One episode: follows the messages and adds a frame every 1 / FPS s of world time."""

    def __init__(self, path: Path, epoch: int, spec: WorldSpec) -> None:
        self.epoch, self._spec = epoch, spec
        self._path, self._partial = path, path.with_suffix(".partial")
        self._file = av.open(str(self._partial), "w", format="mp4")
        self._stream = self._file.add_stream("libx264", rate=Fraction(FPS))
        self._stream.width = VIEW_PX * len(spec.cameras)
        self._stream.height = VIEW_PX + CAPTION_PX
        self._stream.pix_fmt = "yuv420p"
        self._shown = 0
        self._guidance: Guidance | None = None
        self._command: Command | None = None
        self._end = ""

    def take(self, message: Message) -> None:
        if isinstance(message, Guidance):
            self._guidance = message
        elif isinstance(message, Command):
            self._command = message
        elif isinstance(message, Outcome):
            if message.metrics.get("collision", 0) > 0:
                self._end = "collision"
            elif message.success:
                self._end = "success"
        elif isinstance(message, Observation):
            seconds = message.stamp.tick / self._spec.control_rate_hz
            while self._shown <= seconds * FPS:
                self._add(self._draw(message))
                self._shown += 1

    def close(self) -> None:
        if self._end and self._last is not None:
            image = self._last.copy()
            ImageDraw.Draw(image).text((VIEW_PX - 70, VIEW_PX + 26), self._end, fill="yellow")
            for _ in range(FPS // 2):  # hold the end for half a second
                self._add(image)
        for packet in self._stream.encode():
            self._file.mux(packet)
        self._file.close()
        self._partial.replace(self._path)

    _last: Image.Image | None = None

    def _add(self, image: Image.Image) -> None:
        self._last = image
        frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
        for packet in self._stream.encode(frame):
            self._file.mux(packet)

    def _draw(self, observation: Observation) -> Image.Image:
        size = (VIEW_PX * len(self._spec.cameras), VIEW_PX + CAPTION_PX)
        canvas = Image.new("RGB", size)
        for column, camera in enumerate(self._spec.cameras):
            view = Image.fromarray(observation.images[camera.name][..., :3])
            view = view.resize((VIEW_PX, VIEW_PX), Image.Resampling.NEAREST)
            canvas.paste(view, (column * VIEW_PX, 0))
        text = ImageDraw.Draw(canvas)
        for row, line in enumerate(self._caption(observation)):
            text.text((4, VIEW_PX + 4 + 20 * row), line, fill="white")
        return canvas

    def _caption(self, observation: Observation) -> Iterable[str]:
        seconds = observation.stamp.tick / self._spec.control_rate_hz
        command = self._command
        shield = "" if command is None else f"  {command.source} {' '.join(command.interventions)}"
        yield f"{seconds:5.2f} s{shield}"
        if self._guidance is None:
            yield "System 1 alone"
        else:
            ticks = observation.stamp.tick - self._guidance.stamp.tick
            plan = self._spec.plans[self._guidance.plan]
            yield f"plan {plan}, {ticks / self._spec.control_rate_hz:.1f} s old"
