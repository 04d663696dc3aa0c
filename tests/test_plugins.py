"""Code of others is found by name, and named by its place on a command line alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from dualsys import plugins
from dualsys.bench.command import run_bench
from dualsys.bench.contents import contents
from dualsys.bench.store import HEADER, SCHEMA, SITTINGS
from dualsys.config import load
from dualsys.errors import DualsysError, UnknownNameError
from dualsys.plugins import PLANNERS, POLICIES, find
from dualsys.runtime.calibration import calibrate
from dualsys.runtime.log import LogWriter
from dualsys.runtime.replay import replay
from dualsys.whatif.junction import play
from sim.driving.spec import SPEC

WRITTEN = """
class Good:
    def __init__(self, spec, checkpoint): ...

class Raising:
    def __init__(self, spec, checkpoint):
        raise KeyError("weights")

NOTHING = 3
"""


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What installed packages offer, for one test."""

    def offer(*entries: tuple[str, str, str]) -> None:
        found = EntryPoints(EntryPoint(*entry) for entry in entries)
        monkeypatch.setattr(plugins, "entry_points", lambda **wanted: found.select(**wanted))

    return offer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "written.py"
    path.write_text(WRITTEN)
    return path


def test_what_is_offered_is_found_by_its_name(offered: Callable[..., None]) -> None:
    offered(("mine", "pathlib:Path", POLICIES))
    found = find(POLICIES, "policy", "mine")
    assert found.make is Path
    assert found.source == "pathlib"
    assert Path(found.file).name == "pathlib.py"


def test_a_missing_entry_point_lists_what_there_is(offered: Callable[..., None]) -> None:
    offered(("reflex", "pathlib:Path", POLICIES), ("other", "pathlib:Path", PLANNERS))
    with pytest.raises(
        UnknownNameError, match=r"Did you mean 'reflex'\? Valid: FILE.py:NAME, netw"
    ):
        find(POLICIES, "policy (system1.driver)", "reflx", ["network"])


def test_two_packages_of_one_name_are_refused(offered: Callable[..., None]) -> None:
    offered(("mine", "pathlib:Path", POLICIES), ("mine", "json:loads", POLICIES))
    with pytest.raises(DualsysError, match="'mine' is offered by pathlib and by json; uninstall"):
        find(POLICIES, "policy", "mine")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nowhere.at.all:It", "ModuleNotFoundError: No module named 'nowhere'"),
        ("pathlib:Nothing", "has no attribute 'Nothing'"),
    ],
)
def test_a_package_that_does_not_load_is_named(
    offered: Callable[..., None], value: str, words: str
) -> None:
    offered(("mine", value, POLICIES))
    with pytest.raises(DualsysError, match=f"offers the policy 'mine' as {value}.*{words}"):
        find(POLICIES, "policy", "mine")


def test_a_file_is_loaded_once_and_told_by_its_digest(file: Path) -> None:
    found, again = (find(POLICIES, "policy", f"{file}:Good") for _ in range(2))
    assert found.make is again.make
    assert found.file == str(file)
    name, digest = found.source.split(" ")
    assert (name, len(digest)) == (str(file), 16)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("{file}:Missing", "has no attribute 'Missing'.*give FILE.py:NAME"),
        ("nowhere.py:Good", "FileNotFoundError.*nowhere.py"),
        ("{file}:NOTHING", "is int, a class or a function that makes one"),
    ],
)
def test_a_place_without_what_is_named_is_refused(file: Path, name: str, words: str) -> None:
    with pytest.raises(DualsysError, match=words):
        find(POLICIES, "policy", name.format(file=file))


def test_code_that_can_not_be_made_says_where_it_raised(file: Path) -> None:
    found = find(POLICIES, "policy", f"{file}:Raising")
    with pytest.raises(
        DualsysError, match=r"KeyError: 'weights' \(in __init__, written.py:7\).*Wo"
    ):
        found.made("policy mine", SPEC, None)


def evil(tmp_path: Path) -> Path:
    """A file that leaves a trace when it is run."""
    path = tmp_path / "evil.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass It: ...\n")
    return path


def run_of(folder: Path, *words: str) -> Path:
    """What a run with those words would have left: header and results."""
    config = load("eval", ["scenario=driving/merge", *words, f"out={folder}"])
    folder.mkdir()
    header = {"config": config, "scenarios": ["driving/merge"], "session": 1}
    with LogWriter(folder / "log.mcap", header):
        pass
    (folder / "results.json").write_text(json.dumps({"config": config, "episodes": []}))
    return folder


@pytest.mark.parametrize("key", ["system1.driver", "system2=own system2.planner"])
def test_nothing_that_was_read_from_a_file_says_what_code_runs(tmp_path: Path, key: str) -> None:
    words = f"{key}={evil(tmp_path)}:It".split()
    run = run_of(tmp_path / "run", *words)
    bench = tmp_path / "bench"
    bench.mkdir()
    command = ["table=triggers", "scenario=driving/merge", *words, f"out={bench}"]
    header = {"schema": SCHEMA, SITTINGS: [{"command": command}]}
    (bench / HEADER).write_text(json.dumps(header))
    for read in (
        lambda: replay(run / "log.mcap", 1, 0.0, []),
        lambda: replay(run / "log.mcap", 2, 0.0, []),
        lambda: play(run, lambda message: None),
        lambda: run_bench(["--resume", f"out={bench}"]),
    ):
        with pytest.raises(
            DualsysError, match=r"names code by its place .*evil.py:It\), and nothi"
        ):
            read()
    assert not (tmp_path / "ran").exists()


def test_a_table_that_is_resumed_names_no_place_either(tmp_path: Path) -> None:
    table, bench = tmp_path / "mine.yaml", tmp_path / "bench"
    table.write_text(f"variants:\n  mine: {{words: ['system1.driver={evil(tmp_path)}:It']}}\n")
    bench.mkdir()
    command = [f"table={table}", "scenario=driving/merge", f"out={bench}"]
    header = {"schema": SCHEMA, SITTINGS: [{"command": command}]}
    (bench / HEADER).write_text(json.dumps(header))
    with pytest.raises(DualsysError, match="names code by its place"):
        run_bench(["--resume", f"out={bench}"])
    assert not (tmp_path / "ran").exists()


def test_what_was_not_said_by_our_network_is_not_calibrated(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", "system1.driver=mine")
    config = load("calibrate", [f"runs=[{run}]", f"out={tmp_path / 'found.json'}"])
    with pytest.raises(DualsysError, match=r"System 1 of .* is mine.*take a quantile"):
        calibrate(config)


def test_a_benchmark_goes_on_with_the_same_code_only(file: Path, tmp_path: Path) -> None:
    words = [f"system1.driver={file}:Good", "system2=own", f"system2.planner={file}:Good"]
    config = load("eval", ["scenario=driving/merge", *words])
    before = contents([config], SPEC)
    assert set(before) == {
        f"code of {key}={file}:Good" for key in ("system1.driver", "system2.planner")
    }
    file.write_text(WRITTEN + "# another")
    assert contents([config], SPEC) != before
