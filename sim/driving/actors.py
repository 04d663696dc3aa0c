"""Scripted road users of the long-tail scenarios, as highway-env vehicles and objects."""

from __future__ import annotations

import math
from typing import Any

from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.controller import ControlledVehicle
from highway_env.vehicle.objects import Obstacle


class Truck(IDMVehicle):
    """Long, wide, and nothing is seen through it."""

    LENGTH, WIDTH = 12.0, 2.5
    occludes = True


class Scripted(ControlledVehicle):
    """Steers by upstream's controller; `direct` of its scenario sets target lane and speed.

    `acceleration` [m/s2] overrides the speed controller while it is not None.
    """

    acceleration: float | None = None

    def act(self, action: Any = None) -> None:
        """Follow the target lane; speed as told."""
        super().act(action)
        if self.acceleration is not None:
            wanted = self.acceleration
            if wanted < 0:  # to a standstill, not backwards
                wanted = max(wanted, -max(self.speed, 0.0) * 5.0)
            self.action["acceleration"] = wanted


class Headlong(ControlledVehicle):
    """Keeps heading and speed, whatever stands in its way: wrong-way driver, red-light runner."""

    def act(self, action: Any = None) -> None:
        """Do nothing at all."""
        self.action = {"steering": 0.0, "acceleration": 0.0}


class Hurried(IDMVehicle):
    """An emergency vehicle: close behind and weak on the brakes; others have to make room."""

    TIME_WANTED = 0.3
    DISTANCE_WANTED = 2.0 + IDMVehicle.LENGTH
    weakest_brake = 2.0  # [m/s2]

    def act(self, action: Any = None) -> None:
        """As upstream's driver, but never brakes harder than `weakest_brake`."""
        super().act(action)
        self.action["acceleration"] = max(self.action["acceleration"], -self.weakest_brake)


class Pedestrian(Headlong):
    """Crosses at walking speed once it has started."""

    LENGTH, WIDTH = 0.8, 0.8

    def start(self, walk_mps: float, towards_left: bool) -> None:
        """Begin to cross the road."""
        self.heading = -math.pi / 2 if towards_left else math.pi / 2
        self.speed = walk_mps


class Barrier(Obstacle):
    """One element of road works."""

    LENGTH, WIDTH = 1.0, 1.2
