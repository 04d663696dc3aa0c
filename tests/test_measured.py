"""Numbers in README and docs are those of the committed results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dualsys.bench.printout import printouts
from dualsys.bench.store import SCHEMA
from dualsys.console import percent

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs/results"
MEASURED = (ROOT / "docs/measured.md").read_text()


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / name).read_text())
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of every line of a table in Markdown."""
    return [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def after(heading: str, end: str = "\n\n#") -> str:
    return MEASURED.split(heading, 1)[1].split(end, 1)[0]


ENGINES = (ROOT / "docs/engines.md").read_text()


@pytest.mark.parametrize("domain", ["driving", "manipulation"])
def test_the_engines_times_are_told_as_they_were_measured(domain: str) -> None:
    found = result(f"engines-{domain}.json")
    told = {tuple(c[:4]): c[4:] for c in rows(ENGINES) if c[0] == domain and len(c) > 5}
    for table in found["tables"]:
        for name, works in table["engines"].items():
            wanted = [
                f"{works[work]['p50_ms']:.2f} / {works[work]['p99_outside_stalls_ms']:.2f}"
                for work in ("pass", "tick")
            ]
            if name != "torch":
                low, high = works["tick"]["times_faster_ci95"]
                wanted.append(f"{works['tick']['times_faster']:.2f} ({low:.2f} .. {high:.2f})")
            key = (domain, str(table["threads"]), str(table["samples"]), name)
            assert told[key][: len(wanted)] == wanted
    stalls = sum(table["stalls"] for table in found["tables"])
    flat = " ".join(ENGINES.split())
    assert f"there were {stalls}" in flat or f"and {stalls}:" in flat
    why = found["tables"][0]["refused"]["openvino-bf16"]
    assert domain != "driving" or why in flat


def test_the_times_of_the_planners_parts_are_told_as_they_were_measured() -> None:
    (found,) = result("engines-system2-driving.json")["system2"]
    section = ENGINES.split("engines-system2-driving.json", 1)[1].split("\n\nWith TensorRT", 1)[0]
    told = {cells[0]: cells[1:] for cells in rows(section)}
    for name, parts in found["engines"].items():
        spans = [f"{parts[p]['p50_ms']:.2f} / {parts[p]['p99_ms']:.2f}" for p in parts]
        faster = [f" ({parts[p]['times_faster']:.2f} times faster)" for p in parts]
        assert told[name] == [
            span + ("" if name == "torch" else more)
            for span, more in zip(spans, faster, strict=True)
        ]


@pytest.mark.parametrize(("domain", "what"), [("driving", "drives"), ("manipulation", "episodes")])
def test_episodes_with_every_engine_are_told_as_they_were_measured(domain: str, what: str) -> None:
    found = result(f"build-{domain}.json")
    loop = found["closed_loop"]
    section = ENGINES.split(f"docs/results/build-{domain}.json", 1)[1]
    told = {cells[0]: cells[1:] for cells in reversed(rows(section.split("\n\nOn TensorRT", 1)[0]))}
    assert f"Over {loop['episodes']} paired {what}" in ENGINES
    assert loop["episodes"] >= 200
    for name, gain in loop["compared"].items():
        cosine = min(row["cosine"] for row in found["engines"][name]["outputs"].values())
        assert cosine >= 0.99999
        points = [f"{100 * value:+.1f}" for value in (gain["mean"], *gain["ci95"])]
        wanted = [f"{cosine:.7f}", percent(loop["success"][name])]
        assert told[name] == [
            *wanted,
            f"{points[0]} ({points[1]} .. {points[2]}), no difference shown",
        ]
        assert not gain["shown"]
    assert percent(loop["success"]["torch"]) in told["torch"]


def test_the_arm_s_success_is_told_as_it_was_measured() -> None:
    found = result("mt10.json")["summary"]
    low, high = (f"{100 * end:.1f}" for end in found["success_ci95"])
    told = f"{percent(found['success_rate'])} ({low} .. {high})"
    assert found["episodes"] == 200
    for page in (MEASURED, (ROOT / "README.md").read_text()):
        assert told in " ".join(page.replace("**", "").split())
    table = {cells[0]: cells[1:] for cells in rows(after("## The arm"))}
    for name, row in found["by_scenario"].items():
        low, high = map(percent, row["success_ci95"])
        assert table[name.split("/")[1]] == [percent(row["success_rate"]), f"{low} .. {high}"]


def test_memory_in_the_steady_state_is_told_as_it_was_measured() -> None:
    found = result("steady-driving.json")
    ticks, calls = found["ticks"], found["calls"]
    assert ticks["growth_kib"] < 64
    assert calls["calls"] >= 1_000_000
    told = " ".join(ENGINES.split())
    assert f"holds {ticks['growth_kib']:.1f} KiB more after {ticks['ticks']:,} ticks" in told
    assert f"moves by {calls['growth_kib']} KiB over {calls['calls']:,} calls" in told


def test_eight_bits_are_told_as_they_were_measured() -> None:
    found = result("int8-driving.json")
    section = ENGINES.split("docs/results/int8-driving.json", 1)[1].split("\n\nThe parts of", 1)[0]
    told = {cells[0]: cells[1:] for cells in rows(section)}
    assert f"after {found['calibrated_on']} recorded inputs" in " ".join(ENGINES.split())
    for name, row in found["engines"].items():
        wanted = [f"{row['outputs']['chunk']['cosine']:.5f}", f"{row['pass']['p50_ms']:.2f}"]
        if name != "float32":
            assert row["fault"] is not None, "no way passes the gate"
            low, high = row["pass"]["times_faster_ci95"]
            wanted.append(f"{row['pass']['times_faster']:.2f} ({low:.2f} .. {high:.2f})")
        assert told[name][: len(wanted)] == wanted


def test_ticks_in_a_loop_of_nothing_else_are_told_as_they_were_measured() -> None:
    for domain in ("driving", "manipulation"):
        found = result(f"engines-warm-{domain}.json")
        tick = found["tables"][0]["engines"]["openvino"]["tick"]
        told = f"{tick['p50_ms']:.2f} ms ({tick['times_faster']:.2f} times faster than torch) in"
        assert f"{told} {domain}" in " ".join(ENGINES.split())
        assert found["caches"] == "warm"


def test_depth_in_closed_loop_is_told_as_it_was_measured() -> None:
    found = result("depth-longtail-hard.json")
    section = ENGINES.split("docs/results/depth-longtail-hard.json", 1)[1].split("\n### ", 1)[0]
    told = {cells[0]: cells[1:] for cells in rows(section)}
    count = found["measured"]["four steps"]["all"]["episodes"]
    assert f"{count} drives in the rare situations" in " ".join(ENGINES.split())
    for variant in found["variants"]:
        row = found["measured"][variant]["all"]
        low, high = (f"{100 * end:.1f}" for end in row["success_ci95"])
        wanted = [f"{percent(row['success_rate'])} ({low} .. {high})"]
        gain = found["compared"].get(variant, {}).get("all", {}).get("success")
        if gain is not None:
            mean, low, high = (f"{100 * v:+.1f}" for v in (gain["mean"], *gain["ci95"]))
            shown = "" if gain["shown"] else ", no difference shown"
            wanted.append(f"{mean} ({low} .. {high}){shown}")
        assert [cell for cell in told[variant] if cell] == wanted


def test_error_against_time_is_told_as_it_was_measured() -> None:
    engines = [
        result(f"depth-{domain}.json")["tables"][0]["engines"]["openvino"]
        for domain in ("driving", "manipulation")
    ]
    told = {cells[0]: cells[1:] for cells in rows(ENGINES.split("### Error against time", 1)[1])}
    for effort in engines[0]:
        wanted = []
        for found in engines:
            off = found[effort]["to_true"]
            wanted += [f"{found[effort]['pass']['p50_ms']:.2f}"]
            wanted += [f"{off['rms']:.3f}, {off['median']:.3f}"]
        assert told[effort] == wanted


@pytest.mark.parametrize("domain", ["driving", "manipulation"])
def test_the_early_exits_are_told_as_their_cards_tell_them(domain: str) -> None:
    card = json.loads((ROOT / "dualsys/weights" / domain / "exits.json").read_text())
    told = {tuple(cells[:2]): cells[2:] for cells in rows(ENGINES) if cells[0] == domain}
    for number in (1, 2):
        wanted = [
            f"{card['scores'][noise][f'behind_{number}'][error]:.3f}"
            for noise in ("noise 0", "noise 1")
            for error in ("velocity_error", "chunk_error")
        ]
        assert told[domain, str(number)] == wanted
    command = ENGINES.split(f"dualsys train exits checkpoint=dualsys/weights/{domain} ", 1)[1]
    assert f"steps={card['training']['steps']} " in command.splitlines()[0]


@pytest.mark.parametrize("name", ["driving", "mt10"])
def test_what_reused_pictures_cost_is_told_as_it_was_measured(name: str) -> None:
    found = result(f"reuse-{name}.json")
    section = ENGINES.split("### Features of pictures", 1)[1]
    told = {tuple(cells[:2]): cells[2:] for cells in rows(section) if cells[0] == name}
    known = {f"{row['threshold']:g}": row for row in found["thresholds"]}
    assert len(told) > 3
    for (_, threshold), cells in told.items():
        row = known.get(threshold)
        if row is None:
            assert cells[1] == f"{found['anyhow'][threshold]['rms']:.3f}"
        else:
            wanted = f"{row['error']['rms']:.3f}" if row["reused"] else "-"
            assert cells == [percent(row["reused"]), wanted]
    assert f"{found['passes']} passes" in section


@pytest.mark.parametrize("name", ["ablation-mt10.json", "ablation-driving.json"])
def test_the_tables_of_the_parts_are_those_of_the_benchmarks(name: str) -> None:
    # The nearest table below the file's name: the other benchmark's has the same variants.
    table = {cells[0]: cells for cells in reversed(rows(after(name)))}
    measured = result(name)["measured"]
    for variant, groups in measured.items():
        all_ = groups["all"]
        low, high = all_["success_ci95"]
        assert table[variant][1:3] == [percent(all_["success_rate"]), f"{low:.1%} .. {high:.1%}"]
        assert f"{all_['bits']:.1f}" in table[variant]
    assert len(measured) == 14


def test_the_rare_situations_are_told_as_they_were_measured() -> None:
    measured = result("guidance-longtail-hard.json")["measured"]
    long = {cells[0].split(" (")[0]: cells for cells in rows(after("guidance-longtail-hard.json"))}
    for variant, name in (
        ("System 1 alone", "System 1 alone"),
        ("planner, plan", "the planner's plan"),
        ("planner, plan and code", "the planner's plan and code"),
    ):
        pools = measured[variant]
        told = [percent(pools["all"][key]) for key in ("success_rate", "collision_rate")]
        told.append(percent(pools["unseen"]["collision_rate"]))
        assert [long[name][1], long[name][3], long[name][5].split(",")[0]] == told


@pytest.mark.parametrize("file", sorted(RESULTS.rglob("*.json")), ids=lambda file: file.stem)
def test_a_result_names_no_place_of_the_machine_that_made_it(file: Path) -> None:
    assert not re.findall(r'"/[^"]*"', file.read_text())


BENCHMARKS = [f for f in sorted(RESULTS.glob("*.json")) if result(f.name).get("schema") == SCHEMA]


@pytest.mark.parametrize("file", BENCHMARKS, ids=lambda file: file.stem)
def test_a_result_can_still_be_printed(file: Path) -> None:
    assert all(table.rows for table in printouts(result(file.name)))


def test_the_simulators_speed_is_told_as_it_was_measured() -> None:
    found = result("sim-speed.json")["scenarios"]
    assert all(row["equal"] for row in found.values())
    flat = " ".join(after("How fast driving is simulated", "\n\n## ").split())
    many, crossing = (found[f"driving/{n}"]["physics_ms"] for n in ("highway", "intersection"))
    assert f"{many['times_faster']:.2f} times faster ({many['here']:.2f} ms instead of" in flat
    assert f"at the intersection {crossing['times_faster']:.2f} times" in flat
    dearer = max(
        row["physics_ms"]["here"] - row["physics_ms"]["upstream"] for row in found.values()
    )
    assert f"up to {dearer:.2f} ms" in flat


def test_the_gate_is_told_as_it_was_measured() -> None:
    found = result("triggers-longtail-hard.json")
    short = {cells[0]: cells for cells in rows((ROOT / "README.md").read_text())}
    long = {cells[0].split(":")[0]: cells for cells in rows(after("triggers-longtail-hard.json"))}
    for variant, name in (
        ("never", "System 1 alone"),
        ("learned at 0.01", "System 2 called by the learned gate"),
        ("random as learned at 0.01", "called as often, at random"),
    ):
        pools = found["measured"][variant]
        calls = percent(pools["all"]["mean"]["calls_per_tick"]["value"])
        told = [percent(pools["all"][key]) for key in ("success_rate", "collision_rate")]
        assert short[name][1:5] == [*told, percent(pools["unseen"]["collision_rate"]), calls]
        apart = [
            f"{percent(rates['collision_rate'])}, {low:.1%} .. {high:.1%}"
            for rates in (pools["seen"], pools["unseen"])
            for low, high in (rates["collision_ci95"],)
        ]
        assert [long[variant][n] for n in (1, 3, 5, 6, 7)] == [*told, *apart, calls]
    for page in (MEASURED, (ROOT / "README.md").read_text()):
        saved = found["compared"]["learned at 0.01"]["all"]["collision"]
        low, high = (f"{100 * end:.1f}" for end in saved["fewer_ci95"])
        flat = page.replace("%", "")
        assert f"{100 * saved['fewer']:.1f} ({low} .. {high})" in flat
    worth = result("calls-longtail-hard.json")["about"]["verdicts"][-1]
    assert worth["scenario"] == "all"
    flat = " ".join(MEASURED.split())
    assert f"the {worth['calls']:,} calls of {worth['drives']} drives" in flat
    for kind in ("useful", "neutral", "harmful"):
        low, high = (f"{100 * end:.1f}" for end in worth[kind]["ci95"])
        assert f"{worth[kind]['value']:.1%} ({low} .. {high})" in flat


def test_the_prices_of_a_call_are_told_as_they_were_measured() -> None:
    found = result("pareto-longtail-hard.json")
    told = {cells[0]: cells for cells in rows(after("pareto-longtail-hard.json"))}
    gates = [v for v in found["measured"] if f"random as {v}" in found["measured"]]
    assert len(gates) == 7
    for gate in gates:
        at_random = f"random as {gate}"
        all_, twin = (found["measured"][v]["all"] for v in (gate, at_random))
        low, high = all_["collision_ci95"]
        saved = found["compared"][gate]["all"]["collision"]
        fewer = [f"{100 * share:.1f}" for share in saved["fewer_ci95"]]
        lead = found["compared"][at_random]["all"]["collision"]
        points = [f"{100 * share:.1f}" for share in (lead["mean"], *lead["ci95"])]
        p = "p < 0.001" if lead["p_holm"] < 0.0005 else f"p {lead['p_holm']:.3f}"
        assert lead["shown"]
        assert told[gate][1:] == [
            f"{all_['mean']['calls_per_tick']['value']:.2%}",
            percent(all_["success_rate"]),
            f"{percent(all_['collision_rate'])}, {low:.1%} .. {high:.1%}",
            f"{percent(saved['fewer'])} ({fewer[0]} .. {fewer[1]})",
            percent(twin["success_rate"]),
            percent(twin["collision_rate"]),
            f"{points[0]} ({points[1]} .. {points[2]}), {p}",
        ]


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("longtail-hard", "rare driving situations"),
        ("mt10", "MT10"),
        ("driving", "nominal driving"),
    ],
)
def test_late_answers_are_told_as_they_were_measured(name: str, head: str) -> None:
    found = result(f"delays-{name}.json")
    section = after("## Late answers")
    assert f"`docs/results/delays-{name}.json`" in section
    table = section.split(f"\n| {head} |", 1)[1].split("\n\n", 1)[0]
    told = {cells[0]: cells[1:] for cells in rows(table)}
    intact = found["measured"]["no delay"]["all"]["success_rate"]
    for variant, pools in found["measured"].items():
        all_, cells = pools["all"], told[variant]
        low, high = all_["success_ci95"]
        wanted = [percent(all_["success_rate"]), f"{low:.1%} .. {high:.1%}"]
        if name != "mt10":
            wanted.append(percent(all_["collision_rate"]))
        assert cells[: len(wanted) + 1] == [*wanted, f"{all_['success_rate'] / intact:.0%}"]
        assert cells[-2:] == [f"{all_['mean_seam_jump']:.4f}", f"{all_['mean_jerk']:.4f}"]
        if variant != "no delay":
            gain = found["compared"][variant]["all"]["success"]
            points = [f"{100 * value:+.1f}" for value in (gain["mean"], *gain["ci95"])]
            shown = "" if gain["shown"] else ", no difference shown"
            assert cells[-3] == f"{points[0]} ({points[1]} .. {points[2]}){shown}"


