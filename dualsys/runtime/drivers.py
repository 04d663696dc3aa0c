"""Who is System 1: the shipped network, an ONNX file with a description, or somebody's own class.

`system1.driver` names it. Peers, which read the simulator, stand in `dualsys.runtime.peers`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dualsys.plugins import POLICIES, Plugin, find, names
from dualsys.runtime import assembly
from dualsys.runtime.assembly import Config
from dualsys.runtime.engines import NETWORK, ONNX, make_engine, require_uncertainty
from dualsys.spec import WorldSpec
from dualsys.system1.foreign import ForeignPolicy, reports_uncertainty, require_policy
from dualsys.system1.policy import Policy

ENGINED = (NETWORK, ONNX)


def known() -> list[str]:
    """Every name that `system1.driver` may have, places of code apart."""
    from sim.registry import PEERS

    return sorted({*ENGINED, *PEERS, *names(POLICIES)})


def plugin_of(driver: str) -> Plugin:
    """The own class that a driver names. Raises `UnknownNameError` that lists the names."""
    return find(POLICIES, "policy (system1.driver)", driver, known())


def make_system1(
    config: Config, spec: WorldSpec, build: bool = True, scenario: str = ""
) -> tuple[Policy | ForeignPolicy, dict[str, Any]]:
    """System 1 of a configuration, and what a run's header says of the engine that runs it.

    `build` and `scenario` as in `make_engine` and `make_trigger`. Raises `DualsysError` where it
    can not be made for this world.
    """
    if config["system1"]["driver"] in ENGINED:
        choice = make_engine(config, spec, build)
        rule = assembly.make_trigger(config, spec, scenario)
        return assembly.make_policy(config, spec, choice.engine, rule), choice.told
    return make_foreign(config, spec, scenario)


def prepare(config: Config, spec: WorldSpec) -> None:
    """Have System 1's process find what it needs: engines are built, code is seen to load.

    Somebody's own policy is made in that process alone: it may be large, or hold a device.
    """
    driver = config["system1"]["driver"]
    if driver in ENGINED:
        make_engine(config, spec)
    else:
        plugin_of(driver)


def make_foreign(
    config: Config, spec: WorldSpec, scenario: str = ""
) -> tuple[ForeignPolicy, dict[str, Any]]:
    """Somebody's own policy behind our interface, and whose it is."""
    driver, checkpoint = config["system1"]["driver"], config["system1"]["checkpoint"]
    plugin = plugin_of(driver)
    given = spec, None if checkpoint == "auto" else Path(checkpoint)
    own = plugin.made(f"policy {driver}", *given)
    require_policy(own, f"{driver} ({plugin.source})")
    require_uncertainty(config, driver, reports_uncertainty(own))
    rule = assembly.make_trigger(config, spec, scenario)
    settings = assembly.policy_config(config, spec)
    acceptance = assembly.make_acceptance(config, spec)
    policy = ForeignPolicy(spec, own, f"{driver} ({plugin.source})", rule, settings, acceptance)
    return policy, {"used": driver, "refused": {}, "from": plugin.source}


def code_of(driver: str) -> Path | None:
    """The file of an own class: with other code there are other results. None for our own."""
    from sim.registry import PEERS

    own = driver not in ENGINED and driver not in PEERS
    file = plugin_of(driver).file if own else ""
    return Path(file) if file else None
