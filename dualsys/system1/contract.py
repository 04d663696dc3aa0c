"""The policy contract as an executable check: run it on one of your own before anything else."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from dualsys.blank import blank_observation
from dualsys.errors import SpecMismatchError
from dualsys.messages import Guidance, Observation, Stamp
from dualsys.spec import WorldSpec
from dualsys.system1.foreign import REMEDY, reports_uncertainty, require_policy, tick_fault
from dualsys.system1.tick import Tick

HELD_TICKS = 2  # on the wall clock an action acts in the tick after its observation
EPOCH = 7


def check_policy(policy: Any, spec: WorldSpec, ticks: int = 20) -> None:
    """Raise `DualsysError` at the first clause of the contract that `policy` breaks.

    Checked, over episodes of drawn observations: every tick is answered with finite commands of
    the world's axes inside their box, for two ticks or more; guidance of any plan is borne; equal
    episodes give equal answers, also after another one; an uncertainty that is reported is a
    number; observations are left as they are.
    """
    name = type(policy).__name__
    require_policy(policy, name)
    first = _episode(policy, spec, name, EPOCH, ticks)
    _episode(policy, spec, name, EPOCH + 1, ticks)  # must leave no trace in the next one
    second = _episode(policy, spec, name, EPOCH, ticks)
    for tick, (one, two) in enumerate(zip(first, second, strict=True)):
        if not np.array_equal(one.action.commands, two.action.commands):
            raise SpecMismatchError(
                f"the policy {name} answers tick {tick} of one episode in two ways; forget "
                "everything in reset(epoch), and draw noise from (epoch, tick)"
            )
    last = first[-1].action.uncertainty
    if reports_uncertainty(policy) and not math.isfinite(last):
        raise SpecMismatchError(
            f"the policy {name} has reports_uncertainty, and tick {ticks - 1} says {last}; give "
            "Tick.of_commands a finite uncertainty, or leave reports_uncertainty out"
        )


def drawn_observation(spec: WorldSpec, epoch: int, tick: int) -> Observation:
    """An observation that nobody saw: pictures of noise, a state somewhere in its range."""
    rng = np.random.default_rng((epoch, tick))
    low, high = (np.array([getattr(a, end) for a in spec.state]) for end in ("low", "high"))
    middle = np.clip(0.0, low, high)
    state = rng.uniform(np.maximum(low, middle - 10), np.minimum(high, middle + 10))
    state = state.astype(np.float32)
    images = {
        c.name: rng.integers(0, 256, (c.height, c.width, c.channels), dtype=np.uint8)
        for c in spec.cameras
    }
    for array in (state, *images.values()):
        array.flags.writeable = False  # as those that come over a link
    stamp = Stamp(1, epoch, tick + 1, tick, tick * spec.period_ns)
    return msgspec.structs.replace(
        blank_observation(spec, tick), stamp=stamp, images=images, state=state
    )


def _episode(policy: Any, spec: WorldSpec, name: str, epoch: int, ticks: int) -> list[Tick]:
    policy.reset(epoch)
    found = []
    for tick in range(ticks):
        seen = drawn_observation(spec, epoch, tick)
        answer = policy.act(seen, _told(spec, epoch, tick), seen.stamp.time_ns)
        fault = tick_fault(answer, seen, spec, HELD_TICKS) or _values(answer, spec)
        if fault is not None:
            raise SpecMismatchError(f"the policy {name} {fault}; {REMEDY}")
        found.append(answer)
    return found


def _told(spec: WorldSpec, epoch: int, tick: int) -> Guidance | None:
    """Nothing at first, then each plan in turn; every other one with a candidate."""
    if tick < 2 or not spec.plans:
        return None
    stamp = Stamp(1, epoch, tick, tick - tick % 2, 0)
    told = Guidance.of_plan(stamp, tick, tick % len(spec.plans), len(spec.action))
    if tick % 2:
        return told
    middle = np.zeros((32, len(spec.action)), np.float32).clip(spec.action_low, spec.action_high)
    return msgspec.structs.replace(told, candidate=middle)


def _values(answer: Tick, spec: WorldSpec) -> str | None:
    tick, commands = answer.action.stamp.tick, answer.action.commands
    if not np.isfinite(commands).all():
        return f"commands numbers in tick {tick} that are not finite"
    reach = 1e-5 * (spec.action_high - spec.action_low)
    outside = (commands < spec.action_low - reach) | (commands > spec.action_high + reach)
    for index, axis in enumerate(spec.action):
        if outside[:, index].any():
            worst = float(commands[outside[:, index], index][0])
            return (
                f"commands {worst:g} in {axis.name} [{axis.unit}] in tick {tick}, the world takes "
                f"{axis.low:g} to {axis.high:g}: clip it, and look at its units (the shield would "
                "cut it off)"
            )
    return None