def test_blows_to_system_2_are_told_as_they_were_measured() -> None:
    runs = result("strike.json")["runs"]
    told = {cells[0]: cells[1:] for cells in rows(after("`docs/results/strike.json`"))}
    for blow, run in runs.items():
        ticks, guidance = run["ticks"], run["guidance"]
        counts = (ticks["total"], ticks["missed_outside_stalls"], ticks["stalls"])
        counts += run["ticks_after_blow"], run["fallback_after_blow"]
        assert told[blow][:5] == [str(count) for count in counts]
        seconds = (guidance["oldest_s"], max(0.0, guidance["silent_for_s"]))
        assert [told[blow][5], told[blow][7]] == [f"{value:.2f}" for value in seconds]
        assert told[blow][6::2] == [str(guidance["ticks_alone"]), str(run["started_again"])]


def test_a_busy_system_2_is_told_as_it_was_measured() -> None:
    found = result("lateness.json")
    told = {cells[0]: cells[1:] for cells in rows(after("`docs/results/lateness.json`"))}
    for mode in ("idle", "busy"):
        kept = sum(run["kept"] for run in found["runs"] if run["mode"] == mode)
        assert told[mode] == [str(kept), *(f"{found[mode][q]:.2f}" for q in ("p50", "p99"))]
    for cell, q in zip(told["busy over idle"][1:], ("p50", "p99"), strict=True):
        ratio, (low, high) = found[f"ratio_{q}"]["ratio"], found[f"ratio_{q}"]["ci95"]
        assert cell.strip("*") == f"{ratio:.2f} ({low:.2f} .. {high:.2f})"
    assert len(found["runs"]) == 8


