from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dualsys.bench.command import run_bench
from dualsys.bench.store import SCHEMA, Cell, Store
from dualsys.bench.table import load_table
from dualsys.cli import main
from dualsys.errors import DualsysError
from dualsys.report import figures
from dualsys.report.page import write_report
from dualsys.report.player import chosen
from dualsys.report.sources import read_source
from dualsys.trigger.gate import Judged
from dualsys.whatif.call_trials import CallTrial, save_trials
from dualsys.whatif.verdicts import MARGIN

TABLE = """
variants:
  never: {words: [system2=none]}
  learned at 0.1: {words: [trigger.period_s=1.0], against: never}
  learned at 0.2: {words: [trigger.period_s=0.5], against: never}
  no delay: {words: [latency=none]}
  System 1 late by 4: {words: [latency=fixed, latency.system1_ticks=4], against: no delay}
  System 1 late by 2, told all: {words: [latency=fixed, latency.system1_ticks=2], against: no delay}
"""


@pytest.fixture(scope="module")
def benched(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "mine.yaml").write_text(TABLE)
    words = ["scenario=driving/merge", "seeds=0:2", f"system1.checkpoint={untrained}"]
    words += ["system2=scripted", "runtime.episode_s=1", "workers=1"]
    run_bench([*words, f"table={folder / 'mine.yaml'}", f"out={folder / 'bench'}"])
    return folder / "bench"


