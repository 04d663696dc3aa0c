"""What is drawn at random in a run belongs to scenario and seed, and to nothing else."""

from __future__ import annotations

from pathlib import Path

from dualsys.runtime.assembly import make_latency, make_trigger, stream
from dualsys.runtime.lockstep import Lockstep
from dualsys.runtime.log import LogWriter, NoLog, read_log
from dualsys.shield.shield import Shield, ShieldConfig
from dualsys.system1.policy import Policy
from dualsys.system1.timing import PolicyConfig
from dualsys.system2.scripted import InstructionRule, ScriptedPlanner
from dualsys.trigger.rules import RandomTrigger
from dualsys.trigger.situation import Situation
from sim.driving.spec import SPEC
from tests.fakes import SPEC as POINT
from tests.fakes import PointEngine, PointWorld
from tests.shield.plants import ladder

ONE, OTHER = "driving/merge", "driving/cut_in"


def test_scenarios_share_no_calls_and_no_latencies(tmp_path: Path) -> None:
    random = {"name": "random", "rate": 0.05, "refractory_s": 0.5, "seed": 0}
    config = {"trigger": random, "system2": {"name": "scripted"}, "latency": {}}
    schedules = []
    for scenario in (ONE, OTHER, ONE):
        trigger = make_trigger(config, SPEC, scenario)
        trigger.reset(7)
        said = [tick for tick in range(300) if trigger.decide(tick, Situation()) is not None]
        schedules.append(said)
    assert schedules[0] == schedules[2]
    assert schedules[0] != schedules[1]
    trace = tmp_path / "trace.json"
    thoughts = ",".join(f"[{n}]" for n in range(1, 98))
    trace.write_text(f'{{"system1_ticks": 1, "system2_ns": [{thoughts}], "machine": ""}}')
    drawing = {"system1_ticks": 1, "system2_median_ms": 100.0, "system2_p99_ms": 300.0, "seed": 0}
    for latency in ({"name": "trace", "trace": str(trace)}, {"name": "distribution", **drawing}):
        times = []
        for scenario in (ONE, OTHER, ONE):
            model = make_latency({**config, "latency": latency}, SPEC, scenario)
            model.reset(7)
            times.append([model.answers_ns(1) for _ in range(3)])
        assert times[0] == times[2]
        assert times[0] != times[1]
    assert stream(0, ONE) == 670909665645588887, "on every machine, in every process"


def test_calls_and_latencies_belong_to_the_seed_whatever_the_epoch(tmp_path: Path) -> None:
    found = []
    for epoch in (0, 5):
        planner = ScriptedPlanner(POINT, InstructionRule({PointWorld.instruction: "go"}))
        policy = Policy(POINT, PointEngine(), RandomTrigger(0.4, 1, 0), PolicyConfig())
        latency = {"system1_ticks": 1, "system2_median_ms": 90.0, "system2_p99_ms": 400.0}
        model = make_latency({"latency": {"name": "distribution", **latency, "seed": 0}}, POINT, "")
        shield = Shield(POINT, ShieldConfig(max_observation_age_s=0.5), ladder())
        runner = Lockstep(PointWorld(), policy, planner, shield, model, session=1)
        runner.run(2, 2, NoLog())
        with LogWriter(tmp_path / f"{epoch}.mcap", {}) as log:
            runner.run(epoch, 3, log)
        stamps = [(topic, m.stamp) for topic, m in read_log(tmp_path / f"{epoch}.mcap")]
        assert {stamp.epoch for _, stamp in stamps} == {epoch}
        times = [(topic, s.tick, s.time_ns) for topic, s in stamps if topic == "guidance"]
        found.append(times)
    assert found[0] == found[1]
    assert len(found[0]) > 2
