"""Visual prompts: System 1's sampled trajectories drawn into the picture that System 2 sees.

FASIONAD++ (arXiv 2503.08162) shows the fast planner's trajectories to the slow one. A chunk of
commands becomes a path of points in the world's frame, the camera's projection turns points into
pixels, and each sample is a line that fades from near to far.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from dualsys.errors import SpecMismatchError
from dualsys.messages import Observation
from dualsys.spec import CameraSpec, WorldSpec

COLOURS = ((255, 255, 0), (0, 255, 255), (255, 0, 255), (255, 128, 0), (128, 255, 128))
"""One colour per sample, repeated when there are more."""
MOTIONS = ("bicycle", "displacement")
_AXLE_M = 2.5  # half the length of highway-env's vehicle: its bicycle model turns about the middle
_METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}


def as_numbers(chunks: np.ndarray, ticks: int, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Chunks (B, T, A) as the heads read them: float32 (B, ticks, A), normalised.

    A chunk that ends too early (the first of it is carried out already) goes on with its last
    command.
    """
    cut = chunks[:, :ticks]
    padded = np.pad(cut, ((0, 0), (0, ticks - cut.shape[1]), (0, 0)), "edge")
    return ((padded - mean) / spread).astype(np.float32)


def paths(spec: WorldSpec, state: np.ndarray, chunks: np.ndarray) -> np.ndarray:
    """Points (K, T + 1, 3) [m] that chunks (K, T, A) lead through from `state` (S,).

    Raises `SpecMismatchError` for a world whose specification does not say how commands move it.
    """
    if spec.motion == "bicycle":
        return _bicycle(spec, state, chunks)
    if spec.motion == "displacement":
        scale = [_METRES[axis.unit] for axis in spec.action[:3]]
        steps = np.cumsum(chunks[..., :3] * scale, axis=1)
        start = np.broadcast_to(state[:3], (len(chunks), 1, 3))
        return np.concatenate([start, start + steps], 1)
    raise SpecMismatchError(
        f"the world's motion is {spec.motion!r}, visual prompts need 'bicycle' or 'displacement'; "
        "set WorldSpec.motion or switch the prompts off"
    )


def _bicycle(spec: WorldSpec, state: np.ndarray, chunks: np.ndarray) -> np.ndarray:
    """Kinematic bicycle in the ego's frame; positive steering turns right, as in highway-env."""
    dt = 1.0 / spec.control_rate_hz
    speed = np.full(len(chunks), state[[axis.name for axis in spec.state].index("speed")], float)
    heading, place = np.zeros(len(chunks)), np.zeros((len(chunks), 3))
    points = [place.copy()]
    for acceleration, steering in chunks.transpose(1, 2, 0).astype(float):
        slip = np.arctan(np.tan(steering) / 2)
        place[:, 0] += speed * np.cos(heading + slip) * dt
        place[:, 1] -= speed * np.sin(heading + slip) * dt
        heading = heading + speed * np.sin(slip) / _AXLE_M * dt
        speed = speed + acceleration * dt
        points.append(place.copy())
    return np.stack(points, 1)


def project(camera: CameraSpec, points: np.ndarray) -> np.ndarray:
    """Pixels (..., 2) (u right, v down) of points (..., 3) [m]; nan behind the camera."""
    if len(camera.projection) != 12:
        raise SpecMismatchError(
            f"camera {camera.name!r} has a projection of {len(camera.projection)} numbers, visual "
            "prompts need 12 (3x4); set CameraSpec.projection or switch the prompts off"
        )
    matrix = np.array(camera.projection).reshape(3, 4)
    homogeneous = points @ matrix[:, :3].T + matrix[:, 3]
    depth = homogeneous[..., 2:]
    return np.where(depth > 1e-6, homogeneous[..., :2] / np.where(depth > 1e-6, depth, 1), math.nan)


def draw(image: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Draw pixel lines (K, P, 2) into a copy of `image` uint8 (H, W, 3); the first sample on top.

    A line fades to half its colour towards its end, so that its direction can be seen.
    """
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    for index in reversed(range(len(lines))):
        colour = np.array(COLOURS[index % len(COLOURS)], float)
        last = max(1, len(lines[index]) - 2)
        for step, (start, end) in enumerate(zip(lines[index], lines[index][1:], strict=False)):
            if np.isfinite(start).all() and np.isfinite(end).all():
                shade = tuple(int(c) for c in colour * (1 - 0.5 * step / last))
                pen.line([tuple(start.tolist()), tuple(end.tolist())], fill=shade)
    return np.asarray(canvas)


def require_drawable(spec: WorldSpec) -> None:
    """Raise `SpecMismatchError` for a world in whose pictures no chunk can be drawn."""
    lacking = [camera.name for camera in spec.cameras if len(camera.projection) != 12]
    if spec.motion not in MOTIONS or lacking:
        raise SpecMismatchError(
            f"System 1's chunks can not be drawn into the pictures of this world: its motion is "
            f"{spec.motion!r} (needed is {' or '.join(MOTIONS)}), cameras without a projection are "
            f"{lacking}; complete the WorldSpec, or set system2.prompts=false"
        )


def prompted(
    spec: WorldSpec, observation: Observation, samples: np.ndarray
) -> dict[str, np.ndarray]:
    """The observation's images with System 1's samples (K, T, A) drawn in; K may be 0."""
    if not samples.size:
        return dict(observation.images)
    points = paths(spec, observation.state, samples)
    return {
        camera.name: draw(observation.images[camera.name], project(camera, points))
        for camera in spec.cameras
    }