@pytest.fixture(scope="module")
def calibration(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("calibration") / "calibration.json"
    with pytest.raises(SystemExit):
        main(["calibrate", f"runs=[{run_folder}]", f"out={out}"])
    return out


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Path:
    row = {"states": 2, "spearman": 0.5, "argmax_gain": 1.0, "beats_random": 0.7}
    row |= {f"{name}_ci95": [0.1, 0.9] for name in ("spearman", "argmax_gain", "beats_random")}
    pairs = [[[0.0, 1.0, 2.0], [1.0, 2.0, 4.0]], [[1.0, 0.0, 3.0], [0.0, 1.0, 0.5]]]
    path = tmp_path_factory.mktemp("values") / "values.json"
    path.write_text(json.dumps({"rankings": {"a": row}, "pairs": {"a": pairs}}))
    return path


@pytest.fixture(scope="module")
def page(
    benched: Path, thinking_run: Path, calibration: Path, values: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    folder = tmp_path_factory.mktemp("page")
    out, calls = folder / "report.html", call_trials(folder / "calls.json", called=True)
    about = map(str, (benched, thinking_run, calibration, values, calls))
    with pytest.raises(SystemExit) as stopped:
        main(["report", *about, f"out={out}"])
    assert stopped.value.code == 0
    return out


def test_the_page_says_which_code_tried_the_calls(page: Path) -> None:
    assert "calls calls: 0123456789ab" in page.read_text()


def test_the_page_needs_nothing_but_itself(page: Path) -> None:
    text = page.read_text()
    head = text.split("<script>", 1)[0]
    assert "src=" not in head
    assert "__" not in text.split("</script>", 1)[1].split("<script>")[0], "every mark is filled"
    assert "plotly" in text.lower()
    assert text.count("data:image/jpeg;base64,") > 10


def call_trials(path: Path, called: bool) -> Path:
    gains = [0.5, 0.3, 0.004, -0.2]
    trials = [
        CallTrial("driving/cut_in", seed, 3, called, [0.0], 0.5, 0.5 + gain, False, False)
        for seed, gain in enumerate(gains)
    ]
    about = {"git": {"commit": "0123456789abcdef", "dirty": False}}
    save_trials(trials, Judged("driving", 15.0, ("speed",), "", None, 1, 0.0), path, about)
    return path


def test_calls_are_told_with_intervals_and_the_margin(tmp_path: Path) -> None:
    calls = call_trials(tmp_path / "calls.json", called=True)
    text = write_report([calls], tmp_path / "page.html", 0).read_text()
    assert f"over {MARGIN} higher or lower" in text
    assert "<td>50.0% (0.0%&nbsp;..&nbsp;100.0%)</td>" in text, "useful: two of four drives"
    assert text.count("<td>25.0% (0.0%&nbsp;..&nbsp;75.0%)</td>") == 2, "one neutral, one harmful"
    assert "intervals are over whole drives" in text
    explored = call_trials(tmp_path / "explored.json", called=False)
    with pytest.raises(DualsysError, match=r"no call that a run made.*--calls"):
        write_report([explored], tmp_path / "page.html", 0)


def test_a_run_that_ended_early_says_so(run_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run_folder, tmp_path / "run")
    results = json.loads((copy / "results.json").read_text())
    assert results["complete"]
    assert results["episodes_asked"] == 2
    assert "incomplete:" not in write_report([copy], tmp_path / "whole.html", 0).read_text()
    cut = {**results, "complete": False, "episodes": results["episodes"][:1]}
    (copy / "results.json").write_text(json.dumps(cut))
    text = write_report([copy], tmp_path / "cut.html", 0).read_text()
    assert '<p class="incomplete">incomplete: 1 of 2 episodes</p>' in text


def test_a_benchmark_that_ended_early_names_what_completes_it(tmp_path: Path) -> None:
    store = Store(tmp_path, {"schema": SCHEMA}, {"command": [], "machine": {}})
    store.put(Cell("never", "driving/merge", 0), {})
    told = rf"not finished \(1 episodes are there\).*dualsys bench --resume out={tmp_path}"
    with pytest.raises(DualsysError, match=told):
        read_source(tmp_path)


def measured(bits: float, code_bits: float, collisions: float) -> dict[str, Any]:
    return {
        "success_rate": 0.9,
        "success_ci95": [0.8, 0.95],
        "collision_rate": collisions,
        "collision_ci95": [0.0, 0.2],
        "bits": bits,
        "plan_bits": bits - code_bits,
        "code_bits": code_bits,
        "mean": {"calls_per_tick": {"value": 0.1}},
    }


def test_figures_stand_where_there_is_something_to_show() -> None:
    planner = {"name": "vlm", "checkpoint": "auto"}
    vlm, candidates = ({"system2": {**planner, "candidates": n}} for n in (0, 5))
    bench = {
        "measured": {
            "plan": {"driving/merge": measured(1.5, 0.0, 0.0)},
            "plan, code of 8 bits": {"driving/merge": measured(4.0, 2.5, 0.1)},
            "best of 5": {"driving/merge": measured(4.0, 2.5, 0.1)},
        },
        "configurations": {
            "plan": vlm, "plan, code of 8 bits": vlm, "best of 5": candidates,
        },
    }  # fmt: skip
    against_bits = figures.bits(bench)
    assert against_bits is not None
    assert {trace.name: list(trace.x) for trace in against_bits.data} == {
        "plan and code": [1.5, 4.0],
        "plan, code and a candidate chunk": [4.0],
    }
    collisions = figures.collisions(bench)
    assert collisions is not None
    assert [list(trace.y) for trace in collisions.data] == [[0.0], [0.1], [0.1]]
    alone = {name: bench[name] for name in ("measured", "configurations")}
    alone["measured"] = {"plan": bench["measured"]["plan"]}
    alone["configurations"] = {"plan": vlm}
    assert figures.bits(alone) is None, "no code is sent"
    assert figures.collisions(alone) is None


def test_the_delay_table_of_the_house_becomes_two_figures() -> None:
    """Success, seam jump and jerk against the delay of either system, from no delay on."""
    every = [0, 1, 2, 4, 8, 16]
    curves = {
        "System 1 late": every,
        "System 1 late, more passes": [0, 4, 8],
        "System 1 late, told all": [0, 8],
        "System 2 late": every,
    }
    row = measured(1.5, 0.0, 0.0)
    bench: dict[str, Any] = {"measured": {}}
    for name in load_table("delays", []):
        late = int(name.split(",")[0].split()[-1]) if name != "no delay" else 0
        jumps = {
            measure: {"value": 0.01 * late, "ci95": [0.01 * late - 0.002, 0.01 * late + 0.003]}
            for measure in ("seam_jump", "jerk")
        }
        mean = row["mean"] | jumps
        told = row | {"success_rate": 0.9 - late / 100, "mean": mean}
        bench["measured"][name] = {"driving/merge": told}
    success, jumps = figures.delays(bench), figures.roughness(bench)
    assert success is not None
    assert jumps is not None
    assert [trace.name for trace in success.data] == list(curves)
    assert [trace.name for trace in jumps.data] == [
        f"{what}, {name}" for name in curves for what in ("seam jump", "jerk")
    ]
    for trace in success.data:
        assert list(trace.x) == curves[trace.name]
        assert list(trace.y) == pytest.approx([0.9 - late / 100 for late in trace.x])
    for trace in jumps.data:
        ticks = curves[trace.name.split(", ", 1)[1]]
        assert list(trace.x) == ticks
        assert list(trace.y) == pytest.approx([0.01 * late for late in ticks])
        assert list(trace.error_y.array) == pytest.approx([0.003] * len(ticks))
        assert list(trace.error_y.arrayminus) == pytest.approx([0.002] * len(ticks))
    assert figures.roughness({"measured": {"never": {"driving/merge": row}}}) is None


def test_the_measures_stand_on_the_page(benched: Path, tmp_path: Path) -> None:
    text = write_report([benched], tmp_path / "page.html", 0).read_text()
    for column in ("time to collision", "comfort", "progress", "jerk", "seam jump", "plan age [s]",
                   "thinking [s]", "gain of score"):  # fmt: skip
        assert f"<th>{column}</th>" in text
    assert "Seam jump and jerk of the command against delay" in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed to open the page in")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_the_page_is_opened_and_clicked(page: Path, browser: Any, tmp_path: Path) -> None:
    tab = browser.new_page(viewport={"width": 1200, "height": 900})
    faults: list[str] = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("requestfailed", lambda request: faults.append(request.url))
    tab.goto(page.as_uri())
    tab.wait_for_selector("#curve .main-svg")
    plots = tab.locator("section .js-plotly-plot").count()
    assert plots >= 7, "Pareto, delay (2), bars, latencies, reliability, values, and the curve"
    first = tab.locator("#caption").inner_text()
    assert first.startswith("0.00 s, tick 0")
    tab.locator("#slider").fill("12")
    later = tab.locator("#caption").inner_text()
    assert later != first
    picture = tab.locator("#picture").get_attribute("src")
    assert tab.locator("#picture").evaluate("image => image.naturalWidth") == 64
    tab.locator("#thoughts div").nth(1).click()
    assert tab.locator("#picture").get_attribute("src") != picture
    assert "values of the candidates" in tab.locator("#thoughts").inner_text()
    assert tab.locator("#thoughts div.now").count() <= 1
    tab.locator("#play").click()
    assert tab.locator("#play").inner_text() == "pause"
    tab.wait_for_timeout(500)
    assert tab.locator("#caption").inner_text() != later
    tab.locator("#play").click()
    tab.screenshot(path=tmp_path / "report.png", full_page=True)
    assert (tmp_path / "report.png").stat().st_size > 20_000
    assert not faults


def test_a_strange_word_does_not_break_out_of_the_page(run_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run_folder, tmp_path / "<b>run</b>")
    results = json.loads((copy / "results.json").read_text())
    results["summary"]["by_scenario"]["</script><i>x"] = results["summary"]["by_scenario"][
        "driving/merge"
    ]
    (copy / "results.json").write_text(json.dumps(results))
    text = write_report([copy], tmp_path / "page.html", 1).read_text()
    assert "<b>run" not in text
    assert "<i>x" not in text


def test_failures_come_first_and_scenarios_take_turns() -> None:
    rows = [{"scenario": s, "seed": n, "success": n % 2 == 0} for s in ("a", "b") for n in range(4)]
    found = [(r["scenario"], r["seed"]) for r in chosen({"episodes": rows}, 3)]
    assert found == [("a", 1), ("b", 1), ("a", 3)]


def test_what_is_no_result_is_named(tmp_path: Path, page: Path) -> None:
    with pytest.raises(DualsysError, match=r"neither bench.json nor results.json"):
        read_source(tmp_path)
    (tmp_path / "x.json").write_text('{"schema": "other/1"}')
    with pytest.raises(DualsysError, match=r"nothing that a report shows .*other/1"):
        read_source(tmp_path / "x.json")
    with pytest.raises(DualsysError, match="can not be read as JSON"):
        read_source(page)
    with pytest.raises(SystemExit) as stopped:
        main(["report"])
    assert stopped.value.code == 2
