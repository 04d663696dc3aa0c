from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import pytest

from dualsys.errors import DualsysError, SpecMismatchError
from dualsys.inbox import Inbox
from dualsys.messages import Guidance, Observation, Stamp
from dualsys.system1.policy import Policy
from dualsys.system1.timing import PolicyConfig
from dualsys.trigger.acceptance import Acceptance
from dualsys.trigger.rules import NeverTrigger, PeriodicTrigger
from dualsys.trigger.situation import Situation, feature_names
from kernels.engine import TensorSpec
from tests.fakes import SPEC, PointEngine


def observation(tick: int, **changes: object) -> Observation:
    fields: dict[str, object] = {
        "stamp": Stamp(1, 0, tick + 1, tick, tick * SPEC.period_ns),
        "images": {"eye": np.zeros((16, 16, 3), np.uint8)},
        "image_ticks": {"eye": tick},
        "state": np.array([1.0, -1.0], np.float32),
        "scene": np.zeros((1, 3), np.float32),
        "instruction": "go",
        **changes,
    }
    return Observation(**fields)  # type: ignore[arg-type]


def guidance(tick: int, candidate_ticks: int = 0) -> Guidance:
    candidate = np.full((candidate_ticks, 2), 0.25, np.float32)
    candidate += np.arange(candidate_ticks, dtype=np.float32)[:, None]
    stamp = Stamp(1, 0, 7, tick, 0)
    return Guidance(stamp, 1, 1, np.ones(4, np.float32), candidate, 0.0, True, 0, "")


def policy(engine: PointEngine, **timing: float) -> Policy:
    config = PolicyConfig(**{"replan_ticks": 4, "blend_ticks": 0, **timing})
    return Policy(SPEC, engine, NeverTrigger(), config)


def test_every_tick_is_answered_and_the_network_runs_at_its_own_rate() -> None:
    engine = PointEngine(horizon=8)
    system1 = policy(engine)
    ticks = [system1.act(observation(tick), None, 0) for tick in range(12)]
    assert len(engine.calls) == 3
    assert [t.provenance.replanned for t in ticks] == [t % 4 == 0 for t in range(12)]
    assert all(
        len(t.action.commands) >= 1 and t.action.first_tick == i for i, t in enumerate(ticks)
    )


def test_new_guidance_is_used_in_the_tick_in_which_it_arrives() -> None:
    engine = PointEngine()
    system1 = policy(engine)
    system1.act(observation(0), None, 0)
    tick = system1.act(observation(1), guidance(0), 0)
    assert tick.provenance.replanned
    assert tick.provenance.guidance_age_ticks == 1
    np.testing.assert_array_equal(engine.calls[-1]["plan"], [[0, 1]])
    np.testing.assert_array_equal(engine.calls[-1]["z"], [[1, 1, 1, 1]])
    assert engine.calls[-1]["phase"][0, 0] == pytest.approx(1 / SPEC.control_rate_hz)


def test_the_source_is_the_slice_of_the_candidate_that_belongs_to_the_tick() -> None:
    engine = PointEngine(horizon=8)
    policy(engine).act(observation(3), guidance(0, candidate_ticks=12), 0)
    assert engine.calls[-1]["use_candidate"][0, 0] == 1
    np.testing.assert_allclose(engine.calls[-1]["candidate"][0, :, 0], np.arange(3, 11) + 0.25)


def test_a_candidate_that_ends_too_early_is_not_used() -> None:
    engine = PointEngine(horizon=8)
    policy(engine).act(observation(5), guidance(0, candidate_ticks=12), 0)
    assert engine.calls[-1]["use_candidate"][0, 0] == 0
    assert not engine.calls[-1]["candidate"].any()


def test_expired_guidance_leaves_system_1_alone() -> None:
    engine = PointEngine()
    tick = policy(engine, max_guidance_age_ticks=10).act(observation(11), guidance(0), 0)
    assert tick.provenance.guidance_sequence == -1
    assert not engine.calls[-1]["plan"].any()


