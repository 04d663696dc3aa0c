"""The vision-language planner in both runtimes; untrained, so nothing is said about skill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dualsys.bench.evaluate import evaluate
from dualsys.config import load
from dualsys.messages import Action, Guidance, Message, Thought
from dualsys.runtime.log import read_log
from dualsys.runtime.realtime import realtime

SCENARIO = "driving/merge"


def configuration(out: Path, system1: Path, system2: Path, *words: str) -> dict[str, Any]:
    fixed = [f"system1.checkpoint={system1}", "system2=vlm", f"system2.checkpoint={system2}"]
    fixed += ["system2.candidates=5", "system2.send_code=true"]
    return load("eval", [*fixed, f"out={out}", *words])


def check(log: list[Message], least: int) -> None:
    told = [m for m in log if isinstance(m, Guidance)]
    thoughts = [m for m in log if isinstance(m, Thought)]
    assert len(told) == len(thoughts) >= least
    assert {m.request_id for m in told} == {m.request_id for m in thoughts}
    assert any(len(m.candidate) for m in told)
    assert all(m.images["topdown"].shape == (64, 64, 3) for m in thoughts)
    assert any(m.guidance_sequence >= 0 for m in log if isinstance(m, Action))


def test_in_lockstep_equal_runs_write_equal_bytes(
    untrained: Path, planner_folder: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        config = configuration(tmp_path / name, untrained, planner_folder)
        results = evaluate(config, [SCENARIO], [0], lambda _: None)
    assert results["system2"]["engine"] == {"names": ["torch"], "used": "torch", "refused": {}}
    codes = results["codes"]
    assert codes["messages"] >= codes["different"] >= 1
    assert 0 <= codes["code_bits"] <= 16, "eight values of four levels"
    assert codes["bits"] == pytest.approx(codes["plan_bits"] + codes["code_bits"])
    one, two = (tmp_path / name / "log.mcap" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    check([message for _, message in read_log(one)], least=4)


@pytest.mark.slow
def test_on_the_wall_clock_thoughts_are_logged_and_used(
    untrained: Path, planner_folder: Path, tmp_path: Path
) -> None:
    config = configuration(
        tmp_path, untrained, planner_folder, "runtime=realtime", "trigger.period_s=0.4"
    )
    system2 = {**config["system2"], "engine": ["tensorrt", "torch"]}
    results = realtime({**config, "system2": system2, "out": str(tmp_path)}, SCENARIO, [0])
    told = results["system2"]["engine"]
    assert (told["used"], list(told["refused"])) == ("torch", ["tensorrt"])
    # How many there are is the machine's business on the wall clock.
    check([message for _, message in read_log(tmp_path / "log.mcap")], least=1)
    assert results["timing"]["system2"]["p50_ms"] > 0