@pytest.mark.parametrize("name", ["bench", "driving", "manipulation"])
def test_equal_runs_wrote_equal_bytes(name: str) -> None:
    found = result(f"repeat-{name}.json")
    assert found["equal"]
    assert len({run["sha256"] for run in found["runs"]}) == 1
    section = after("## Equal runs, equal bytes")
    assert f"`docs/results/repeat-{name}.json`" in section
    if name == "bench":
        assert f"{found['runs'][0]['bytes']:,} bytes" in section
        assert [run["by"] for run in found["runs"]] == ["1 worker", "2 workers", "Ray, 2 workers"]


def test_disturbances_are_told_as_they_were_measured() -> None:
    found = result("disturbed.json")
    section = after("## When something goes wrong around an arm")
    told = {cells[0]: cells[1:] for cells in rows(section)}
    kinds = [cell.split(" (")[0] for cell in rows(section)[0][2:]]
    assert len(kinds) == 6
    for variant, pools in found["measured"].items():
        low, high = pools["all"]["success_ci95"]
        rates = [
            np.mean([r["success_rate"] for name, r in pools.items() if f"+{kind}" in name])
            for kind in kinds
        ]
        wanted = [percent(pools["all"]["success_rate"]), f"{low:.1%} .. {high:.1%}"]
        assert told[variant] == [*wanted, *(f"{rate:.0%}" for rate in rates)]
    gain = found["compared"]["dual system"]["all"]["success"]
    low, high = gain["ci95"]
    flat = " ".join(section.split())
    assert not gain["shown"]
    told_of = f"({100 * gain['mean']:.1f} points, {100 * low:.1f} .. {100 * high:.1f})"
    assert f"adds is not shown {told_of}" in flat


