"""highway-env's own driver model in the ego's place: a peer that nobody here wrote.

IDM for the distance (Treiber et al. 2000), MOBIL for the lane (Kesting et al. 2007), as upstream
drives every other vehicle. It sees the simulator's state, not the camera.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sim.driving.spec import SPEC

if TYPE_CHECKING:
    from sim.driving.highway import HighwayWorld


class IdmDriver:
    """Upstream's `IDMVehicle`, asked at every tick what it would do in the ego's place."""

    def __init__(self, world: HighwayWorld) -> None:
        self._world = world
        self._driver: Any = None

    def reset(self) -> None:
        """Take the place of the next episode's ego."""
        self._driver = None

    def act(self, told: int = -1, age_ticks: int = 0) -> tuple[np.ndarray, int]:
        """Return the command [m/s2, rad]; plans are not asked for, and its own is the first."""
        ego = self._world.upstream.vehicle
        road = ego.road
        driver = self._driver = self._driver or self._seated(ego)
        driver.position, driver.heading, driver.speed = ego.position.copy(), ego.heading, ego.speed
        driver.lane_index, driver.lane = ego.lane_index, ego.lane
        driver.timer += 1 / SPEC.control_rate_hz
        # The ego is not to be its own leader.
        others = [vehicle for vehicle in road.vehicles if vehicle is not ego]
        road.vehicles, everyone = others, road.vehicles
        try:
            driver.act()
        finally:
            road.vehicles = everyone
        wanted = [driver.action["acceleration"], driver.action["steering"]]
        command = np.clip(wanted, SPEC.action_low, SPEC.action_high)
        return command.astype(np.float32), 0

    def _seated(self, ego: Any) -> Any:
        from highway_env.vehicle.behavior import IDMVehicle

        driver = IDMVehicle(
            ego.road,
            ego.position.copy(),
            heading=ego.heading,
            speed=ego.speed,
            target_lane_index=ego.lane_index,
            target_speed=self._world.scenario.cruise_mps,
            route=None,
        )
        if self._world.scenario.destination:
            driver.plan_route_to(self._world.scenario.destination)
        return driver
