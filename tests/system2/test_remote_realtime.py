"""The remote planner on the wall clock, with processes of their own and a server that is slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dualsys.config import load
from dualsys.messages import Action, Command, Guidance, PlanRequest
from dualsys.runtime.log import read_log
from dualsys.runtime.realtime import realtime
from tests.chat_server import GOOD, Late, completion


def driven(url: str, untrained: Path, out: Path) -> tuple[dict[str, Any], list[Any]]:
    """Results and messages of some seconds of driving, with a question every half second."""
    words = ["scenario=driving/highway", "runtime=realtime", "runtime.duration_s=5"]
    words += ["system2=remote", f"system2.url={url}", "system2.model=m", "trigger.period_s=0.5"]
    config = load("eval", [*words, f"system1.checkpoint={untrained}", f"out={out}"])
    results = realtime(config, "driving/highway", list(range(50)))
    return results, [message for _, message in read_log(out / "log.mcap")]


def test_an_endpoint_slower_than_it_is_asked_is_heard_all_the_same(
    serve: Any, untrained: Path, tmp_path: Path
) -> None:
    server = serve(Late(0.8, completion(GOOD)))
    results, log = driven(server.url, untrained, tmp_path)
    asked = {m.request_id: m.observation.stamp.tick for m in log if isinstance(m, PlanRequest)}
    told = [m for m in log if isinstance(m, Guidance)]
    assert len(server.asked) < len(asked), "it could not answer every question"
    assert told
    assert all(asked[m.request_id] == m.stamp.tick for m in told), "each says what it is about"
    used = {m.guidance_sequence for m in log if isinstance(m, Action)} - {-1}
    assert len(used) > len(told) / 2, "but for those that come as the run ends"
    assert results["guidance"]["ticks_alone"] < results["guidance"]["ticks"]


def test_an_endpoint_that_never_answers_costs_system_1_no_tick(
    serve: Any, untrained: Path, tmp_path: Path
) -> None:
    results, log = driven(serve("sleep").url, untrained, tmp_path)
    commands = [m for m in log if isinstance(m, Command)]
    assert not [m for m in log if isinstance(m, Guidance)]
    assert results["drops"]["planner_slow"] > 0
    # Apart from an episode's first ticks, System 1 gave every command.
    served = [m for m in commands if m.stamp.tick > 5]
    assert sum(m.source == "system1" for m in served) >= 0.9 * len(served) > 20