def test_the_rare_situations_are_solved_as_it_is_told() -> None:
    found = result("solvable.json")
    told = {cells[0]: cells[1:] for cells in rows(after("## Can the rare situations be solved?"))}
    kinds = {name.split("@")[0] for name in found["scenarios"]}
    assert len(kinds) == 9
    for kind in kinds:
        by_level = [found["scenarios"][f"{kind}@{level}"] for level in (0.5, 1.0)]
        for driver, cell in zip(("holds on", "rules", "search"), told[kind], strict=True):
            assert cell == ", ".join(f"{rates[driver]['success_rate']:.0%}" for rates in by_level)
        assert all(rates["search"]["success_rate"] == 1 for rates in by_level)
    low, high = found["scenarios"]["driving/cut_in@0.5"]["search"]["success_ci95"]
    assert f"{low:.1%} .. {high:.1%}" in after("## Can the rare situations be solved?")


def test_others_on_the_same_drives_are_told_as_they_were_measured() -> None:
    found = result("peers-driving.json")
    section = after("## Others on the same drives")
    told = {cells[0]: cells[1:] for cells in reversed(rows(section))}
    drivers = {name: name for name in found["measured"]}
    drivers["dual system"] = "both systems, the learned gate"
    for variant, name in drivers.items():
        pools = found["measured"][variant]
        cells = [pools["all"][f"{key}_rate"] for key in ("success", "collision")]
        ends = [pools["all"][f"{key}_ci95"] for key in ("success", "collision")]
        wanted = [
            text
            for rate, (low, high) in zip(cells, ends, strict=True)
            for text in (percent(rate), f"{low:.1%} .. {high:.1%}")
        ]
        assert told[name] == [*wanted, f"{pools['all']['mean']['score']['value']:.3f}"]
        for pool, row in (
            ("driving/roundabout", "driving/roundabout"),
            ("driving/intersection", "driving/intersection"),
            ("seen", "rare, kinds that training may show"),
            ("unseen", "rare, kinds never seen"),
        ):
            rates = (pools[pool][f"{key}_rate"] for key in ("success", "collision"))
            assert told[row][list(drivers).index(variant)] == ", ".join(f"{r:.0%}" for r in rates)
    lead = found["compared"]["IDM and MOBIL of highway-env"]["all"]
    flat = " ".join(section.split())
    for key, sign in (("success", -1), ("collision", 1)):
        low, high = sorted(sign * end for end in lead[key]["ci95"])
        points = f"{100 * sign * lead[key]['mean']:.1f} points of {key}"
        assert points in flat
        assert f"({100 * low:.1f} .. {100 * high:.1f}" in flat
        assert lead[key]["shown"]
    minutes = sum(s["elapsed_s"] for s in result("sittings/peers-driving.json")["sittings"]) / 60
    assert f"took {minutes:.0f} minutes" in flat


