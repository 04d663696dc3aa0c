"""highway-env scenarios as `World`s with continuous control at upstream's physics rate.

Upstream's physics, reward, termination and truncation are untouched; ours are the camera, the
state, the object list and what counts as success.
"""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np

from dualsys.errors import DualsysError
from sim.driving.raster import SIZE_PX, Raster
from sim.driving.route import route_ahead
from sim.driving.scenarios import scenario_of
from sim.driving.scene import object_rows, visible
from sim.driving.spec import CONTROL_RATE_HZ, SPEC
from sim.driving.terms import time_to_collision_s
from sim.world import Frame, frame_space

TIME_TO_COLLISION_LIMIT_S = 10.0  # what is further away counts as this
STANDING_MPS = 0.1
MERGE_END_M = 370.0  # upstream ends a drive by place there, elsewhere by time


class HighwayWorld(gymnasium.Env[Frame, np.ndarray]):
    """One highway-env scenario; actions are [acceleration m/s2, steering rad].

    Success is known at the end: the upstream episode ended without collision, the ego never left
    the road, and it arrived where upstream knows an arrival (intersection).
    """

    world_spec = SPEC

    def __init__(self, name: str) -> None:
        self.scenario = scenario_of(name)
        self.instruction = self.scenario.instruction
        self.plan_hints: dict[str, str] = {}
        self._driver_defaults = _driver_constants()  # before upstream can change them
        self.upstream = _make_upstream(self.scenario.upstream, self.scenario.config)
        self.action_space = gymnasium.spaces.Box(SPEC.action_low, SPEC.action_high)
        self.observation_space: gymnasium.Space[Any] = frame_space(SPEC)
        self._tick = 0
        self._offroad = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Frame, dict[str, Any]]:
        """Start an episode; equal seeds give equal episodes, whatever ran before."""
        from sim.driving.fast_road import hasten

        super().reset(seed=seed)
        # Upstream's intersection changes the driver model of its whole process; undo it.
        _restore_driver_constants(self._driver_defaults)
        draw = seed if seed is not None else int(self.np_random.integers(2**31))
        self.upstream.action_space.seed(draw)
        self.upstream.reset(seed=draw)
        hasten(self.upstream.road)
        self._tick, self._offroad = 0, False
        route = route_ahead(self.upstream.vehicle, self.scenario.destination)
        self.route = route
        self._raster = Raster(self.upstream.road.network, route if route[1:] else [])
        return self._frame(), self._info(ended=False)

    def step(self, action: np.ndarray) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        """Apply one command (2,); returns upstream's reward and flags."""
        span = SPEC.action_high - SPEC.action_low
        normalised = 2 * (np.asarray(action, np.float64) - SPEC.action_low) / span - 1
        _, reward, terminated, truncated, _ = self.upstream.step(normalised)
        self._tick += 1
        self._offroad |= not self.upstream.vehicle.on_road
        info = self._info(ended=terminated or truncated)
        return self._frame(), float(reward), bool(terminated), bool(truncated), info

    def save(self) -> Any:
        """Return the present state; the road network, which never changes, is shared."""
        return self._copy((self.upstream, self._tick, self._offroad))

    def restore(self, saved: Any) -> None:
        """Be again as when `saved` was made, in the same episode."""
        self.upstream, self._tick, self._offroad = self._copy(saved)

    def _copy(self, state: Any) -> Any:
        network = self.upstream.road.network
        return copy.deepcopy(state, {id(network): network})

    def measured(self) -> tuple[np.ndarray, np.ndarray]:
        """State (S,) and scene rows as in a frame, without the picture."""
        return self._state(), object_rows(self.upstream.vehicle, self._seen() or [])

    def close(self) -> None:
        """Close upstream's environment."""
        self.upstream.close()

    def _frame(self) -> Frame:
        things = self._seen()
        if things is None:
            image = np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8)
        else:
            image = self._raster.draw(self.upstream.vehicle, things)
        scene = object_rows(self.upstream.vehicle, things or [])
        return {"images": {"topdown": image}, "state": self._state(), "scene": scene}

    def _seen(self) -> list[Any] | None:
        """What the sensors see; None while they are out."""
        if getattr(self.upstream, "blind", False):
            return None
        return visible(self.upstream.vehicle, self.upstream.road)

    def _state(self) -> np.ndarray:
        ego, network = self.upstream.vehicle, self.upstream.road.network
        _, offset = ego.lane.local_coordinates(ego.position)
        start, end, index = ego.lane_index
        lanes = len(network.graph[start][end])
        values = [
            ego.speed,
            ego.action["acceleration"],
            ego.action["steering"],
            offset,
            _lane_error(ego),
            float(index > 0),
            float(index < lanes - 1),
            self.scenario.cruise_mps,
        ]
        low = [axis.low for axis in SPEC.state]
        high = [axis.high for axis in SPEC.state]
        return np.clip(values, low, high).astype(np.float32)

    def _info(self, ended: bool) -> dict[str, Any]:
        ego = self.upstream.vehicle
        arrived = not hasattr(self.upstream, "has_arrived") or self.upstream.has_arrived(ego)
        success = ended and not ego.crashed and not self._offroad and arrived
        return {
            "success": bool(success),
            "collision": bool(ego.crashed),
            "image_ticks": {"topdown": self._tick},
            "metrics": self._metrics(),
        }

    def _metrics(self) -> dict[str, float]:
        """What the closed-loop score is made of, at this tick."""
        ego, road = self.upstream.vehicle, self.upstream.road
        objects = object_rows(ego, visible(ego, road))
        closest = time_to_collision_s(objects, SPEC.scene_fields, float(ego.speed))
        return {
            "speed_mps": float(ego.speed),
            "cruise_mps": self.scenario.cruise_mps,
            "heading_rad": float(ego.heading),
            "lane_error_rad": _lane_error(ego),
            "offroad": float(not ego.on_road),
            "at_fault": float(ego.crashed and _at_fault(ego, road)),
            "ttc_s": min(closest, TIME_TO_COLLISION_LIMIT_S),
            "lost_s": self._time_left_s() if ego.crashed else 0.0,
        }

    def _time_left_s(self) -> float:
        """For how long upstream would let a drive at cruise speed go on."""
        if "duration" in self.upstream.config:
            return max(0.0, float(self.upstream.config["duration"] - self.upstream.time))
        ahead_m = MERGE_END_M - float(self.upstream.vehicle.position[0])
        return max(0.0, ahead_m / self.scenario.cruise_mps)


