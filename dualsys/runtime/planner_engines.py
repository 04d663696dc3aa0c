"""From a configuration to the engines that run System 2's parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from dualsys.environment import cache_folder
from dualsys.errors import DualsysError
from dualsys.messages import PlanRequest
from dualsys.runtime.assembly import Config
from dualsys.runtime.log import read_log
from dualsys.runtime.planners import planner_folder
from dualsys.spec import WorldSpec
from kernels.cache import Prepared
from kernels.choose import choose, require_engines
from kernels.export import OPSET

if TYPE_CHECKING:
    from dualsys.system2.checkpoint import Planning

REFERENCE = "torch"


def with_engines(
    system2: Config, planning: Planning, spec: WorldSpec, opset: int = OPSET
) -> tuple[Planning, dict[str, Any]]:
    """The planner with the first kind of engine that is usable for all its parts, and which it is.

    Where torch comes first, or is what remains, the planner stays as it is. Quick engines are built
    here where they lack: no plant waits for System 2. Raises `DualsysError` where none is usable.
    """
    refused: dict[str, str] = {}
    require_engines(system2["engine"])
    for name in system2["engine"]:
        if name == REFERENCE:
            return planning, {"used": name, "refused": refused}
        try:
            found = {
                part: choose([name], prepared, system2["threads"], build=True)
                for part, prepared in prepared_system2(system2, planning, spec, opset).items()
            }
        except DualsysError as error:
            refused[name] = str(error)
            continue
        from dualsys.system2.compiled import CompiledPlanner

        compiled = CompiledPlanner(planning, {p: choice.engine for p, choice in found.items()})
        told = {"used": name, "refused": refused, "checked_on": found["reading"].checked}
        return msgspec.structs.replace(planning, compiled=compiled), told
    raise DualsysError(
        f"no engine of {list(system2['engine'])} can run System 2: {refused}; add torch to the list"
    )


def prepared_system2(
    system2: Config, planning: Planning, spec: WorldSpec, opset: int = OPSET
) -> dict[str, Prepared]:
    """What engines of a planner's parts are made of, and those that were built, part by part.

    Raises `DualsysError` for a model of a family that is not exported.
    """
    from dualsys.system2.compiled import networks_of

    networks = networks_of(
        planner_folder(system2, spec),
        planning,
        spec,
        system2["candidates"],
        lambda log: [m for _, m in read_log(log) if isinstance(m, PlanRequest)],
    )
    return {name: Prepared(cache_folder() / "engines", n, opset) for name, n in networks.items()}
