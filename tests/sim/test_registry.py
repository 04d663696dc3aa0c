"""Worlds are found by name, those of other packages included, without a file of ours changing."""

from __future__ import annotations

import pickle  # what multiprocessing carries exceptions with
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from dualsys.errors import UnknownNameError
from sim import registry


def test_an_unknown_scenario_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'driving/mrege'.*'driving/merge'.*racetrack"):
        registry.make("driving/mrege")


def test_every_suite_holds_known_scenarios() -> None:
    for scenarios in registry.SUITES.values():
        assert scenarios
        for scenario in scenarios:
            registry.require(scenario)


class Elsewhere:
    """A world of another package."""


def test_a_world_of_another_package_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("lab/arm", f"{__name__}:Elsewhere", "dualsys.worlds")

    def entry_points(**wanted: str) -> Any:
        return EntryPoints([entry]).select(**wanted)

    monkeypatch.setattr(registry, "entry_points", entry_points)
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    assert "lab/arm" in registry.scenarios()
    assert isinstance(registry.make("lab/arm"), Elsewhere)


def test_the_error_survives_the_way_back_from_a_worker() -> None:
    error = UnknownNameError("engine", "tensort", ["torch", "tensorrt"])
    back = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert str(back) == str(error)
