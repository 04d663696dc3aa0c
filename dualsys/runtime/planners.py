"""Who is System 2: a rule, the planner of a checkpoint, a server, or somebody's own class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dualsys.device import device_of
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.plugins import PLANNERS, Plugin, find
from dualsys.runtime.assembly import Config
from dualsys.spec import WorldSpec
from dualsys.system2.planner import Planner
from dualsys.system2.scripted import AnyPlanRule, InstructionRule, Rule, ScriptedPlanner
from dualsys.system2.traffic import TrafficRule

if TYPE_CHECKING:
    from dualsys.system2.checkpoint import Planning
    from dualsys.system2.thinking import ThinkConfig

SYSTEMS2 = (
    "none",
    "scripted",
    "random",
    "foretold",
    "vlm",
    "language",
    "remote",
    "own",
    "openpi",
    "gr00t",
    "served",
)


def make_planner(config: Config, spec: WorldSpec, plans: dict[str, str]) -> Planner | None:
    """System 2, or None; `plans` maps instructions to plans where the world's tasks name them."""
    name = config["system2"]["name"]
    if name == "none":
        return None
    if name == "scripted":
        return ScriptedPlanner(spec, _rule(spec, plans))
    if name == "random":
        return ScriptedPlanner(spec, AnyPlanRule(spec.plans))
    if name == "foretold":
        from dualsys.learning.foretold import foretold_rule

        if not config["system2"]["scores"]:
            raise DualsysError(
                "system2=foretold needs plans that were tried out: give system2.scores=FILE, made "
                "by launch/try_plans.py"
            )
        return ScriptedPlanner(spec, foretold_rule(Path(config["system2"]["scores"]), spec))
    if name == "vlm":
        return _vision_planner(config, spec)
    if name == "remote":
        return _remote_planner(config["system2"], spec)
    if name == "language":
        return _language_planner(config["system2"], spec)
    if name == "own":
        return _own_planner(config["system2"], spec)
    if name in ("openpi", "gr00t"):
        return _peer_planner(config["system2"], spec, plans)
    if name == "served":
        raise DualsysError(
            "system2=served is on another machine and answers on the wall clock only; choose "
            "runtime=realtime, or a planner that runs here"
        )
    raise UnknownNameError("system2", name, SYSTEMS2)


def _vision_planner(config: Config, spec: WorldSpec) -> Planner:
    from dualsys.runtime.planner_engines import with_engines
    from dualsys.system2.vision import VisionPlanner

    system2, opset = config["system2"], config["engine"]["opset"]
    planning, engine = with_engines(system2, load_planning(system2, spec), spec, opset)
    return VisionPlanner(spec, planning, _thinking(system2), engine)


def _remote_planner(system2: Config, spec: WorldSpec) -> Planner:
    from dualsys.environment import secret
    from dualsys.system2.endpoint import ChatEndpoint, EndpointConfig
    from dualsys.system2.remote import RemotePlanner

    where = EndpointConfig(**{k: system2[k] for k in EndpointConfig.__struct_fields__})
    endpoint = ChatEndpoint(where, secret(system2["key_variable"]))
    local = load_planning(system2, spec) if system2["checkpoint"] else None
    return RemotePlanner(spec, endpoint, local, _thinking(system2))


def _language_planner(system2: Config, spec: WorldSpec) -> Planner:
    import torch

    from dualsys.system2.language import LanguageModel
    from dualsys.system2.remote import RemotePlanner
    from dualsys.system2.written import LocalEndpoint

    if not system2["checkpoint"]:
        raise DualsysError(
            "system2=language needs system2.checkpoint=DIR, a local folder that transformers opens "
            "as an image-text model"
        )
    torch.set_num_threads(system2["threads"])
    language = LanguageModel.load(Path(system2["checkpoint"]), device_of(system2["device"]))
    return RemotePlanner(spec, LocalEndpoint(language), None, _thinking(system2))


def _rule(spec: WorldSpec, plans: dict[str, str]) -> Rule:
    return InstructionRule(plans) if plans else TrafficRule(spec)


def _peer_planner(system2: Config, spec: WorldSpec, plans: dict[str, str]) -> Planner:
    from dualsys.interop.peer_planner import PeerPlanner, peer_of

    judge = load_planning(system2, spec) if system2["checkpoint"] else _rule(spec, plans)
    peer = peer_of(system2, spec)
    return PeerPlanner(spec, peer, system2["name"], judge, _thinking(system2))


def planner_plugin(planner: str) -> Plugin:
    """The own class of `system2.planner`. Raises `UnknownNameError` that lists the names."""
    return find(PLANNERS, "planner (system2.planner)", planner)


def _own_planner(system2: Config, spec: WorldSpec) -> Planner:
    from dualsys.system2.foreign import ForeignPlanner

    planner, checkpoint = system2["planner"], system2["checkpoint"]
    plugin = planner_plugin(planner)
    given = spec, Path(checkpoint) if checkpoint not in ("", "auto") else None
    return ForeignPlanner(spec, plugin.made(f"planner {planner}", *given), planner, plugin.source)


def _thinking(system2: Config) -> ThinkConfig:
    from dualsys.system2.thinking import ThinkConfig

    return ThinkConfig(**{k: system2[k] for k in ThinkConfig.__struct_fields__})


def planner_folder(system2: Config, spec: WorldSpec) -> Path:
    """The planner named by the configuration, or the shipped one of the world's domain."""
    if system2["checkpoint"] != "auto":
        return Path(system2["checkpoint"])
    return Path(__file__).parent.parent / "weights" / f"{spec.domain}-planner"


def load_planning(system2: Config, spec: WorldSpec) -> Planning:
    """The checkpoint of a planner that runs here, read and proposed with torch."""
    import torch

    from dualsys.system2 import checkpoint

    torch.set_num_threads(system2["threads"])
    folder = planner_folder(system2, spec)
    return checkpoint.load(folder, spec, device_of(system2["device"]))
