"""A realtime run: world, system1, system2 and recorder as processes on the monotonic clock.

The parent supervises them until the world has ended, and reads the results off the log, so that
what is reported is what was sent.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from dualsys.clock import MonotonicClock
from dualsys.environment import service_manager
from dualsys.errors import DualsysError
from dualsys.faults.fault import FaultClock, declared
from dualsys.faults.processes import ProcessFaults
from dualsys.runtime import assembly, link, planners, served
from dualsys.runtime.drivers import prepare
from dualsys.runtime.latency import Trace
from dualsys.runtime.log import parts_of, read_log
from dualsys.runtime.nodes.common import Run
from dualsys.runtime.recorded_run import RecordedRun
from dualsys.runtime.recording import RecorderConfig
from dualsys.runtime.results import JobResult, git_state, machine, summarise
from dualsys.spec import WorldSpec
from dualsys.supervisor.notify import Notifier
from dualsys.supervisor.supervisor import Supervisor
from dualsys.supervisor.table import of_config

ROLES = ("world", "system1", "system2", "recorder")
Started = Callable[[dict[str, subprocess.Popen[bytes]], Path], None]


def realtime(
    config: dict[str, Any],
    scenario: str,
    seeds: list[int],
    started: Started = lambda processes, folder: None,
    lives: Callable[[Any], None] = lambda health: None,
) -> dict[str, Any]:
    """Run one scenario on the wall clock; writes results.json, log.mcap and latency.json.

    `started` is told the processes and the folder of their sockets (a test may strike one),
    `lives` every sign of life of a process.
    Raises `DualsysError` when the world or System 1 fails; what was recorded until then stays.
    """
    from sim import registry

    if config["system1"]["driver"] in registry.PEERS:
        raise DualsysError("a peer reads the simulator, and drives in lockstep only")
    if config["trigger"]["name"] == "oracle":
        assembly.make_trigger(config, registry.spec_of(scenario))  # says why not, and what else
    table, faults = of_config(config["supervisor"]), declared(config)
    rows = table.wanted(planner=config["system2"]["name"] not in ("none", served.NAME))
    out, git = Path(config["out"]), git_state()
    out.mkdir(parents=True, exist_ok=True)
    plant = registry.make(scenario)
    spec: WorldSpec = plant.world_spec
    plans = dict(plant.plan_hints)
    plant.close()
    RecorderConfig(**config["recorder"]).check()
    if config["system2"]["name"] == "own":
        planners.planner_plugin(config["system2"]["planner"])
    prepare(config, spec)  # System 1's process opens engines and builds none
    session = int.from_bytes(os.urandom(8), "little") >> 11
    duration = config["runtime"]["duration_s"]
    run = Run(config, scenario, seeds, session, spec, plans, duration, watchers=1)
    folder = Path(tempfile.mkdtemp(prefix="dualsys-"))  # private (0700), short for socket paths
    try:
        planner = _called(run, folder)
        (folder / "run.json").write_bytes(msgspec.json.encode(run))
        strikes, since = ProcessFaults(faults), FaultClock(folder, MonotonicClock())
        supervisor = Supervisor(
            table,
            rows,
            folder,
            MonotonicClock(),
            lambda: strikes.due(since.since_s()),
            lives,
            Notifier(*service_manager()),
        )
        for part in parts_of(out / "log.mcap"):  # of an earlier run into the same folder
            part.unlink()
        supervisor.run(started)
        counts = {role: _counts(folder, role) for role in ROLES}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return _report(config, run, counts, supervisor.report, out, git, planner)


def _called(run: Run, folder: Path) -> dict[str, str]:
    """Check the link; what a System 2 elsewhere says of itself, {} for one here."""
    if not served.is_served(run.config):
        link.check(run.config["link"], folder)
        return {}
    served.check(run.config)
    return served.call_ahead(run, MonotonicClock())


def _counts(folder: Path, role: str) -> dict[str, Any]:
    path = folder / f"{role}.json"
    # A node that was killed leaves nothing; that is no reason to lose the run.
    return msgspec.json.decode(path.read_bytes()) if path.is_file() else {}


def _report(
    config: dict[str, Any],
    run: Run,
    counts: dict[str, dict[str, Any]],
    processes: dict[str, dict[str, Any]],
    out: Path,
    git: dict[str, Any],
    planner: dict[str, str],
) -> dict[str, Any]:
    log = out / "log.mcap"
    recorded = RecordedRun(run.seeds, run.spec)
    recorded.read((message for _, message in read_log(log)), counts["system1"].get("seams", {}))
    if not recorded.records:
        raise DualsysError(f"the run ended before its first tick was recorded in {log}")
    stages = {
        "system1": recorded.act_ns,
        "system1_pass": recorded.pass_ns,
        "system2": recorded.think_ns,
    }
    drops = {
        f"{name}_{reason}": count
        for role, key, name in (
            ("world", "drops", "action"),
            ("system1", "drops", "guidance"),
            ("system1", "refused", "not_used"),
            ("system1", "link_drops", "request"),
            ("system1", "observation_drops", "observation"),
            ("system1", "unfit", "observation"),
            ("system2", "drops", "server"),
            ("system2", "faults", "planner"),
        )
        for reason, count in counts[role].get(key, {}).items()
        if count
    }
    rows = [
        {"scenario": run.scenario, "epoch": epoch, **record.row}
        for epoch, record in recorded.records.items()
    ]
    shield = counts["world"].get("shield", {})
    engine, planner_engine = (counts[role].get("engine", {}) for role in ("system1", "system2"))
    result = JobResult(
        run.scenario,
        rows,
        recorded.guidance_ages,
        recorded.observation_ages_ns,
        stages,
        drops,
        shield,
        run.spec.period_ns,
        engine,
        planner_engine,
        dict(recorded.codes),
    )
    results = summarise(config, [run.scenario], [result], git)
    if served.is_served(config):
        results["link"] = served.report(counts["system1"], planner)
    results["guidance"]["silent_for_s"] = recorded.silence_s
    for role, told in processes.items():
        told["rights"] = counts[role].get("rights", {}) if role in counts else {}
    results["processes"] = processes
    results["recording"] = counts["recorder"].get("recording", {})
    results["ticks"] = {k: v for k, v in counts["world"].items() if k not in ("shield", "drops")}
    for name, content in (
        ("latency.json", Trace(1, recorded.answer_times_ns, str(machine()["processor"]))),
        ("results.json", results),
    ):
        partial = out / f"{name}.partial"
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))
        partial.replace(out / name)
    return results
