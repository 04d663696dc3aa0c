from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import pytest

from dualsys.bench.evaluate import evaluate as evaluate_all
from dualsys.bench.rig import rig
from dualsys.config import load
from dualsys.errors import SpecMismatchError
from dualsys.messages import Observation, PlanRequest
from dualsys.runtime import assembly
from dualsys.runtime.log import read_header, read_log
from tests.fakes import SPEC, PointEngine

ROOT = Path(__file__).parent.parent.parent


def dualsys(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dualsys", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def evaluate(out: Path, untrained: Path, workers: int, videos: int = 0) -> dict[str, object]:
    done = dualsys(
        "eval",
        "scenario=driving/merge",
        "system2=scripted",
        "runtime=lockstep",
        "latency=fixed",
        "latency.system1_ticks=1",
        "seeds=0:6",
        f"system1.checkpoint={untrained}",
        f"workers={workers}",
        f"videos={videos}",
        f"out={out}",
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, object] = json.loads((out / "results.json").read_text())
    return results


def test_one_and_two_workers_write_the_same_bytes(untrained: Path, tmp_path: Path) -> None:
    one = evaluate(tmp_path / "one", untrained, workers=1)
    two = evaluate(tmp_path / "two", untrained, workers=2, videos=2)
    log = tmp_path / "one/log.mcap"
    assert log.read_bytes() == (tmp_path / "two/log.mcap").read_bytes()
    assert one["episodes"] == two["episodes"]
    fields = """schema scenario runtime system1 system2 trigger engine latency episodes summary
        timing ticks calls drops versions config git machine"""
    for key in fields.split():
        assert key in one, key
    assert one["complete"] is True
    ticks = sum(isinstance(message, Observation) for _, message in read_log(log))
    assert ticks == one["ticks"]["total"]  # type: ignore[index]
    assert "workers" not in read_header(log)["config"]
    assert [p.name for p in sorted((tmp_path / "one").iterdir())] == ["log.mcap", "results.json"]
    films = sorted((tmp_path / "two/videos").iterdir())
    assert [p.name for p in films] == ["driving-merge-0000.mp4", "driving-merge-0001.mp4"]
    with av.open(str(films[0])) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    steps = one["episodes"][0]["steps"]  # type: ignore[index]
    assert abs(len(frames) - 20 * steps / 15) < 15
    assert frames[0][:256].std() > 10, "the film is black"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evil"], "unknown command 'evil'"),
        (["eval", "scenario=driving/mrege"], "driving/merge"),
        (["eval"], "give one of scenario="),
        (["eval", "suite=driver"], "driving_all, longtail, longtail_hard, longtail_seen, mt10"),
        (["eval", "scenario=driving/merge", "sedes=0:2"], "Did you mean seeds"),
        (["eval", "scenario=driving/merge", "system1.checkpoint=nowhere"], "dualsys train system1"),
        (["train"], "say what to train"),
    ],
)
def test_a_mistake_costs_one_clear_line_and_exit_code_2(words: list[str], message: str) -> None:
    done = dualsys(*words)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_shows_the_choices() -> None:
    done = dualsys("eval", "--help")
    assert done.returncode == 0
    assert "driving/roundabout" in done.stdout
    assert "scripted" in done.stdout


def test_a_checkpoint_of_another_world_is_refused_with_both_sides(untrained: Path) -> None:
    done = dualsys("eval", "scenario=manipulation/push", f"system1.checkpoint={untrained}")
    assert done.returncode == 2
    assert "front 64x64x3/4" in done.stderr
    assert "topdown 64x64x3/1" in done.stderr


def test_what_was_finished_before_a_failure_is_kept(untrained: Path, tmp_path: Path) -> None:
    """The second scenario of the suite refuses the first one's checkpoint."""
    words = ["suite=driving", "system2=scripted", f"out={tmp_path}", "seeds=0:1"]
    config = load("eval", [*words, f"system1.checkpoint={untrained}"])
    scenarios = ["driving/merge", "manipulation/push"]
    with pytest.raises(SpecMismatchError):
        evaluate_all(config, scenarios, [0], lambda _: None)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["complete"] is False
    assert [row["scenario"] for row in results["episodes"]] == ["driving/merge"]
    ticks = sum(isinstance(message, Observation) for _, message in read_log(tmp_path / "log.mcap"))
    assert ticks == results["ticks"]["total"]


def test_the_policy_keeps_what_is_carried_out_until_a_new_chunk_can_act(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace.json"
    trace.write_text('{"system1_ticks": 3, "system2_ns": [[1000000]], "machine": "m"}')
    engine = PointEngine()
    for words, ticks in (
        (["latency=fixed", "latency.system1_ticks=2"], 2),
        (["latency=none"], 0),
        (["latency=trace", f"latency.trace={trace}"], 3),
        (["runtime=realtime"], 1),
    ):
        config = load("eval", ["scenario=driving/merge", *words])
        assert assembly.make_policy(config, SPEC, engine)._config.commit_ticks == ticks


@pytest.mark.parametrize("budget", ["none", "short", "full"])
def test_a_request_asks_for_the_budget_it_is_answered_under(
    budget: str, untrained: Path, tmp_path: Path
) -> None:
    words = ["scenario=driving/merge", "system2=scripted", f"system2.budget={budget}"]
    words += ["runtime.episode_s=1", f"system1.checkpoint={untrained}"]
    with rig(load("eval", words), "driving/merge") as driven:
        driven.run(0, 3, tmp_path / "log.mcap")
    asked = [m for _, m in read_log(tmp_path / "log.mcap") if isinstance(m, PlanRequest)]
    assert asked
    assert {request.budget for request in asked} == {budget}