def test_a_request_carries_the_observation_that_raised_it() -> None:
    system1 = Policy(SPEC, PointEngine(), PeriodicTrigger(3), PolicyConfig())
    ticks = [system1.act(observation(t), None, t) for t in range(7)]
    requests = [t.request for t in ticks if t.request is not None]
    assert [r.observation.stamp.tick for r in requests] == [0, 3, 6]
    assert [r.request_id for r in requests] == [1, 2, 3]


def test_the_same_tick_draws_the_same_noise() -> None:
    first, second = PointEngine(), PointEngine()
    policy(first).act(observation(5), None, 0)
    policy(second).act(observation(5), None, 123)
    np.testing.assert_array_equal(first.calls[0]["noise"], second.calls[0]["noise"])


def test_runs_that_differ_elsewhere_draw_the_same_noise() -> None:
    """The session is a function of the whole configuration; pairs must share the noise."""
    first, second = PointEngine(), PointEngine()
    policy(first).act(observation(5), None, 0)
    policy(second).act(observation(5, stamp=Stamp(2, 0, 6, 5, 5 * SPEC.period_ns)), None, 0)
    np.testing.assert_array_equal(first.calls[0]["noise"], second.calls[0]["noise"])
    policy(second).act(observation(5, stamp=Stamp(2, 1, 6, 5, 5 * SPEC.period_ns)), None, 0)
    assert not np.array_equal(first.calls[0]["noise"], second.calls[-1]["noise"]), "episodes differ"


def test_the_noise_scale_is_that_of_the_flow_that_is_carried_out() -> None:
    """The others are drawn as in training: their spread tells how sure System 1 is."""
    engine = PointEngine()
    engine.inputs["noise"] = TensorSpec((3, 8, 2), "float32")
    policy(engine, noise_scale=0.0).act(observation(0), None, 0)
    noise = engine.calls[0]["noise"]
    assert not noise[0].any()
    assert noise[1:].std() > 0.5


class SeveralEngine(PointEngine):
    """Its samples are the chunk, and twice it."""

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = super().run(arrays)
        return found | {"samples": np.concatenate([found["chunk"], 2 * found["chunk"]])}


def test_a_request_shows_every_sample_from_its_tick_on() -> None:
    timing = PolicyConfig(replan_ticks=4, blend_ticks=0)
    asking = Policy(SPEC, SeveralEngine(), PeriodicTrigger(1), timing)
    for tick in range(3):
        request = asking.act(observation(tick), None, 0).request
        assert request is not None
        running, other = request.samples
        assert len(running) == 8 - tick
        np.testing.assert_allclose(other, np.clip(2 * running, SPEC.action_low, SPEC.action_high))
    alone = Policy(SPEC, PointEngine(), PeriodicTrigger(1), timing)
    request = alone.act(observation(0), None, 0).request
    assert request is not None
    assert len(request.samples) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": {}}, r"cameras \['eye'\].*has \[\]"),
        ({"images": {"eye": np.zeros((8, 8, 3), np.uint8)}}, r"\(16, 16, 3\).*\(8, 8, 3\)"),
        ({"images": {"eye": np.zeros((16, 16, 3), np.float32)}}, "uint8.*float32"),
        ({"state": np.zeros(3, np.float32)}, r"float32 \(2,\)"),
        ({"state": np.array([0.0, np.nan], np.float32)}, r"\['y'\].*not finite"),
    ],
)
def test_an_observation_that_does_not_fit_names_both_sides(
    changes: dict[str, object], words: str
) -> None:
    with pytest.raises(SpecMismatchError, match=words):
        policy(PointEngine()).act(observation(0, **changes), None, 0)