@pytest.mark.parametrize("domain", ["driving", "manipulation"])
def test_values_and_pairs_are_told_as_they_were_measured(domain: str) -> None:
    ranking = result(f"values-{domain}.json")["rankings"]["all (gain in spreads)"]
    text = " ".join(after("Do the values order", "\n## ").split())
    for field in ("spearman", "argmax_gain"):
        low, high = ranking[f"{field}_ci95"]
        assert f"{ranking[field]:.2f} ({low:.2f} .. {high:.2f})" in text
    low, high = ranking["beats_random_ci95"]
    assert f"{percent(ranking['beats_random'])} ({low:.1%} .. {high:.1%})" in text
    pair = result(f"five-over-one-{domain.replace('manipulation', 'mt10')}.json")
    cell = pair["compared"]["all"]["success"]
    told = [f"{100 * value:+.1f}" for value in (cell["mean"], *cell["ci95"])]
    flat = " ".join(MEASURED.split())
    assert f"{told[0]}, {told[1]} .. {told[2]}, `docs/results/five-over-one-" in flat


def test_thinking_times_and_interruptions_are_those_of_the_files() -> None:
    found = result("think_time.json")
    for scenario, report in found["scenarios"].items():
        first, short, full = (
            f"{report[budget][which]['p50_ms']:.0f} / {report[budget][which]['p99_ms']:.0f}"
            for budget, which in (("short", "first"), ("short", "whole"), ("full", "whole"))
        )
        ratio, memory = report["candidates"]["ratio"], report["memory_mib"]
        row = f"| {scenario} | {first} | {short} | {full} | {ratio:.2f} | {memory:.0f} |"
        assert row in MEASURED
    flat = " ".join(MEASURED.split())
    assert f"with {found['stalls']} stalls" in flat
    counts = [result(f"interrupts-{d}.json") for d in ("manipulation", "driving")]
    assert not any(count["faults"] for count in counts)
    for key, words in (("interrupted_in_mid_thought", "of them in"), ("guidances", "guidances")):
        one, other = (f"{count[key]:,}" for count in counts)
        assert f"{one} and {other} {words}" in flat