def _lane_error(ego: Any) -> float:
    """Heading against the lane's [rad], in [-pi, pi)."""
    along, _ = ego.lane.local_coordinates(ego.position)
    return float((ego.heading - ego.lane.heading_at(along) + np.pi) % (2 * np.pi) - np.pi)


def _at_fault(ego: Any, road: Any) -> bool:
    """Whether the ego could have avoided its collision: it stood, or was hit from behind, else."""
    if abs(ego.speed) < STANDING_MPS:
        return False
    hit = [body for body in (*road.vehicles, *road.objects) if body is not ego and body.crashed]
    if not hit:
        return True
    other = min(hit, key=lambda body: float(np.linalg.norm(body.position - ego.position)))
    ahead, left = other.position - ego.position
    cos, sin = np.cos(ego.heading), np.sin(ego.heading)
    behind, aside = -(cos * ahead + sin * left), abs(-sin * ahead + cos * left)
    return not (behind > aside and getattr(other, "speed", 0.0) > ego.speed)


def _make_upstream(name: str, config: dict[str, Any]) -> Any:
    try:
        import highway_env  # noqa: F401  registers the environments
    except ImportError as error:
        raise DualsysError(
            f"driving scenarios need highway-env ({error}); pip install 'dualsys[sim]'"
        ) from error
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # upstream warns about its own newer versions
        where = name if ":" in name else str(gymnasium.spec(name).entry_point)
        upstream = _adapted(gymnasium.envs.registration.load_env_creator(where))
    return upstream(
        config={
            **config,
            "action": {"type": "ContinuousAction"},
            # Upstream's own observation, made and thrown away each tick, would cost more than all
            # the rest (8 ms); the drive is the same without it.
            "observation": {"type": "AttributesObservation", "attributes": []},
            "simulation_frequency": int(CONTROL_RATE_HZ),
            "policy_frequency": int(CONTROL_RATE_HZ),
        }
    )


def _adapted(upstream: Any) -> Any:
    """Let upstream's reward, written for its discrete actions, judge a continuous one.

    merge and roundabout charge for a lane change by the action's number (0 left, 2 right). Under
    continuous control the lane change itself is charged, once, in the tick in which it happens.
    """

    class Adapted(upstream):
        _last_lane: Any = None

        def _rewards(self, action: Any) -> Any:
            lane = self.vehicle.lane_index
            changed = self._last_lane is not None and lane[:2] == self._last_lane[:2]
            shift = lane[2] - self._last_lane[2] if changed else 0
            self._last_lane = lane
            return super()._rewards(1 + int(np.sign(shift)) if self._by_number else action)

        _by_number = upstream.__name__ in ("MergeEnv", "RoundaboutEnv")

        def _reset(self) -> None:
            self._last_lane = None
            super()._reset()

    return Adapted


_CONSTANTS = ("DISTANCE_WANTED", "COMFORT_ACC_MAX", "COMFORT_ACC_MIN", "TIME_WANTED")


def _driver_constants() -> dict[str, float]:
    from highway_env.vehicle.behavior import IDMVehicle

    if not _PRISTINE:
        _PRISTINE.update({name: getattr(IDMVehicle, name) for name in _CONSTANTS})
    return _PRISTINE


_PRISTINE: dict[str, float] = {}


def _restore_driver_constants(defaults: dict[str, float]) -> None:
    from highway_env.vehicle.behavior import IDMVehicle

    for name, value in defaults.items():
        setattr(IDMVehicle, name, value)