def test_times_become_ticks_of_the_world() -> None:
    times = {"replan_s": 0.1, "blend_s": 0.025, "max_guidance_age_s": 5.0}
    arm = PolicyConfig.in_seconds(80.0, **times, phase_limit_s=2.0, noise_scale=1.0)
    assert (arm.replan_ticks, arm.blend_ticks, arm.max_guidance_age_ticks) == (8, 2, 400)
    car = PolicyConfig.in_seconds(15.0, **times, phase_limit_s=2.0, noise_scale=1.0)
    assert (car.replan_ticks, car.blend_ticks, car.max_guidance_age_ticks) == (2, 0, 75)


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(DualsysError, match="replan_s"):
        PolicyConfig.in_seconds(80.0, bad, 0.0, 5.0, 2.0, 1.0)


def test_the_phase_stamp_stops_where_training_stopped() -> None:
    engine = PointEngine()
    policy(engine, max_guidance_age_ticks=1000).act(observation(900), guidance(0), 0)
    assert engine.calls[-1]["phase"][0, 0] == 2.0


def test_without_the_cascade_the_candidate_is_carried_out_as_it_is() -> None:
    engine = PointEngine(horizon=8)
    plain = policy(engine, cascade=False)
    tick = plain.act(observation(3), guidance(0, candidate_ticks=12), 0)
    assert engine.calls[-1]["use_candidate"][0, 0] == 0
    wanted = np.clip(np.arange(3, 11) + 0.25, SPEC.action_low[0], SPEC.action_high[0])
    np.testing.assert_allclose(tick.action.commands[:8, 0], wanted)
    late = plain.act(observation(8), guidance(0, candidate_ticks=12), 0)
    assert not np.allclose(late.action.commands[:8, 0], wanted), "it ended: System 1 goes on"


LIES = {
    "foreign_plan": {"plan": 2},
    "foreign_code": {"z": np.zeros(5, np.float32)},
    "foreign_candidate": {"candidate": np.zeros((16, 3), np.float32)},
    "not_finite": {"candidate": np.full((16, 2), np.nan, np.float32)},
    "outside_limits": {"candidate": np.full((16, 2), 1e30, np.float32)},
}


@pytest.mark.parametrize("reason", LIES)
def test_guidance_that_can_not_be_used_is_dropped_by_reason(reason: str) -> None:
    system1 = policy(PointEngine())
    inbox: Inbox[Guidance] = Inbox(1, 0, system1.fault)
    honest = msgspec.structs.replace(guidance(0), candidate=np.zeros((16, 2), np.float32))
    assert not inbox.offer(msgspec.structs.replace(honest, **LIES[reason]), 0)
    assert inbox.drops == {reason: 1}
    system1.act(observation(0), inbox.newest, 0)
    assert inbox.offer(honest, 0)
    system1.act(observation(1), inbox.newest, 0)


def test_the_running_chunk_is_kept_until_the_new_one_can_act() -> None:
    engine = PointEngine(horizon=8)
    engine.inputs["committed"] = TensorSpec((1, 3, 2), "float32")
    engine.inputs["committed_ticks"] = TensorSpec((1, 1), "float32")
    system1 = policy(engine, commit_ticks=2, told_ticks=2)
    first = system1.act(observation(0), None, 0).action.commands
    assert engine.calls[0]["committed_ticks"] == 0, "nothing runs yet"
    state = np.array([-5.0, 5.0], np.float32)
    later = [system1.act(observation(t, state=state), None, 0) for t in range(1, 5)][-1]
    assert later.provenance.replanned
    assert engine.calls[-1]["committed_ticks"] == 2
    np.testing.assert_array_equal(engine.calls[-1]["committed"][0, :2], first[4:6])
    np.testing.assert_array_equal(later.action.commands[:2], first[4:6])
    assert not np.array_equal(later.action.commands[2], first[6])
    jump = np.abs(later.action.commands[2] - first[6]) / (SPEC.action_high - SPEC.action_low)
    assert system1.seam_jump == pytest.approx(jump.max()), "where the new chunk begins to act"


