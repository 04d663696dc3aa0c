from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from dualsys.bench.store import SCHEMA, Cell, Store, read_header, slug, write
from dualsys.bench.table import PLACEHOLDER, Variant, check, load_table
from dualsys.config import config_folder, load
from dualsys.errors import DualsysError, UnknownNameError

IDENTITY = {
    "schema": SCHEMA,
    "shared": [],
    "variants": {"never": ["system2=none"]},
    "contents": {"latency.trace=a": "12"},
    "git": {"commit": "a", "dirty": False},
}
SITTING = {"command": ["suite=mt10"], "machine": {"cores": 2}}


def test_a_finished_episode_is_there_again(tmp_path: Path) -> None:
    cell = Cell("best of 5, cascade", "driving/cut_in@0.8", 3)
    store = Store(tmp_path, IDENTITY, SITTING)
    assert not store.has(cell)
    store.put(cell, {"success": True, "return": 0.1})
    again = Store(tmp_path, IDENTITY, SITTING)
    assert again.has(cell)
    assert again.get(cell) == {"success": True, "return": 0.1}
    assert not again.has(Cell(cell.variant, cell.scenario, 4))
    again.ended(2.5)
    sittings = read_header(tmp_path)["sittings"]
    assert [sitting["elapsed_s"] for sitting in sittings] == [None, 2.5]
    assert sittings[1] == {**SITTING, "elapsed_s": 2.5}


def test_another_benchmark_is_refused_field_by_field(tmp_path: Path) -> None:
    Store(tmp_path, IDENTITY, SITTING)
    Store(tmp_path, IDENTITY, {**SITTING, "command": ["suite=mt10", "workers=2"]})
    other = {**IDENTITY, "git": {"commit": "b", "dirty": False}}
    with pytest.raises(DualsysError, match=r"\(git, commit: there a, now b\); use another out="):
        Store(tmp_path, other, SITTING)


def test_variants_are_added_and_none_is_changed_or_forgotten(tmp_path: Path) -> None:
    Store(tmp_path, IDENTITY, SITTING)
    more: dict[str, Any] = {
        **IDENTITY,
        "variants": {"always": ["trigger=always"], "never": ["system2=none"]},
        "contents": {"latency.trace=a": "12", "trigger.gate=b": "34"},
    }
    Store(tmp_path, more, SITTING)
    assert read_header(tmp_path)["variants"] == more["variants"]
    with pytest.raises(
        DualsysError, match=r"variants, always: there \['trigger=always'\], now None"
    ):
        Store(tmp_path, IDENTITY, SITTING)
    for part, changed in (("variants", {"never": []}), ("contents", {"latency.trace=a": "13"})):
        with pytest.raises(DualsysError, match=f"{part}, "):
            Store(tmp_path, {**more, part: {**more[part], **changed}}, SITTING)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bench.json"
    write(path, b"whole")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*bench\.json'"):
        write(path, b"another whole")
    assert [p.name for p in tmp_path.iterdir()] == ["bench.json"]
    assert path.read_bytes() == b"whole"


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(DualsysError, match="not empty"):
        Store(tmp_path, IDENTITY, SITTING)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(DualsysError, match="no folder of a benchmark"):
        read_header(tmp_path)


def test_results_of_another_version_are_refused(tmp_path: Path) -> None:
    Store(tmp_path, {**IDENTITY, "schema": "dualsys-bench/0"}, SITTING)
    with pytest.raises(DualsysError, match=r"schema 'dualsys-bench/0'.*run the benchmark again"):
        read_header(tmp_path)


def test_a_broken_episode_names_itself(tmp_path: Path) -> None:
    store, cell = Store(tmp_path, IDENTITY, SITTING), Cell("never", "driving/merge", 7)
    store.put(cell, {})
    (file,) = tmp_path.rglob("7.json")
    file.write_bytes(b'{"succ')
    with pytest.raises(DualsysError, match=r"never, driving/merge, seed 7 .* delete its file"):
        store.get(cell)


def test_names_become_folders_that_differ() -> None:
    names = ["best of 5, cascade", "driving/cut_in@0.8", "driving/cut_in@0.3"]
    assert len({slug(name) for name in names}) == 3
    assert all("/" not in slug(name) for name in names)


def test_a_table_that_refers_to_nothing_is_refused() -> None:
    with pytest.raises(DualsysError, match="no variant"):
        check({})
    with pytest.raises(UnknownNameError, match="nobody"):
        check({"never": Variant((), "nobody")})
    late = {"random": Variant(("trigger.rate={rate of gate}",)), "gate": Variant(())}
    with pytest.raises(UnknownNameError, match="gate"):
        check(late)
    check(dict(reversed(late.items())))


def test_every_table_of_the_house_refers_to_what_is_there() -> None:
    for path in sorted((config_folder() / "tables").glob("*.yaml")):
        variants = load_table(path.stem, [])
        check(variants)
        for name, variant in variants.items():
            words = [PLACEHOLDER.sub("0.1", word) for word in variant.words]
            assert load("eval", ["suite=mt10", *words]), name


def test_some_of_a_table(tmp_path: Path) -> None:
    some = load_table("ablation", ["plan", "plan, code of 8 bits"])
    assert list(some) == ["plan", "plan, code of 8 bits"]
    assert some["plan"].against == "", "what it is compared with is left out"
    assert some["plan, code of 8 bits"].against == "plan"
    with pytest.raises(UnknownNameError, match="cascade"):
        load_table("ablation", ["cascade of 5"])
    with pytest.raises(UnknownNameError, match="ablation"):
        load_table("ablaton", [])
    (tmp_path / "mine.yaml").write_text("variants: {never: {word: []}}")
    with pytest.raises(DualsysError, match="no table of variants"):
        load_table(str(tmp_path / "mine.yaml"), [])
