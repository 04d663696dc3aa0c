"""Worlds are found by name, those of other packages included, without a file of ours changing."""

from __future__ import annotations

import pickle  # what multiprocessing carries exceptions with
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from dualsys import plugins
from dualsys.errors import DualsysError, UnknownNameError
from sim import registry
from tests.fakes import PointWorld


def test_an_unknown_scenario_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'driving/mrege'.*'driving/merge'.*racetrack"):
        registry.make("driving/mrege")


def test_every_suite_holds_known_scenarios() -> None:
    for scenarios in registry.SUITES.values():
        assert scenarios
        for scenario in scenarios:
            registry.require(scenario)


class Elsewhere(PointWorld):
    """A world of another package."""


class Unspecified:
    """An environment that somebody forgot to describe."""

    def reset(self) -> None: ...
    def step(self) -> None: ...
    def close(self) -> None: ...


class Moving(PointWorld):
    """A robot."""

    closed = 0

    def stop(self, command: Any) -> None: ...

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Other packages, which offer objects of this file in the group of worlds."""
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))

    def install(**offered: str) -> None:
        entries = [
            EntryPoint(name.replace("_", "/"), f"{__name__}:{what}", plugins.WORLDS)
            for name, what in offered.items()
        ]
        found = EntryPoints(entries)
        monkeypatch.setattr(plugins, "entry_points", lambda **wanted: found.select(**wanted))

    return install


def test_a_world_of_another_package_is_found(installed: Callable[..., None]) -> None:
    installed(lab_arm="Elsewhere")
    assert "lab/arm" in registry.scenarios()
    assert isinstance(registry.make("lab/arm"), Elsewhere)
    assert isinstance(registry.make("lab/arm"), Elsewhere), "once more"


def test_an_environment_without_a_specification_is_told_what_it_lacks(
    installed: Callable[..., None],
) -> None:
    installed(lab_arm="Unspecified")
    with pytest.raises(DualsysError, match=r"Unspecified without world_spec, instruction, plan_hi"):
        registry.make("lab/arm")


def test_a_robot_is_not_run_in_virtual_time_and_is_let_go_of(
    installed: Callable[..., None],
) -> None:
    installed(lab_robot="Moving")
    assert isinstance(registry.make("lab/robot"), Moving)
    with pytest.raises(DualsysError, match=r"moves by itself.*runtime=realtime"):
        registry.make_stepped("lab/robot")
    assert Moving.closed == 1


def test_the_error_survives_the_way_back_from_a_worker() -> None:
    error = UnknownNameError("engine", "tensort", ["torch", "tensorrt"])
    back = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert str(back) == str(error)
