from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from dualsys.errors import SpecMismatchError
from dualsys.limits import AxisLimit, PlantLimits, check_limits
from tests.shield.plants import CAR, SLED

GOOD = dict(moves="x", gain=0.1, low=-1.0, high=1.0, rate=1.0)


def check(*axes: AxisLimit, **more: Any) -> None:
    check_limits(PlantLimits(axes=axes, **more), ["vx", "vy"], ["x", "y"], "displacement")


def test_limits_that_fit_are_taken() -> None:
    check(AxisLimit(**GOOD), AxisLimit())
    for spec in (SLED, CAR):
        action, state = ([axis.name for axis in axes] for axes in (spec.action, spec.state))
        check_limits(spec.limits, action, state, spec.motion)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rate": 0.0}, r"axes\[0\].rate is 0.0, a positive number"),
        ({"rate": math.nan}, r"axes\[0\].rate is nan"),
        ({"rate": math.inf}, r"axes\[0\].rate is inf"),
        ({"rate_change": -1.0}, r"axes\[0\].rate_change is -1.0"),
        ({"fallback_rate": -2.0}, r"axes\[0\].fallback_rate is -2.0"),
        ({"low": 1.0}, "low and high of the limits of vx are 1.0 and 1.0"),
        ({"high": math.nan}, "low and high of the limits of vx are -1.0 and nan"),
        ({"reduced_low": 0.5, "reduced_high": 0.4}, "reduced_low and reduced_high of the limits"),
        ({"moves": "z"}, "moves 'z' by 0.1 per tick; the state has x, y"),
        ({"gain": 0.0}, "moves 'x' by 0.0 per tick"),
        ({"gain": math.inf}, "moves 'x' by inf per tick"),
        ({"moves": ""}, "do not say which state axis that is"),
        ({"moves": "", "low": None}, "do not say which state axis that is"),
        ({"moves": "", "high": None}, "do not say which state axis that is"),
    ],
)
def test_a_limit_out_of_range_is_named(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecMismatchError, match=told):
        check(AxisLimit(**{**GOOD, **changed}), AxisLimit())


def test_one_limit_for_each_axis() -> None:
    with pytest.raises(SpecMismatchError, match=r"have 1 axes, the action has 2 \(vx, vy\)"):
        check(AxisLimit())


@pytest.mark.parametrize("changed", [{"lateral_acceleration": 3.0}, {"rss": CAR.limits.rss}])
def test_a_vehicle_s_limits_need_a_vehicle(changed: dict[str, Any]) -> None:
    with pytest.raises(
        SpecMismatchError,
        match=r"^limits on lateral acceleration and distance are for a world that moves as a "
        r"bicycle, "
        r"with the actions acceleration and steering and the state axes speed and "
        r"lane_heading_error; this one moves as 'displacement'",
    ):
        check(AxisLimit(), AxisLimit(), **changed)
    state = ["speed", "lane_heading_error"]
    limits = PlantLimits(axes=(AxisLimit(), AxisLimit()), **changed)
    with pytest.raises(SpecMismatchError, match=r"lacks \['steering'\]"):
        check_limits(limits, ["acceleration", "wheel"], state, "bicycle")
    with pytest.raises(SpecMismatchError, match=r"lacks \['speed'\]"):
        check_limits(limits, ["acceleration", "steering"], state[1:], "bicycle")


@pytest.mark.parametrize("name", ["response_s", "brake", "width_m"])
def test_the_numbers_of_the_distances_are_positive(name: str) -> None:
    assert CAR.limits is not None
    assert CAR.limits.rss is not None
    rss = msgspec.structs.replace(CAR.limits.rss, **{name: 0.0})
    limits = msgspec.structs.replace(CAR.limits, rss=rss)
    action, state = ([axis.name for axis in axes] for axes in (CAR.action, CAR.state))
    with pytest.raises(SpecMismatchError, match=f"rss.{name} is 0.0"):
        check_limits(limits, action, state, "bicycle")
    for field in ("lateral_acceleration", "axle_m"):
        limits = msgspec.structs.replace(CAR.limits, **{field: -1.0})
        with pytest.raises(SpecMismatchError, match=f"{field} is -1.0"):
            check_limits(limits, action, state, "bicycle")


def test_limits_are_no_part_of_what_a_checkpoint_is_held_against() -> None:
    bare = msgspec.structs.replace(SLED, limits=None)
    assert bare.fingerprint == SLED.fingerprint
    from dualsys.spec import require_same

    require_same(SLED, bare, "a", "b")


def test_limits_survive_the_wire_and_a_card() -> None:
    for codec in (msgspec.json, msgspec.msgpack):
        assert codec.decode(codec.encode(CAR), type=type(CAR)) == CAR
