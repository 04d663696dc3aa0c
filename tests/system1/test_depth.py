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
from dualsys.system1.depth import Depth
from dualsys.system1.stepped import SteppedEngine
from kernels.engine import Engine

CHOICES = (1, 2, 4, 10)


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**8), st.integers(0, 10**7))
def test_what_is_taken_fits_into_the_time_or_is_the_least(
    left: int, step: int, margin: int
) -> None:
    count = Depth("time", CHOICES, (), margin).steps(0.0, left, step)
    assert count in CHOICES
    assert count == 1 or count * step <= left - margin
    more = [n for n in CHOICES if n > count]
    assert not more or more[0] * step > left - margin


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=2))
def test_who_is_less_sure_takes_no_fewer_steps(entropies: list[float]) -> None:
    depth = Depth("unsure", CHOICES, (-1.0, 0.0, 1.0))
    low, high = sorted(entropies)
    assert depth.steps(low, None, 0) <= depth.steps(high, None, 0)
    assert (depth.steps(-2, None, 0), depth.steps(0.0, None, 0), depth.steps(9, None, 0)) == (
        1,
        4,
        10,
    )


def configuration(*words: str) -> dict[str, Any]:
    return load("eval", ["scenario=driving/merge", "system2=none", *words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["system1.depth=deep"], "unknown system1.depth 'deep'.*Valid: fixed, own, time, unsure"),
        (["system1.depth=fixed", "system1.depth_steps=[]"], r"depth_steps=\[\]: give ascending"),
        (["system1.depth=fixed", "system1.depth_steps=[0]"], "give ascending numbers from 1 on"),
        (["system1.depth=unsure"], r"depth_thresholds=\[\]: between the 4 .* stand 3 entropies"),
        (
            ["system1.depth=unsure", "system1.depth_thresholds=[1,0,2]"],
            r"depth_thresholds=\[1.0, 0.0, 2.0\].*ascending",
        ),
        (["system1.depth=time"], "looks at the clock, and lockstep has none; choose unsure"),
        (
            ["system1.depth=time", "runtime=realtime", "system1.depth_margin_ms=-1"],
            "depth_margin_ms=-1 must be zero or more",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(DualsysError, match=said):
        make_depth(configuration(*words))


def test_the_networks_own_depth_is_no_choice() -> None:
    assert make_depth(configuration()) is None


def test_a_drive_takes_as_many_steps_as_asked_and_the_header_says_which_engine(
    untrained: Path,
) -> None:
    met: list[Engine] = []

    def watch(engine: Engine) -> Engine:
        met.append(engine)
        return engine

    words = [f"system1.checkpoint={untrained}", "runtime.episode_s=3"]
    config = configuration(*words, "system1.depth=fixed", "system1.depth_steps=[2]")
    with rig(config, "driving/merge", watch) as driven:
        assert driven.engine["used"] == "onnxruntime, stepped"
        assert driven.engine["checked_on"] == "4 random inputs"
        driven.run(0, 3)
    (engine,) = met
    assert isinstance(engine, SteppedEngine)
    assert engine.taken.keys() == {2}
    assert engine.taken[2] > 20
