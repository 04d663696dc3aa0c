"""The benchmark as it is used: whole, with other workers, on a cluster, with more seeds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dualsys.bench.command import run_bench
from dualsys.bench.store import read_header
from dualsys.cli import main
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.runtime.assembly import make_trigger
from dualsys.trigger.situation import Situation
from sim.driving.spec import SPEC
from tests.benchmarks import words


def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "bench.json").read_text())
    return found


def same(one: Path, other: Path) -> bool:
    return (one / "bench.json").read_bytes() == (other / "bench.json").read_bytes()


def test_every_variant_is_measured_and_compared(done: Path) -> None:
    found = report(done)
    assert list(found["measured"]) == ["never", "periodic", "as_often"], "as in the table"
    never, periodic = (found["measured"][n]["driving/merge"] for n in ("never", "periodic"))
    assert never["mean"]["calls_per_minute"]["value"] == 0
    assert periodic["mean"]["calls_per_minute"]["value"] == pytest.approx(60, abs=1)
    assert periodic["mean"]["thinking_s"]["value"] > 0
    assert 0 <= periodic["mean"]["score"]["value"] <= 1
    gain = found["compared"]["periodic"]["driving/merge"]["score"]
    assert gain["pairs"] == 5
    assert gain["p"] <= gain["p_holm"] <= 1
    assert "success" not in found["compared"]["periodic"]["driving/merge"], "all were cut off"
    assert found["compared"]["as_often"]["against"] == "periodic"
    assert periodic["code_bits"] == 0, "the scripted planner sends no plan vector"
    assert periodic["bits"] == periodic["plan_bits"]


def test_the_results_say_what_they_are_results_of(done: Path, untrained: Path) -> None:
    found = report(done)
    assert found["versions"]["torch"]
    assert found["git"].keys() >= {"commit", "dirty"}
    assert found["seeds"] == list(range(5))
    rate = found["measured"]["periodic"]["driving/merge"]["mean"]["calls_per_tick"]["value"]
    settled = ["trigger=random", f"trigger.rate={rate:.6f}"]
    assert found["settled"] == {"as_often": {"driving/merge": settled}}
    assert found["configurations"]["as_often"]["trigger"]["rate"] == pytest.approx(rate, abs=1e-6)
    assert not {"workers", "out"} & set(found["configurations"]["never"])
    assert set(found["engines"]) == {"never", "periodic", "as_often"}
    assert len(set(found["engines"].values())) == 1
    (word,) = found["contents"]
    assert word == f"system1.driver=network system1.checkpoint={untrained}"


def test_the_control_draws_its_calls_at_the_settled_rate(done: Path) -> None:
    """How often such a trigger calls is tested of it alone: here, that it is the one that ran."""
    config = load("eval", ["scenario=driving/merge", "trigger=random", "system2=scripted"])
    config["trigger"]["rate"] = report(done)["configurations"]["as_often"]["trigger"]["rate"]
    trigger = make_trigger(config, SPEC, "driving/merge")
    for seed in range(5):
        row = json.loads((done / f"episodes/as_often/driving_merge/{seed}.json").read_text())
        trigger.reset(seed)
        drawn = [t for t in range(row["steps"]) if trigger.decide(t, Situation()) is not None]
        assert row["calls"] == len(drawn)


def test_the_number_of_workers_changes_nothing(
    done: Path, untrained: Path, table: Path, tmp_path: Path
) -> None:
    run_bench(words(untrained, table, tmp_path / "two", "workers=2"))
    assert same(tmp_path / "two", done)
    (one,), (two,) = (read_header(out)["sittings"] for out in (done, tmp_path / "two"))
    assert one["command"] != two["command"], "what differs stands in the header alone"
    assert two["elapsed_s"] > 0
    assert two["machine"]["cores"] > 0


def test_a_cluster_gives_the_same(done: Path, untrained: Path, table: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray comes with the extra `cluster`")
    run_bench(words(untrained, table, tmp_path / "ray", "workers=2", "ray_address=local"))
    assert same(tmp_path / "ray", done)


def test_what_is_missing_is_run_again_and_nothing_else(done: Path, tmp_path: Path) -> None:
    out = shutil.copytree(done, tmp_path / "cut")
    kept = {path: path.stat().st_mtime_ns for path in (out / "episodes").rglob("*.json")}
    gone = sorted(kept)[4]
    gone.unlink()
    (out / "bench.json").unlink()
    assert run_bench(["--resume", f"out={out}"]) == 0
    assert same(out, done)
    assert gone.is_file()
    del kept[gone]
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())


def test_more_seeds_go_into_the_same_folder(
    done: Path, untrained: Path, table: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(done, tmp_path / "more")
    (rate,) = [
        json.loads(file.read_text()) for file in (out / "words").glob("as_often/driving_merge.json")
    ]
    run_bench([*words(untrained, table, out), "seeds=0:6"])
    assert report(out)["seeds"] == list(range(6))
    (after,) = [
        json.loads(file.read_text()) for file in (out / "words").glob("as_often/driving_merge.json")
    ]
    assert after == rate, "the random gate's episodes stay of one kind"


def test_more_variants_go_into_the_same_folder(
    done: Path, untrained: Path, table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "grown"
    run_bench([*words(untrained, table, out), "variants=[periodic]"])
    assert list(report(out)["variants"]) == ["periodic"]
    kept = {path: path.stat().st_mtime_ns for path in (out / "episodes").rglob("*.json")}
    run_bench(words(untrained, table, out))
    assert same(out, done), "whatever the order in which they came"
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())


def test_mistakes_are_one_clear_line(
    done: Path,
    untrained: Path,
    table: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for wrong, told in (
        (["bench", "suite=driven"], "driven"),
        (["bench", "suite=mt10", "table=trigers"], "triggers"),
        (["bench", "--resume"], "takes out=DIR"),
        (["bench", *words(untrained, table, done), "latency=none"], "holds another benchmark"),
        (["bench", "suite=longtail", "table=triggers", "trigger.gate=/nowhere"], "train gate"),
        (["bench", "suite=mt10", "runtime=realtime", f"out={tmp_path / 'never'}"], "lockstep"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(wrong)
        assert stopped.value.code == 2
        error = capsys.readouterr().err
        assert told in error
        assert "Traceback" not in error
    assert not (tmp_path / "never").exists(), "nothing is begun"


def test_resuming_needs_a_benchmark(tmp_path: Path) -> None:
    with pytest.raises(DualsysError, match="no folder of a benchmark"):
        run_bench(["--resume", f"out={tmp_path}"])