SAFETY = (ROOT / "docs/safety.md").read_text()


def test_the_soak_is_told_as_it_was_measured() -> None:
    found = result("soak.json")
    told = {cells[0]: cells[-1] for cells in rows(SAFETY.split("## An hour of blows", 1)[1])}
    counted = f"{found['minutes']}, {found['runs']}, {found['blows']}"
    assert told["minutes, runs, blows"] == counted
    for row, name in (
        ("commands to the plant", "commands"),
        ("of them unsafe", "unsafe"),
        ("holes in a log that no blow excuses", "lost"),
        ("damaged logs", "damaged"),
        ("processes left behind", "orphans"),
        ("shared memory left behind", "segments"),
        ("descriptors more at the end", "descriptors_more"),
    ):
        assert told[row] == str(found[name])
    grown = found["memory_growth"]
    others = ", ".join(percent(grown[n]) for n in ("system1", "system2", "world", "supervisor"))
    assert told["memory more in the calm minutes: System 1, System 2, world, supervisor"] == others
    assert told["the recorder's"] == f"**{percent(grown['recorder'])}**"
    worlds = [run for run in found["each"] if run["ended"].startswith("the world ended")]
    words = {4: "four", 5: "five", 6: "six"}
    assert f"({words[len(worlds)]} of these did)" in SAFETY


