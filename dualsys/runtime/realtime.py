"""A realtime run: world, system1, system2 and recorder as processes on the monotonic clock.

The parent starts them, waits for the world, ends the rest in order and reads the results off the
log, so that what is reported is what was sent.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from dualsys.errors import DualsysError
from dualsys.messages import Action, Command, Guidance, Health, Outcome, PlanRequest
from dualsys.runtime import assembly
from dualsys.runtime.engines import make_engine
from dualsys.runtime.episode import EpisodeRecord
from dualsys.runtime.latency import Trace
from dualsys.runtime.log import read_log
from dualsys.runtime.nodes.common import Run
from dualsys.runtime.results import JobResult, git_state, machine, summarise
from dualsys.spec import WorldSpec
from dualsys.system2.coding import name_of

STOP_PATIENCE_S = 5.0
Started = Callable[[dict[str, subprocess.Popen[bytes]], Path], None]


def realtime(
    config: dict[str, Any],
    scenario: str,
    seeds: list[int],
    started: Started = lambda processes, folder: None,
) -> dict[str, Any]:
    """Run one scenario on the wall clock; writes results.json, log.mcap and latency.json.

    `started` is told the processes and the folder of their sockets (a test may strike one).
    Raises `DualsysError` when the world or System 1 fails; what was recorded until then stays.
    """
    from sim import registry

    if config["system1"]["driver"] != "network":
        raise DualsysError("a peer reads the simulator, and drives in lockstep only")
    if config["trigger"]["name"] == "oracle":
        assembly.make_trigger(config, registry.spec_of(scenario))  # says why not, and what else
    out, git = Path(config["out"]), git_state()
    out.mkdir(parents=True, exist_ok=True)
    plant = registry.make(scenario)
    spec: WorldSpec = plant.world_spec
    plans = dict(plant.plan_hints)
    plant.close()
    make_engine(config, spec)  # System 1's process opens engines and builds none
    session = int.from_bytes(os.urandom(8), "little") >> 11
    duration = config["runtime"]["duration_s"]
    run = Run(config, scenario, seeds, session, spec, plans, duration)
    folder = Path(tempfile.mkdtemp(prefix="dualsys-"))  # private (0700), short for socket paths
    try:
        (folder / "run.json").write_bytes(msgspec.json.encode(run))
        _supervise(folder, config["system2"]["name"] != "none", started)
        counts = {role: _counts(folder, role) for role in ("world", "system1", "system2")}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _report(config, run, counts, out, git)


def _supervise(
    folder: Path,
    with_system2: bool,
    started: Started,
) -> None:
    roles = ["recorder", *(["system2"] if with_system2 else []), "system1", "world"]
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for role in roles:
            command = [sys.executable, "-m", "dualsys.runtime.nodes", role, str(folder)]
            processes[role] = subprocess.Popen(command)
        started(processes, folder)
        while processes["world"].poll() is None:
            if processes["system1"].poll() is not None:
                raise DualsysError("System 1 ended during the run; its message stands above")
            time.sleep(0.05)
        if processes["world"].returncode != 0:
            raise DualsysError("the world ended with an error; its message stands above")
    finally:
        # The recorder last, so that it holds what the others sent at the end.
        for role in reversed(roles):
            if role in processes:
                _end(processes[role])


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _counts(folder: Path, role: str) -> dict[str, Any]:
    path = folder / f"{role}.json"
    # A node that was killed leaves nothing; that is no reason to lose the run.
    return msgspec.json.decode(path.read_bytes()) if path.is_file() else {}


def _report(
    config: dict[str, Any],
    run: Run,
    counts: dict[str, dict[str, Any]],
    out: Path,
    git: dict[str, Any],
) -> dict[str, Any]:
    records, trace, guidance_ages, silence_s, codes = _read(out / "log.mcap", run, counts)
    if not records:
        raise DualsysError(f"the run ended before its first tick was recorded in {out}/log.mcap")
    ages = [age for record in records.values() for age in record.observation_age_ns]
    stages = {
        "system1": counts["system1"].get("act_ns", []),
        "system1_pass": counts["system1"].get("pass_ns", []),
        "system2": counts["system2"].get("think_ns", []),
    }
    drops = {
        f"{name}_{reason}": count
        for role, key, name in (
            ("world", "drops", "action"),
            ("system1", "drops", "guidance"),
            ("system1", "refused", "not_used"),
            ("system1", "link_drops", "request"),
            ("system1", "observation_drops", "observation"),
            ("system2", "drops", "server"),
            ("system2", "faults", "planner"),
        )
        for reason, count in counts[role].get(key, {}).items()
    }
    rows = [
        {"scenario": run.scenario, "epoch": epoch, **record.row}
        for epoch, record in records.items()
    ]
    shield = counts["world"].get("shield", {})
    engine, planner_engine = (counts[role].get("engine", {}) for role in ("system1", "system2"))
    result = JobResult(
        run.scenario,
        rows,
        guidance_ages,
        ages,
        stages,
        drops,
        shield,
        run.spec.period_ns,
        engine,
        planner_engine,
        dict(codes),
    )
    results = summarise(config, [run.scenario], [result], git)
    results["guidance"]["silent_for_s"] = silence_s
    results["ticks"] = {k: v for k, v in counts["world"].items() if k not in ("shield", "drops")}
    for name, content in (
        ("latency.json", Trace(1, trace, str(machine()["processor"]))),
        ("results.json", results),
    ):
        partial = out / f"{name}.partial"
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))
        partial.replace(out / name)
    return results


def _read(
    log: Path, run: Run, counts: dict[str, dict[str, Any]]
) -> tuple[dict[int, EpisodeRecord], list[list[int]], list[int], float | None, Counter[str]]:
    """Episode records, answer times [ns] of each thought, guidance ages [ticks], final silence [s].

    Last, how often each plan and code was sent. System 2's silence lasts from its last answer to
    the last command; None if it never spoke. All of it comes from the log.
    """
    records: dict[int, EpisodeRecord] = {}
    commands: dict[tuple[int, int], Command] = {}
    ages: dict[tuple[int, int], int] = {}
    asked: dict[tuple[int, int], int] = {}
    told: list[Guidance] = []
    calls: dict[int, int] = {}
    codes: Counter[str] = Counter()
    spoke_ns = last_ns = -1
    ready_ns: int | None = None
    for _, message in read_log(log):
        stamp = message.stamp
        if isinstance(message, Command):
            commands[stamp.epoch, stamp.tick] = message
            last_ns = stamp.time_ns
        elif isinstance(message, Action):
            ages[stamp.epoch, stamp.tick] = message.guidance_age_ticks
        elif isinstance(message, PlanRequest):
            asked[stamp.epoch, message.request_id] = stamp.time_ns
            calls[stamp.epoch] = calls.get(stamp.epoch, 0) + 1
        elif isinstance(message, Guidance):
            told.append(message)
        elif isinstance(message, Health) and message.process == "system2" and ready_ns is None:
            ready_ns = stamp.time_ns
        elif isinstance(message, Outcome) and (stamp.epoch, stamp.tick) in commands:
            if stamp.epoch not in records:
                records[stamp.epoch] = EpisodeRecord(run.seeds[stamp.epoch], run.spec)
            age = ages.get((stamp.epoch, stamp.tick - 1), -1)
            records[stamp.epoch].tick(commands[stamp.epoch, stamp.tick], message, age)
    for guidance in told:
        spoke_ns = guidance.stamp.time_ns
        codes[name_of(guidance.plan, guidance.z)] += 1
    latencies = _latencies(asked, told, ready_ns)
    seams, passes = counts["system1"].get("seams", {}), counts["system1"].get("passes", {})
    thinking: Counter[int] = Counter()
    for (epoch, _), times in latencies.items():
        thinking[epoch] += times[-1]
    for epoch, record in records.items():
        seam, count = seams.get(str(epoch), 0.0), passes.get(str(epoch), 0)
        record.finish(seam, calls.get(epoch, 0), count, thinking[epoch])
    guidance_ages = [age for record in records.values() for age in record.plan_age_ticks]
    silence_s = (last_ns - spoke_ns) / 1e9 if spoke_ns >= 0 else None
    return records, list(latencies.values()), guidance_ages, silence_s, codes


def _latencies(
    asked: dict[tuple[int, int], int], told: list[Guidance], ready_ns: int | None
) -> dict[tuple[int, int], list[int]]:
    """Times [ns] from each request (epoch, identifier) to its answers.

    Left out: what was asked before System 2's first sign of life (`ready_ns`), for it was still
    loading its model, and that wait is no latency of a thought.
    """
    latencies: dict[tuple[int, int], list[int]] = {}
    for guidance in told:
        request = (guidance.stamp.epoch, guidance.request_id)
        since = asked.get(request)  # None: the log has lost it
        if since is not None and ready_ns is not None and since >= ready_ns:
            latencies.setdefault(request, []).append(guidance.stamp.time_ns - since)
    return latencies
