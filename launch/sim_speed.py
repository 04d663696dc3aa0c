"""How much faster is driving simulated than upstream does it? `python launch/sim_speed.py`.

Drives every scenario of `suite=driving` and `suite=longtail` twice in turns, on highway-env's own
road and on the one with cheaper neighbour and collision searches (sim/driving/fast_road.py), and
compares what came of it to the last bit. The times are medians of one run, beside each other.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from rich.table import Table

from dualsys.config import parse_seeds
from dualsys.console import progress_bar, table_console
from dualsys.environment import set_headless_defaults
from dualsys.errors import DualsysError
from dualsys.runtime.results import git_state, machine, versions
from sim import registry
from sim.driving import fast_road


class Drive(msgspec.Struct):
    """What a drive was, and what a tick of it took [ms]: physics alone, and with the picture."""

    seen: list[bytes]
    physics_ms: list[float]
    tick_ms: list[float]
    vehicles: int


def drive(scenario: str, seed: int, ticks: int) -> Drive:
    """Drive by the rules, on the road that `fast_road.FAST` says."""
    world = registry.make(scenario)
    expert = registry.expert_for(world)
    frame, _ = world.reset(seed=seed)
    expert.reset()
    upstream_step, spent = world.upstream.step, [0.0]

    def timed(action: Any) -> Any:
        begun = time.perf_counter()
        result = upstream_step(action)
        spent[0] = time.perf_counter() - begun
        return result

    world.upstream.step = timed
    found = Drive([frame["scene"].tobytes()], [], [], len(world.upstream.road.vehicles))
    for _ in range(ticks):
        command = expert.act()[0]
        begun = time.perf_counter()
        frame, reward, terminated, truncated, _ = world.step(command)
        found.tick_ms.append((time.perf_counter() - begun) * 1e3)
        found.physics_ms.append(spent[0] * 1e3)
        found.seen += [frame["scene"].tobytes(), frame["state"].tobytes(), repr(reward).encode()]
        if terminated or truncated:
            break
    world.close()
    return found


def compared(scenario: str, seeds: list[int], ticks: int) -> dict[str, Any]:
    """Both roads in one scenario, seed by seed in turns."""
    fast, slow = [], []
    for seed in seeds:
        fast.append(drive(scenario, seed, ticks))
        with mock.patch.dict(fast_road.FAST, clear=True):
            slow.append(drive(scenario, seed, ticks))
    told: dict[str, Any] = {
        "ticks": sum(len(one.tick_ms) for one in fast),
        "vehicles": statistics.mean(one.vehicles for one in fast),
        "equal": all(one.seen == other.seen for one, other in zip(fast, slow, strict=True)),
    }
    for what in ("physics_ms", "tick_ms"):
        ours, theirs = (
            statistics.median(ms for one in drives for ms in getattr(one, what))
            for drives in (fast, slow)
        )
        told[what] = {"here": ours, "upstream": theirs, "times_faster": theirs / ours}
    return told


def show(found: dict[str, dict[str, Any]]) -> None:
    """Print a row per scenario."""
    table = Table(title="one tick of a drive, medians in ms")
    for name in ("scenario", "vehicles", "ticks", "physics: upstream", "here", "times faster"):
        table.add_column(name, justify="left" if name == "scenario" else "right")
    table.add_column("with the picture", justify="right")
    table.add_column("equal")
    for name, row in found.items():
        physics = row["physics_ms"]
        numbers = (physics["upstream"], physics["here"], physics["times_faster"])
        cells = [f"{number:.2f}" for number in numbers] + [f"{row['tick_ms']['here']:.2f}"]
        equal = "yes" if row["equal"] else "NO"
        table.add_row(name, f"{row['vehicles']:.0f}", str(row["ticks"]), *cells, equal)
    table_console().print(table)


def main() -> int:
    """Drive, print the table, write the file; 1 where a drive was another one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:3")
    parser.add_argument("--ticks", type=int, default=200, help="at most, of each drive")
    parser.add_argument("--suites", nargs="+", default=["driving", "longtail"])
    parser.add_argument("--out", type=Path, default=Path("runs/sim_speed.json"))
    options = parser.parse_args()
    set_headless_defaults()
    git = git_state()
    try:
        scenarios = [name for suite in options.suites for name in registry.suite(suite)]
        seeds = parse_seeds(options.seeds)
        found = {}
        with progress_bar() as bar:
            task = bar.add_task("scenarios", total=len(scenarios), note="")
            for name in scenarios:
                found[name] = compared(name, seeds, options.ticks)
                bar.update(task, advance=1)
    except DualsysError as error:
        parser.exit(2, f"sim_speed: {error}\n")
    report = {"seeds": seeds, "ticks": options.ticks, "scenarios": found}
    report |= {"git": git, "versions": versions(), "machine": machine()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1))
    show(found)
    return 0 if all(row["equal"] for row in found.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