def test_the_matrix_of_faults_is_told_as_it_was_measured() -> None:
    cells = {(cell["place"], cell["kind"]): cell for cell in result("faults.json")["cells"]}
    assert len(cells) == 49
    told = {(c[0], c[1]): c[2:] for c in rows(SAFETY) if (c[0], c[1]) in cells}
    assert told.keys() == cells.keys()
    for place, cell in cells.items():
        ticks, unsafe, late, rungs, _, counter, recovered = told[place]
        assert [int(ticks), int(unsafe), int(late)] == [
            cell["ticks"], cell["unsafe"], cell["late"],
        ]  # fmt: skip
        assert rungs == ", ".join(f"{name} {n}" for name, n in cell["rungs"].items())
        assert counter == "-" or counter.endswith(f" {cell['counted']}")
        assert recovered == ("yes" if cell["recovered"] else "no")
        assert cell["amiss"] == []


def test_what_the_fuzzer_found_is_told_as_it_was_measured() -> None:
    found, flat = result("fuzz.json"), " ".join(SAFETY.split())
    assert found["frames"] == 1_000_000
    assert f"{found['refused']:,} were refused and {found['decoded']:,} decoded" in flat
    assert f"all {found['commands']:,} commands that came of them were safe" in flat
    assert f"The longest took {1000 * found['longest_s']:.0f} ms" in flat
    assert f"never more than {found['peak_bytes'] / 1e6:.1f} MB" in flat


