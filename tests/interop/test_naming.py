"""The names of others for what is ours: completed, checked, and carried over both ways."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualsys.blank import blank_observation
from dualsys.errors import DualsysError, SpecMismatchError
from dualsys.interop.naming import DEFAULTS, Naming, PeerNames, actions, commands, observe, tell
from dualsys.messages import Stamp
from dualsys.spec import WorldSpec
from sim.driving.spec import SPEC
from tests.fakes import SPEC as FAKE_SPEC

STATE = [axis.name for axis in SPEC.state]
STAMP = Stamp(1, 2, 3, 4, 5)
EMPTY = PeerNames()


def names(**changed: Any) -> PeerNames:
    return msgspec.structs.replace(EMPTY, **changed)


@pytest.mark.parametrize("protocol", DEFAULTS)
@pytest.mark.parametrize("spec", [SPEC, FAKE_SPEC], ids=["driving", "fake"])
def test_what_is_told_is_observed(protocol: str, spec: WorldSpec) -> None:
    naming = Naming.of(spec, protocol, EMPTY, whole_state=True)
    rng = np.random.default_rng(0)
    seen = msgspec.structs.replace(
        blank_observation(spec, 4),
        images={
            c.name: rng.integers(0, 256, (c.height, c.width, c.channels), dtype=np.uint8)
            for c in spec.cameras
        },
        state=rng.standard_normal(len(spec.state)).astype(np.float32),
        instruction="go on",
    )
    found = observe(naming, spec, tell(naming, spec, seen), STAMP)
    assert found.stamp == STAMP
    assert found.instruction == "go on"
    np.testing.assert_array_equal(found.state, seen.state)
    for name, image in seen.images.items():
        np.testing.assert_array_equal(found.images[name], image)
    assert set(found.image_ticks.values()) == {4}


@given(order=st.permutations(STATE), cut=st.integers(1, len(STATE) - 1), data=st.data())
def test_streams_may_split_and_order_our_axes_as_they_like(
    order: list[str], cut: int, data: st.DataObject
) -> None:
    streams = {"one": order[:cut], "two": order[cut:]}
    naming = Naming.of(SPEC, "openpi", names(state=streams), whole_state=True)
    state = np.array(data.draw(st.lists(st.floats(-5, 5), min_size=8, max_size=8)), np.float32)
    seen = msgspec.structs.replace(blank_observation(SPEC, 0), state=state)
    told = tell(naming, SPEC, seen)
    assert [told["one"].size, told["two"].size] == [cut, len(STATE) - cut]
    assert told["one"][0] == state[STATE.index(order[0])]
    np.testing.assert_array_equal(observe(naming, SPEC, told, STAMP).state, state)


def test_commands_come_back_in_our_order_and_inside_the_limits() -> None:
    streams = {"steer": ["steering"], "go": ["acceleration"]}
    naming = Naming.of(SPEC, "openpi", names(action=streams), whole_state=True)
    chunk = np.array([[1.0, 0.1], [-1.0, 0.2]], np.float32)
    told = actions(naming, SPEC, chunk)
    np.testing.assert_array_equal(told["steer"], chunk[:, 1:])
    np.testing.assert_array_equal(commands(naming, SPEC, told), chunk)
    wild = {"steer": np.full((2, 1), 1e9), "go": np.full((2, 1), -1e9)}
    found = commands(naming, SPEC, wild)
    np.testing.assert_array_equal(found[0], [SPEC.action_low[0], SPEC.action_high[1]])


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"images": {"wrist": "w"}}, r"names \['wrist'\], the world's cameras are \['topdown'\]"),
        ({"state": {"s": ["speed"]}}, "missing: acceleration, steering"),
        ({"state": {"s": [*STATE, "height"]}}, "unknown: height"),
        ({"state": {"s": STATE, "t": ["speed"]}}, "twice: speed"),
        ({"action": {"a": ["steering"]}}, r"missing: acceleration\); its axes are .*m/s2"),
    ],
)
def test_names_that_do_not_fit_the_world_are_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(DualsysError, match=says):
        Naming.of(SPEC, "openpi", names(**changed), whole_state=True)


def test_a_server_may_be_told_a_part_of_our_state() -> None:
    naming = Naming.of(SPEC, "openpi", names(state={"v": ["speed"]}), whole_state=False)
    assert tell(naming, SPEC, blank_observation(SPEC, 0))["v"].shape == (1,)


NAMING = Naming.of(SPEC, "openpi", EMPTY, whole_state=True)
GOOD: dict[str, Any] = tell(NAMING, SPEC, blank_observation(SPEC, 0))
IMAGE, NUMBERS = "observation/topdown", "observation/state"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({IMAGE: np.zeros((32, 32, 3), np.uint8)}, r"has to be uint8 \(64, 64, 3\).*\(32, 32, 3\)"),
        ({IMAGE: np.zeros((64, 64, 3), np.float32)}, "it is float32"),
        ({IMAGE: np.zeros((2, 64, 64, 3), np.uint8)}, "one robot, the present moment alone"),
        ({IMAGE: "picture"}, "numbers were expected"),
        ({NUMBERS: np.zeros(3)}, "has 3 numbers, 8 were expected: speed, "),
        ({NUMBERS: np.full(8, np.nan)}, "is not finite in speed, "),
        ({"prompt": 3}, "holds int, a sentence was expected"),
        ({"prompt": ["a", "b"]}, "holds list, a sentence was expected"),
    ],
)
def test_an_observation_that_does_not_fit_names_both_sides(
    changed: dict[str, Any], says: str
) -> None:
    with pytest.raises(SpecMismatchError, match=says):
        observe(NAMING, SPEC, GOOD | changed, STAMP)


def test_a_missing_key_is_named_with_those_that_came() -> None:
    with pytest.raises(SpecMismatchError, match=r"no 'observation/topdown'; it has \['image'\]"):
        observe(NAMING, SPEC, {"image": 1}, STAMP)


def test_batches_and_histories_of_one_are_opened() -> None:
    given = {key: v if isinstance(v, str) else v[None, None] for key, v in GOOD.items()}
    found = observe(NAMING, SPEC, given | {"prompt": [["turn"]]}, STAMP)
    assert (found.state.shape, found.instruction) == ((8,), "turn")


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"action": np.zeros((4, 2))}, r"has no 'actions', it has \['action'\]"),
        ({"actions": np.zeros((4, 7))}, "has 7 axes, 2 were expected: acceleration, steering"),
        ({"actions": np.full((4, 2), np.inf)}, "not finite"),
        ({"actions": np.zeros((3, 4, 2))}, "one robot"),
    ],
)
def test_an_answer_that_does_not_fit_names_both_sides(answer: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecMismatchError, match=says):
        commands(NAMING, SPEC, answer)
