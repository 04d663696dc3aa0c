"""Rendered cameras of the MuJoCo worlds: fixed poses, cheap enough for two cores."""

from __future__ import annotations

import gc
import sys
from typing import Any

import msgspec
import numpy as np

from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.spec import CameraSpec

FOVY_DEG = 45.0  # MuJoCo's default for a free camera


class CameraPose(msgspec.Struct, frozen=True):
    """A MuJoCo free camera: look-at point [m], distance [m], azimuth and elevation [deg]."""

    name: str
    size_px: int
    period_ticks: int
    lookat: tuple[float, float, float]
    distance: float
    azimuth: float
    elevation: float

    @property
    def spec(self) -> CameraSpec:
        """The camera with its projection from the table's frame [m] to pixels."""
        size = self.size_px
        matrix = tuple(float(value) for value in self._projection().ravel())
        return CameraSpec(self.name, size, size, 3, self.period_ticks, matrix)

    def _projection(self) -> np.ndarray:
        azimuth, elevation = np.deg2rad(self.azimuth), np.deg2rad(self.elevation)
        ahead = np.array(
            [
                np.cos(elevation) * np.cos(azimuth),
                np.cos(elevation) * np.sin(azimuth),
                np.sin(elevation),
            ]
        )
        right = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
        axes = np.stack([right, np.cross(ahead, right), ahead])  # u right, v down, depth
        place = np.array(self.lookat) - self.distance * ahead
        focal = self.size_px / 2 / np.tan(np.deg2rad(FOVY_DEG) / 2)
        middle = self.size_px / 2
        inner = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
        matrix: np.ndarray = inner @ np.column_stack([axes, -axes @ place])
        return np.round(matrix, 6)  # the last bits would differ between processors


class Decor(msgspec.Struct, frozen=True):
    """Something that is only seen: a box or a ball, place and half sizes [m], colour and alpha."""

    box: bool
    place: tuple[float, ...]
    size: tuple[float, ...]
    colour: tuple[float, ...]


class CameraRig:
    """Renders a set of `CameraPose`s of one model; one GL context, closed with `close`.

    Shadows, reflections and multisampling are off: a frame costs 6 to 9 ms instead of 75 ms on a
    software rasteriser.
    """

    def __init__(self, model: Any, poses: tuple[CameraPose, ...]) -> None:
        mujoco = require_mujoco()
        self._poses = poses
        model.vis.quality.offsamples = 0
        if len({pose.size_px for pose in poses}) != 1:
            raise DualsysError("cameras of one rig must share one image size; make two rigs")
        model.vis.global_.fovy = FOVY_DEG
        self._renderer = _make_renderer(model, poses[0].size_px, poses[0].size_px)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[flag] = 0
        self._cameras = [_free_camera(pose) for pose in poses]
        self.decor: tuple[Decor, ...] = ()  # drawn into every image

    def render(self, data: Any) -> dict[str, np.ndarray]:
        """Return camera name -> uint8 (H, W, 3) for the present simulator state."""
        images = {}
        for pose, camera in zip(self._poses, self._cameras, strict=True):
            self._renderer.update_scene(data, camera)
            for thing in self.decor:
                _draw(self._renderer.scene, thing)
            images[pose.name] = self._renderer.render().copy()
        return images

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()


_REMEDY = (
    "without a display install libegl1, libegl-mesa0 and libgl1-mesa-dri and set MUJOCO_GL=egl "
    "(or install libosmesa6 and set MUJOCO_GL=osmesa)"
)


def require_mujoco() -> Any:
    """Import MuJoCo, off screen where there is no display.

    Raises `DualsysError` where its GL backend can not be loaded.
    """
    set_headless_defaults()  # MuJoCo chooses its GL backend when it is imported
    try:
        import mujoco
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        raise DualsysError(f"MuJoCo can not be loaded ({error}); {_REMEDY}") from error
    return mujoco


def _make_renderer(model: Any, height: int, width: int) -> Any:
    mujoco = require_mujoco()
    failure, hook = "", sys.unraisablehook
    # A renderer that failed half-way complains again, at length, while it is collected.
    sys.unraisablehook = lambda _: None
    try:
        try:
            return mujoco.Renderer(model, height=height, width=width)
        except Exception as error:
            failure = f"{type(error).__name__}: {error}"
        gc.collect()
    finally:
        sys.unraisablehook = hook
    raise DualsysError(f"can not make a {width}x{height} GL renderer ({failure}); {_REMEDY}")


def _draw(scene: Any, thing: Decor) -> None:
    import mujoco

    kind = mujoco.mjtGeom.mjGEOM_BOX if thing.box else mujoco.mjtGeom.mjGEOM_ELLIPSOID
    mujoco.mjv_initGeom(
        scene.geoms[scene.ngeom],
        kind,
        np.array(thing.size),
        np.array(thing.place),
        np.eye(3).ravel(),
        np.array(thing.colour, np.float32),
    )
    scene.ngeom += 1


def _free_camera(pose: CameraPose) -> Any:
    import mujoco

    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:] = pose.lookat
    camera.distance, camera.azimuth, camera.elevation = pose.distance, pose.azimuth, pose.elevation
    return camera
