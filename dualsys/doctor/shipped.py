"""What is shipped: weights that fit their worlds, and engines that agree with torch here."""

from __future__ import annotations

from pathlib import Path

import dualsys
from dualsys.doctor.finding import Finding
from dualsys.errors import DualsysError

WORLDS = {"driving": "driving/merge", "manipulation": "manipulation/push"}
"""A world that each shipped System 1, and the planner beside it, is for."""

WEIGHTS = Path(dualsys.__file__).parent / "weights"


def weights(folder: Path = WEIGHTS) -> list[Finding]:
    """Whether every shipped checkpoint can be read and is of its world's specification."""
    return [
        _read(f"weights, {name}", folder / name, world, kind)
        for domain, world in WORLDS.items()
        for name, kind in ((domain, "system1"), (f"{domain}-planner", "system2"))
    ]


def _read(what: str, folder: Path, world: str, kind: str) -> Finding:
    from sim import registry

    remedy = "reinstall dualsys of one version"
    try:
        spec = registry.spec_of(world)
        if kind == "system1":
            from dualsys.system1 import checkpoint

            checkpoint.load(folder, spec)
        else:
            from dualsys.system2 import checkpoint as planners

            planners.load(folder, spec)
    except (DualsysError, ImportError, OSError, RuntimeError) as error:
        return Finding(what, "bad", str(error), remedy)
    return Finding(what, "good", f"fit {world}")


def engines() -> list[Finding]:
    """Every engine, opened on the shipped driving policy and compared with torch."""
    from dualsys.runtime.engines import prepared_system1
    from kernels import parity
    from kernels.choose import opened
    from kernels.registry import ENGINES
    from sim import registry

    prepared = prepared_system1(WEIGHTS / "driving", registry.spec_of(WORLDS["driving"]), 1)
    found = []
    for name in ENGINES:
        what = f"engine {name}"
        try:
            engine = opened(prepared, name, 1, build=True)
            fault = parity.compare(engine, prepared.reference).fault(engine.precision)
        except DualsysError as error:
            reason, _, remedy = str(error).partition("; ")
            found.append(Finding(what, "weak", reason, remedy or "choose another engine"))
            continue
        if fault is None:
            found.append(Finding(what, "good", f"{engine.precision}, agrees with torch"))
        else:
            found.append(Finding(what, "weak", fault, "it is not used; nothing is to be done"))
    return found
