from __future__ import annotations

import msgspec
import numpy as np
import pytest

from dualsys.errors import SpecMismatchError
from dualsys.messages import Observation, Stamp
from dualsys.system2.prompts import COLOURS, draw, paths, project, prompted
from sim import registry
from sim.driving.spec import SPEC as DRIVING
from sim.manipulation.metaworld import POSES
from sim.manipulation.metaworld import SPEC as ARM
from tests.fakes import SPEC as FAKE


@pytest.mark.parametrize("command", [(2.0, 0.05), (-3.0, 0.0), (0.0, -0.1)])
def test_a_drawn_path_is_the_one_that_is_driven(command: tuple[float, float]) -> None:
    world = registry.make("driving/highway")
    frame, _ = world.reset(seed=3)
    ego = world.upstream.vehicle
    start, heading = ego.position.copy(), ego.heading
    chunk = np.tile(np.array(command, np.float32), (1, 10, 1))
    drawn = paths(DRIVING, frame["state"], chunk)[0]
    for tick in range(10):
        world.step(chunk[0, tick])
    world.close()
    dx, dy = ego.position - start
    ahead = dx * np.cos(heading) + dy * np.sin(heading)
    left = dx * np.sin(heading) - dy * np.cos(heading)
    np.testing.assert_allclose(drawn[-1, :2], [ahead, left], atol=0.25)


@pytest.mark.rendering
def test_the_projection_is_the_one_that_the_renderer_uses() -> None:
    """A bright ball at a known place is seen at the pixel that the projection gives."""
    import mujoco

    from sim.manipulation.cameras import CameraRig

    place = np.array([0.1, 0.7, 0.05])
    model = mujoco.MjModel.from_xml_string(
        f"<mujoco><worldbody><light pos='0 0 3'/><geom type='sphere' size='0.02' "
        f"pos='{place[0]} {place[1]} {place[2]}' rgba='1 1 1 1'/></worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    rig = CameraRig(model, POSES)
    images = rig.render(data)
    rig.close()
    for camera in ARM.cameras:
        bright = images[camera.name].sum(-1) > 200
        rows, columns = np.nonzero(bright)
        seen = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
        np.testing.assert_allclose(project(camera, place), seen, atol=1.5)


def test_the_arms_path_starts_at_the_hand_and_moves_by_the_commands() -> None:
    state = np.array([0.1, 0.6, 0.2, 1.0], np.float32)
    chunk = np.tile(np.array([1.0, 0.0, -1.0, 0.0], np.float32), (2, 5, 1))
    drawn = paths(ARM, state, chunk)
    assert drawn.shape == (2, 6, 3)
    np.testing.assert_allclose(drawn[:, 0], [state[:3]] * 2)
    np.testing.assert_allclose(drawn[0, -1] - drawn[0, 0], [0.05, 0.0, -0.05], atol=1e-6)


def test_the_vehicle_ahead_is_where_its_raster_shows_it() -> None:
    (camera,) = DRIVING.cameras
    here = project(camera, np.array([0.0, 0.0, 0.0]))
    there = project(camera, np.array([25.0, 12.5, 0.0]))
    np.testing.assert_allclose(here, [32.0, 48.0])
    np.testing.assert_allclose(there, [22.0, 28.0])


def test_samples_leave_their_colours_and_the_original_alone() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    lines = np.stack([np.linspace([5, 60], [5, 5], 8), np.linspace([40, 60], [40, 5], 8)])
    drawn = draw(image, lines)
    assert image.max() == 0
    assert tuple(drawn[58, 5]) == COLOURS[0]
    assert tuple(drawn[58, 40]) == COLOURS[1]
    assert 0 < drawn[6, 5].max() < 255, "a line fades towards its end"


def test_a_point_behind_the_camera_is_not_drawn() -> None:
    behind = project(ARM.cameras[1], np.array([5.0, 0.66, 0.15]))
    assert np.isnan(behind).all()
    image = np.zeros((64, 64, 3), np.uint8)
    assert draw(image, np.stack([[behind, behind]])).max() == 0


def test_without_samples_the_picture_is_the_cameras() -> None:
    images = {"topdown": np.zeros((64, 64, 3), np.uint8)}
    state = np.zeros(len(DRIVING.state), np.float32)
    scene = np.zeros((12, 10), np.float32)
    seen = Observation(Stamp(1, 0, 1, 0, 0), images, {"topdown": 0}, state, scene, "go")
    assert prompted(DRIVING, seen, np.zeros((0, 0, 0), np.float32))["topdown"] is images["topdown"]
    state[0] = 20.0
    moving = prompted(DRIVING, seen, np.zeros((1, 16, 2), np.float32))["topdown"]
    assert moving.max() > 0


def test_an_unknown_motion_or_projection_names_the_remedy() -> None:
    with pytest.raises(SpecMismatchError, match=r"WorldSpec\.motion"):
        paths(FAKE, np.zeros(2), np.zeros((1, 4, 2)))
    with pytest.raises(SpecMismatchError, match=r"CameraSpec\.projection"):
        project(msgspec.structs.replace(ARM.cameras[0], projection=()), np.zeros(3))
