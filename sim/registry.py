"""Scenario names -> worlds and experts. Others join through `register` or an entry point.

A package that declares an entry point in the group "dualsys.worlds" (name -> factory) adds its
worlds without any change here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dualsys import plugins
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.spec import WorldSpec
from sim.driving.scenarios import (
    HARD,
    LONG_TAIL,
    SCENARIOS,
    TRAINING_LEVELS,
    UNSEEN,
    scenario_of,
)
from sim.manipulation.disturbances import disturbed_tasks, parse
from sim.manipulation.tasks import TASKS
from sim.world import Demonstrated, Expert, LiveWorld

WORLD = ("world_spec", "instruction", "plan_hints", "reset", "step", "close")
FIRST_TRAINING_SEED = 1_000_000  # below it, seeds belong to evaluation


def _driving(name: str) -> Any:
    from sim.driving import make

    return make(name)


def _manipulation(name: str) -> Any:
    from sim.manipulation import make

    return make(name)


Factory = Callable[[], Any]
_FACTORIES: dict[str, Factory] = {}
SUITES: dict[str, tuple[str, ...]] = {
    "driving": tuple(f"driving/{name}" for name in SCENARIOS),
    "longtail": tuple(f"driving/{name}" for name in LONG_TAIL),
    "longtail_hard": tuple(f"driving/{name}@{HARD}" for name in LONG_TAIL),
    "longtail_seen": tuple(
        f"driving/{name}@{level}"
        for name in LONG_TAIL
        if name not in UNSEEN
        for level in TRAINING_LEVELS
    ),
    "driving_all": (
        *(f"driving/{name}" for name in SCENARIOS),
        *(f"driving/{name}@{HARD}" for name in LONG_TAIL),
    ),
    "mt10": tuple(f"manipulation/{name}" for name in TASKS),
    "disturbed": tuple(f"manipulation/{task}+{kind}" for task, kind in disturbed_tasks()),
}
"""Suite name -> scenarios."""


def register(scenario: str, factory: Factory) -> None:
    """Add a world under `scenario` ("domain/name")."""
    _FACTORIES[scenario] = factory


for _name in (*SCENARIOS, *LONG_TAIL):
    register(f"driving/{_name}", functools.partial(_driving, _name))
for _name in TASKS:
    register(f"manipulation/{_name}", functools.partial(_manipulation, _name))


def scenarios() -> list[str]:
    """Every known scenario, those of installed packages included."""
    return sorted({*_FACTORIES, *plugins.names(plugins.WORLDS)})


def require(scenario: str) -> None:
    """Raise `UnknownNameError`, which lists the valid ones, for a scenario that nobody offers."""
    domain, _, name = scenario.partition("/")
    if domain == "driving" and "@" in name:
        scenario_of(name)
    elif domain == "manipulation" and "+" in name:
        parse(name)
    elif scenario not in scenarios():
        raise UnknownNameError("scenario", scenario, scenarios())


def make(scenario: str) -> Any:
    """Make the world of a scenario. Raises `UnknownNameError` that lists the valid ones."""
    require(scenario)
    domain, _, name = scenario.partition("/")
    if domain == "manipulation" and "+" in name:
        return _manipulation(name)
    if domain == "driving" and "@" in name:
        return _driving(name)
    if scenario not in _FACTORIES:
        return _of_others(scenario)
    return _FACTORIES[scenario]()


def _of_others(scenario: str) -> Any:
    """The world of an installed package. Raises `DualsysError` for what is none."""
    plugin = plugins.find(plugins.WORLDS, "scenario", scenario, _FACTORIES)
    register(scenario, plugin.make)
    world = plugin.made(f"world {scenario}")
    missing = [name for name in WORLD if not hasattr(world, name)]
    if missing or not isinstance(world.world_spec, WorldSpec):
        lacks = f"without {', '.join(missing)}" if missing else "whose world_spec is no WorldSpec"
        raise DualsysError(
            f"the world {scenario} ({plugin.source}) is a {type(world).__name__} {lacks}; a world "
            f"has {', '.join(WORLD)} (docs/bring_your_own_environment.md)"
        )
    return world


def make_stepped(scenario: str) -> Any:
    """As `make`, a world that waits for its steps. Raises `DualsysError` for a robot."""
    world = make(scenario)
    if isinstance(world, LiveWorld):
        world.close()
        raise DualsysError(
            f"{scenario} is a plant that moves by itself, virtual time does not hold it: use "
            "runtime=realtime (docs/bring_your_own_robot.md)"
        )
    return world


def spec_of(scenario: str) -> WorldSpec:
    """What the world of a scenario promises; makes it and closes it."""
    world = make(scenario)
    world.close()
    spec: WorldSpec = world.world_spec
    return spec


def suite(name: str) -> tuple[str, ...]:
    """Scenarios of a suite. Raises `UnknownNameError`."""
    if name not in SUITES:
        raise UnknownNameError("suite", name, SUITES)
    return SUITES[name]


def chosen(scenario: str | None, suite_name: str | None) -> list[str]:
    """The scenarios of a command: the one named, or those of the suite.

    Raises `DualsysError` unless exactly one of the two is given.
    """
    if (scenario is None) == (suite_name is None):
        raise DualsysError(
            "give one of scenario=DOMAIN/NAME and suite=NAME, for example "
            "scenario=driving/merge or suite=mt10"
        )
    if scenario is None:
        return list(suite(str(suite_name)))
    require(scenario)
    return [scenario]


def kind_of(scenario: str) -> str:
    """Whether training may show this kind of rare situation: "seen", "unseen", or "" elsewhere."""
    domain, _, name = scenario.partition("/")
    kind = name.partition("@")[0]
    if domain != "driving" or kind not in LONG_TAIL:
        return ""
    return "unseen" if kind in UNSEEN else "seen"


def require_training(episodes: Iterable[tuple[str, int]]) -> None:
    """Raise `DualsysError` if a (scenario, seed) is kept for evaluation: nothing learns of it."""
    for scenario, seed in episodes:
        if seed < FIRST_TRAINING_SEED:
            raise DualsysError(
                f"seeds below {FIRST_TRAINING_SEED} belong to evaluation, got {seed} of "
                f"{scenario}; train on seeds={FIRST_TRAINING_SEED}:{FIRST_TRAINING_SEED + 100}"
            )
        if kind_of(scenario) == "unseen":
            raise DualsysError(
                f"{scenario} belongs to evaluation: training never sees {', '.join(UNSEEN)}; train "
                "on suite=longtail_seen"
            )


PEERS = ("idm", "sac", "scripted", "expert")


def peer_for(world: Any, name: str, checkpoint: str = "auto") -> Expert:
    """Somebody to compare System 1 with, of `PEERS`.

    "idm" is highway-env's driver model, "sac" a policy of stable-baselines3, "scripted" the task's
    policy of Meta-World, "expert" the demonstrator that System 1 learned from. `checkpoint` is the
    folder of the actor of "sac", "auto" the shipped one.

    Raises `UnknownNameError` for another name, `DualsysError` for one of another domain.
    """
    if name not in PEERS:
        raise UnknownNameError("peer (system1.driver)", name, PEERS)
    wanted = {"idm": "driving", "sac": "driving", "scripted": "manipulation"}.get(name)
    if wanted is not None and world.world_spec.domain != wanted:
        raise DualsysError(
            f"the peer {name!r} is for {wanted}, this world is of {world.world_spec.domain}"
        )
    if name == "idm":
        from sim.experts.idm import IdmDriver

        return IdmDriver(world)
    if name == "sac":
        import dualsys
        from sim.experts.sac import SacDriver

        shipped = Path(dualsys.__file__).parent / "weights" / "driving-sac"
        return SacDriver(world, shipped if checkpoint == "auto" else Path(checkpoint))
    return expert_for(world)


def expert_for(world: Any) -> Expert:
    """The demonstrator of a world: its own, or that of this package's domains.

    Raises `DualsysError` where there is none.
    """
    if isinstance(world, Demonstrated):
        return world.expert()
    if world.world_spec.domain == "driving":
        from sim.experts.driving import DrivingExpert

        return DrivingExpert(world)
    if world.world_spec.domain == "manipulation":
        from sim.experts.manipulation import ManipulationExpert

        return ManipulationExpert(world)
    kind = type(world).__name__
    raise DualsysError(
        f"no expert is known for the domain {world.world_spec.domain!r}; give {kind} a method "
        "expert() (docs/bring_your_own_environment.md), or write demonstrations of your own with "
        "dualsys.learning.shards"
    )
