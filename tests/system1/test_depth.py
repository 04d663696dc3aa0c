"""How many flow steps a tick takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.bench.rig import rig
from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.runtime.engines import make_depth
from dualsys.system1.depth import RECENT, Depth, Effort, Pace
from dualsys.system1.stepped import SteppedEngine
from kernels.engine import Engine

efforts = st.builds(Effort, st.integers(1, 10), st.integers(1, 3))
CHOICES = tuple(Effort(steps, 3) for steps in (1, 2, 4, 10))


@given(
    st.lists(efforts, min_size=1, max_size=6, unique=True),
    st.integers(-(10**9), 10**9),
    st.tuples(*[st.integers(0, 10**8)] * 3),
    st.integers(0, 10**7),
)
def test_what_is_taken_fits_into_the_time_or_is_the_quickest(
    choices: list[Effort], left: int, steps_ns: tuple[int, int, int], margin: int
) -> None:
    times = dict(enumerate(steps_ns, 1))
    taken = Depth("time", tuple(choices), (), margin).chosen(0.0, left, times)
    needed = [effort.steps * times[effort.layers] for effort in choices]
    place = choices.index(taken)
    assert needed[place] <= left - margin or needed[place] == min(needed)
    assert all(ns > left - margin for ns in needed[place + 1 :]) or needed[place] > left - margin
    if any(ns <= left - margin for ns in needed):
        assert needed[place] <= left - margin, "never past the deadline where there is a way"


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=2))
def test_who_is_less_sure_takes_no_less(entropies: list[float]) -> None:
    depth = Depth("unsure", CHOICES, (-1.0, 0.0, 1.0))
    places = [CHOICES.index(depth.chosen(value, None, {})) for value in sorted(entropies)]
    assert places == sorted(places)
    assert [depth.chosen(value, None, {}).steps for value in (-2, 0.0, 9)] == [1, 4, 10]


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 10**9)), max_size=300))
def test_a_step_takes_as_long_as_the_slowest_of_late(steps: list[tuple[int, int]]) -> None:
    first = {1: 10, 2: 20, 3: 30}
    pace = Pace(first)
    for layers, ns in steps:
        pace.took(layers, ns)
    for layers, ns in pace.step_ns().items():
        mine = [each for number, each in steps[-RECENT:] if number == layers]
        assert ns == max(mine, default=first[layers])


def test_what_was_slow_once_is_tried_again() -> None:
    depth, pace = Depth("time", (Effort(1, 1), Effort(1, 3))), Pace({1: 1, 3: 3})
    pace.took(3, 1000)
    assert depth.chosen(0.0, 10, pace.step_ns()) == Effort(1, 1)
    for _ in range(RECENT):
        pace.took(1, 1)
    assert depth.chosen(0.0, 10, pace.step_ns()) == Effort(1, 3)


def configuration(*words: str) -> dict[str, Any]:
    return load("eval", ["scenario=driving/merge", "system2=none", *words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["system1.depth=deep"], "unknown system1.depth 'deep'.*Valid: fixed, own, time, unsure"),
        (["system1.depth=fixed", "system1.depth_steps=[]"], r"make \[\] .*: give numbers from 1"),
        (["system1.depth=fixed", "system1.depth_steps=[0]"], "can be 1 or more, it is 0"),
        (["system1.depth=fixed", "system1.depth_steps=[2,1]"], "more steps or more blocks each"),
        (
            ["system1.depth=fixed", "system1.depth_layers=[1,2]"],
            r"depth_layers=\[1, 2\]: give one number from 1 to 3 for each of .*\[1, 2, 4, 10\]",
        ),
        (
            ["system1.depth=fixed", "system1.depth_steps=[1]", "system1.depth_layers=[4]"],
            "from 1 to 3",
        ),
        (
            ["system1.depth=fixed", "system1.depth_steps=[1]", "system1.depth_layers=[0]"],
            "can be 1 or more, it is 0",
        ),
        (["system1.depth=unsure"], r"depth_thresholds=\[\]: between the 4 .* stand 3 entropies"),
        (
            ["system1.depth=unsure", "system1.depth_thresholds=[1,0,2]"],
            r"depth_thresholds=\[1.0, 0.0, 2.0\].*ascending",
        ),
        (["system1.depth=time"], "looks at the clock, and lockstep has none; choose unsure"),
        (
            ["system1.depth=time", "runtime=realtime", "system1.depth_margin_ms=-1"],
            "depth_margin_ms can be 0 or more, it is -1",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(DualsysError, match=said):
        make_depth(configuration(*words), 3)


def test_the_networks_own_depth_is_no_choice() -> None:
    assert make_depth(configuration(), 3) is None


def test_steps_and_blocks_stand_in_two_lists() -> None:
    words = ["system1.depth_steps=[4,2,4]", "system1.depth_layers=[1,2,3]"]
    depth = make_depth(configuration("system1.depth=fixed", *words), 3)
    assert depth is not None
    assert [str(effort) for effort in depth.choices] == ["4x1", "2x2", "4x3"]
    assert depth.layers == [1, 2, 3]
    whole = make_depth(configuration("system1.depth=fixed"), 3)
    assert whole is not None
    assert whole.choices == CHOICES, "where no blocks are named, a step takes all"


def test_a_drive_takes_as_many_steps_as_asked_and_the_header_says_which_engine(
    untrained: Path,
) -> None:
    met: list[Engine] = []

    def watch(engine: Engine) -> Engine:
        met.append(engine)
        return engine

    words = [f"system1.checkpoint={untrained}", "runtime.episode_s=3", "engine.names=[onnxruntime]"]
    config = configuration(*words, "system1.depth=fixed", "system1.depth_steps=[2]")
    with rig(config, "driving/merge", watch) as driven:
        assert driven.engine["used"] == "onnxruntime, stepped"
        assert driven.engine["checked_on"] == "4 random inputs"
        driven.run(0, 3)
    (engine,) = met
    assert isinstance(engine, SteppedEngine)
    assert engine.taken.keys() == {Effort(2, 1)}
    assert engine.taken[Effort(2, 1)] > 20
