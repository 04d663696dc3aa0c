"""Top-down camera: an ego-centred, ego-aligned raster of the road and the vehicles.

Ahead is up. Red: vehicle boxes (ego at half intensity). Green: lanes, their borders brighter, the
ego's route brightest. Blue: each vehicle's velocity relative to the ego's as a line over one
second, so that closing speed is visible in a single image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

SIZE_PX = 64
METRES_PER_PX = 1.25
EGO_ROW = 48  # 60 m ahead, 20 m behind, 40 m to each side
PROJECTION = (
    *(0.0, -1 / METRES_PER_PX, 0.0, SIZE_PX / 2),  # left of the ego is left in the image
    *(-1 / METRES_PER_PX, 0.0, 0.0, float(EGO_ROW)),  # ahead is up
    *(0.0, 0.0, 0.0, 1.0),
)
"""Points in the ego's frame (x ahead, y left) -> pixels, as in `CameraSpec.projection`."""
_SUPERSAMPLING = 2
_STEP_M = 4.0
_RANGE_M = 90.0
_LANE, _BORDER, _ROUTE = 90, 160, 230


class Raster:
    """Draws one road network; lanes are sampled once per episode."""

    def __init__(self, network: Any, route: list[tuple[str, str, int]]) -> None:
        on_route = {index[:2] for index in route}
        self._lanes = []
        for start, ends in network.graph.items():
            for end, lanes in ends.items():
                for lane in lanes:
                    is_route = (start, end) in on_route
                    self._lanes.append((*_edges(lane), is_route))

    def draw(self, ego: Any, others: list[Any]) -> np.ndarray:
        """Return uint8 (SIZE_PX, SIZE_PX, 3) seen from `ego`."""
        size = SIZE_PX * _SUPERSAMPLING
        red, green, blue = (Image.new("L", (size, size)) for _ in range(3))
        view = _View(ego)
        self._draw_lanes(ImageDraw.Draw(green), view, ego)
        boxes, motion = ImageDraw.Draw(red), ImageDraw.Draw(blue)
        for vehicle in others:
            if vehicle is ego or np.abs(vehicle.position - ego.position).max() > _RANGE_M:
                continue
            boxes.polygon(view.pixels(_corners(vehicle)), fill=255)
            ends = np.stack([vehicle.position, vehicle.position + vehicle.velocity - ego.velocity])
            motion.line(view.pixels(ends), fill=255, width=2)
        boxes.polygon(view.pixels(_corners(ego)), fill=128)
        channels = [np.asarray(c.reduce(_SUPERSAMPLING)) for c in (red, green, blue)]
        return np.stack(channels, -1)

    def _draw_lanes(self, draw: ImageDraw.ImageDraw, view: _View, ego: Any) -> None:
        visible = []
        for left, right, is_route in self._lanes:
            near = np.abs(left - ego.position).max(-1) < _RANGE_M
            if near.sum() > 1:
                first, last = np.flatnonzero(near)[[0, -1]]
                visible.append((left[first : last + 1], right[first : last + 1], is_route))
        for left, right, is_route in sorted(visible, key=lambda lane: lane[2]):
            outline = np.concatenate([left, right[::-1]])
            draw.polygon(view.pixels(outline), fill=_ROUTE if is_route else _LANE)
        for left, right, _ in visible:
            draw.line(view.pixels(left), fill=_BORDER)
            draw.line(view.pixels(right), fill=_BORDER)


class _View:
    """World [m] -> supersampled pixels, seen from the ego."""

    def __init__(self, ego: Any) -> None:
        cos, sin = np.cos(ego.heading), np.sin(ego.heading)
        scale = _SUPERSAMPLING / METRES_PER_PX
        # The simulator's y axis points down: its right-hand side is to the right of the image.
        self._matrix = np.array([[-sin, cos], [-cos, -sin]]) * scale
        self._origin = ego.position
        self._centre = np.array([SIZE_PX / 2, EGO_ROW]) * _SUPERSAMPLING

    def pixels(self, points: np.ndarray) -> list[float]:
        """x, y, x, y, ... of points (N, 2): what PIL reads fastest."""
        pixels = (points - self._origin) @ self._matrix.T + self._centre
        flat: list[float] = pixels.ravel().tolist()
        return flat


def _edges(lane: Any) -> tuple[np.ndarray, np.ndarray]:
    steps = np.linspace(0, lane.length, max(2, int(lane.length / _STEP_M) + 1))
    half = [lane.width_at(s) / 2 for s in steps]
    left = np.array([lane.position(s, -h) for s, h in zip(steps, half, strict=True)])
    right = np.array([lane.position(s, h) for s, h in zip(steps, half, strict=True)])
    return left, right


def _corners(vehicle: Any) -> np.ndarray:
    cos, sin = np.cos(vehicle.heading), np.sin(vehicle.heading)
    half = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * [vehicle.LENGTH / 2, vehicle.WIDTH / 2]
    corners: np.ndarray = half @ np.array([[cos, sin], [-sin, cos]]) + vehicle.position
    return corners