def test_the_mutation_score_is_told_as_it_was_measured() -> None:
    found = result("mutation-shield.json")
    told = f"Of {found['total']:,} small changes that a tool makes to it, the tests notice "
    told += f"{found['killed']:,} ({found['score']:.1%};"
    assert told in " ".join(SAFETY.split())
    assert found["score"] >= 0.95
    assert len(found["left"]) == found["total"] - found["killed"]


def test_two_machines_are_told_as_they_were_measured() -> None:
    found = result("two-machines.json")
    page = (ROOT / "docs/deployment.md").read_text()
    told = rows(page.split("`docs/results/two-machines.json`", 1)[1].split("\n## ", 1)[0])[2:]
    assert len(told) == len(found["rounds"])
    for cells, run in zip(told, found["rounds"], strict=True):
        wire, ages = run["wire"], run["oldest_s"]
        assert cells[1] == f"{run['missed']} of {run['ticks']['total']}, {run['stalls']} stalls"
        assert cells[2] == f"{run['link']['round_trip']['p50_ms']:.1f}"
        assert cells[3] == f"{wire['lost']} of {wire['lost'] + wire['carried']}"
        assert cells[4] == " / ".join(f"{ages[when]:.2f}" for when in ("before", "during", "after"))
        assert cells[5:] == [f"{run[f'{what}_after_s']:.2f}" for what in ("heard", "fresh")]
    assert "never missed a tick" not in page or not any(r["missed"] for r in found["rounds"])


def test_a_planner_of_a_published_size_is_told_as_it_was_measured() -> None:
    (found,) = result("planner-smolvlm-256m.json")["planners"]
    section = ENGINES.split("`docs/results/planner-smolvlm-256m.json`", 1)[1].split("\n## ", 1)[0]
    told = {cells[0]: cells[1:] for cells in rows(section)}
    for stage, modes in found["stages"].items():
        wanted = [f"{modes['eager']['p50_ms']:.1f}"]
        if "openvino" in modes:
            low, high = modes["openvino"]["times_faster_ci95"]
            wanted.append(f"{modes['openvino']['p50_ms']:.1f}")
            wanted.append(f"{modes['openvino']['times_faster']:.2f} ({low:.2f} .. {high:.2f})")
        assert told[stage][: len(wanted)] == wanted
    one, five = (found["stages"][f"{n} candidates"]["openvino"]["p50_ms"] for n in (1, 5))
    assert f"candidates take {five / one:.2f} times as long" in " ".join(ENGINES.split())


def test_what_a_viewer_costs_is_told_as_it_was_measured() -> None:
    found = result("view-cost.json")
    section = (ROOT / "docs/view.md").read_text().split("`docs/results/view-cost.json`", 1)[1]
    told = [cells[1:] for cells in rows(section.split("\n\n|", 1)[1].split("\n\n", 1)[0])[1:]]
    wanted = []
    for name in ("act_ms", "late_ms"):
        for q in ("p50", "p99"):
            row = found[name][q]
            low, high = row["ci95"]
            ratio = f"{row['ratio']:.3f} ({low:.3f} .. {high:.3f})"
            wanted.append([f"{row['alone']:.3f}", f"{row['viewed']:.3f}", ratio])
    assert told == wanted
    assert found["act_ms"]["p99"]["ratio"] < 1.02
