"""What stands in the files that a configuration names, by their hash.

Weights, gate, calibration, tried plans and latency trace: with other ones there are other results.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dualsys.errors import DualsysError
from dualsys.runtime.assembly import checkpoint_folder, gate_folder
from dualsys.runtime.drivers import code_of
from dualsys.runtime.planners import planner_folder, planner_plugin
from dualsys.spec import WorldSpec
from dualsys.system1.depth import EXITS, OWN

Config = dict[str, Any]


def contents(configs: Iterable[Config], spec: WorldSpec) -> dict[str, str]:
    """Of every file or folder that is used, the words that name it -> hash of what stands there.

    Raises `DualsysError` where there is nothing.
    """
    named = {word: path for config in configs for word, path in _named(config, spec)}
    return {word: digest(word, path) for word, path in sorted(named.items())}


def _named(config: Config, spec: WorldSpec) -> Iterator[tuple[str, Path]]:
    system1, system2, latency = config["system1"], config["system2"], config["latency"]
    trigger, asked = config["trigger"], system2["name"] != "none"
    if system1["driver"] in ("network", "onnx", "sac"):
        word = f"system1.driver={system1['driver']} system1.checkpoint={system1['checkpoint']}"
        yield word, checkpoint_folder(config, spec)
        if system1["depth"] != OWN and system1["depth_layers"]:
            yield f"early exits of {word}", checkpoint_folder(config, spec) / EXITS
    if (file := code_of(system1["driver"])) is not None:
        yield f"code of system1.driver={system1['driver']}", file
        if system1["checkpoint"] != "auto":
            yield f"system1.checkpoint={system1['checkpoint']}", Path(system1["checkpoint"])
    local = system2["checkpoint"] if system2["name"] in ("remote", "own") else True
    if system2["name"] in ("vlm", "language", "remote", "own") and local:
        yield f"system2.checkpoint={system2['checkpoint']}", planner_folder(system2, spec)
    if system2["name"] == "own" and (code := planner_plugin(system2["planner"]).file):
        yield f"code of system2.planner={system2['planner']}", Path(code)
    if system2["name"] == "foretold" and system2["scores"]:
        yield f"system2.scores={system2['scores']}", Path(system2["scores"])
    if trigger["name"] == "learned" and asked:
        yield f"trigger.gate={trigger['gate']}", gate_folder(config, spec)
    if trigger["name"] == "uncertainty" and trigger["calibration"] and asked:
        yield f"trigger.calibration={trigger['calibration']}", Path(trigger["calibration"])
    if latency["name"] == "trace":
        yield f"latency.trace={latency['trace']}", Path(latency["trace"])


def digest(word: str, path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files of a folder.

    But for early exits, which stand for themselves, and for the requests that engines are compared
    on: without either all is as it was.
    """
    from dualsys.system2.checkpoint import RECORDED  # torch comes with it

    if not path.exists():
        raise DualsysError(f"{word}: there is nothing at {path}; give a file or folder that exists")
    if path.is_file():
        return _file_digest(path)
    total = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        if file.stem == Path(EXITS).stem or file.name == RECORDED:
            continue
        total.update(f"{file.relative_to(path).as_posix()} {_file_digest(file)}\n".encode())
    return total.hexdigest()


def _file_digest(file: Path) -> str:
    total = hashlib.sha256()
    with file.open("rb") as opened:
        while part := opened.read(1 << 24):
            total.update(part)
    return total.hexdigest()