def test_of_a_long_committed_beginning_the_network_is_told_the_first_ticks() -> None:
    engine = PointEngine(horizon=8)
    engine.inputs["committed"] = TensorSpec((1, 4, 2), "float32")
    engine.inputs["committed_ticks"] = TensorSpec((1, 1), "float32")
    system1 = policy(engine, commit_ticks=3, told_ticks=1)
    first = system1.act(observation(0), None, 0).action.commands
    state = np.array([-5.0, 5.0], np.float32)
    later = [system1.act(observation(t, state=state), None, 0) for t in range(1, 5)][-1]
    assert engine.calls[-1]["committed_ticks"] == 1
    np.testing.assert_array_equal(engine.calls[-1]["committed"][0, :1], first[4:5])
    assert not engine.calls[-1]["committed"][0, 1:].any()
    np.testing.assert_array_equal(later.action.commands[:3], first[4:7])
    assert not np.array_equal(later.action.commands[3], first[7])


def test_an_answer_that_came_late_is_not_used_and_the_one_before_stays() -> None:
    limits = Acceptance(latest_ticks=5, least_value=-1.0)
    system1 = Policy(SPEC, PointEngine(), NeverTrigger(), PolicyConfig(), limits)
    good = guidance(0)
    assert system1.act(observation(2), good, 0).provenance.guidance_age_ticks == 2
    late = msgspec.structs.replace(guidance(1), stamp=Stamp(1, 0, 8, 1, 0))
    told = system1.act(observation(9), late, 0).provenance
    assert told.guidance_sequence == good.stamp.sequence, "the older one is still in force"
    system1.act(observation(10), late, 0)
    poor = msgspec.structs.replace(guidance(10), value=-2.0)
    system1.act(observation(11), poor, 0)
    assert system1.refused == {"late": 1, "low_value": 1}, "each is judged once"


def test_guidance_about_a_tick_that_has_not_been_is_never_used() -> None:
    engine = PointEngine(horizon=8)
    system1, wrong = policy(engine), guidance(5, candidate_ticks=12)
    for tick in range(7):
        told = system1.act(observation(tick), wrong, 0).provenance
        assert told.guidance_sequence == -1, "not when its tick has come, either: it was judged"
    assert not any(call["use_candidate"].any() for call in engine.calls)
    assert system1.refused == {"from_the_future": 1}


def test_the_trigger_sees_what_system_1_perceives() -> None:
    class Watching(NeverTrigger):
        seen: list[Situation] = []  # noqa: RUF012

        def decide(self, tick: int, seen: Situation) -> str | None:
            self.seen.append(seen)
            return None

    trigger = Watching()
    system1 = Policy(SPEC, PointEngine(), trigger, PolicyConfig())
    system1.act(observation(0), None, 0)
    system1.act(observation(1), guidance(0), 0)
    alone, told = trigger.seen
    assert (alone.guidance_age, told.guidance_age) == (None, 1)
    names = feature_names(SPEC, 2)
    found = dict(zip(names, told.features, strict=True))
    assert found["guided"] == 1
    assert found["entropy"] == pytest.approx(told.uncertainty)
    np.testing.assert_array_equal(told.features[-2:], observation(1).state)


def test_an_action_tells_for_how_long_guidance_is_owed() -> None:
    """From the first question since the last answer, whether the answer could be used or not."""
    late = Acceptance(latest_ticks=2, least_value=None)
    system1 = Policy(SPEC, PointEngine(), PeriodicTrigger(4), PolicyConfig(), late)
    told = {11: guidance(9), 17: guidance(9)}
    waiting, newest = [], None
    for tick in range(20):
        newest = told.get(tick, newest)
        waiting.append(system1.act(observation(tick), newest, 0).action.waiting_ticks)
    assert waiting == [*range(11), -1, 0, 1, 2, 3, 4, -1, -1, -1]
    assert system1.refused["late"] == 1
    resumed = policy(PointEngine())
    owing = system1.act(observation(20), newest, 0).action
    resumed.resume(msgspec.structs.replace(owing, waiting_ticks=3), None)
    assert resumed.act(observation(21), None, 0).action.waiting_ticks == 4
    resumed.resume(msgspec.structs.replace(owing, waiting_ticks=-1), None)
    assert resumed.act(observation(21), None, 0).action.waiting_ticks == -1
