from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dualsys.config import load
from dualsys.console import ranged
from dualsys.messages import Command, Guidance, Outcome, Stamp, Thought
from dualsys.runtime import assembly
from dualsys.runtime.engines import make_engine
from dualsys.runtime.log import LogWriter, read_log
from dualsys.whatif.candidates import (
    Branch,
    Way,
    branches,
    carried_out,
    gone_on_from,
    plan_alone,
    realised_return,
)
from dualsys.whatif.junction import Junction
from dualsys.whatif.ranking import rank
from sim import registry
from sim.driving.spec import SPEC


def test_a_branch_repeats_what_was_done_and_returns_what_came(thinking_run: Path) -> None:
    _, found = branches(thinking_run)
    assert len(found) >= 2
    log = [m for _, m in read_log(thinking_run / "log.mcap")]
    done = np.stack([m.command for m in log if isinstance(m, Command)])
    reward = np.array([m.reward for m in log if isinstance(m, Outcome)])
    branch = found[1]
    np.testing.assert_array_equal(branch.commands, done[: branch.tick])
    assert branch.candidates.shape[0] == len(branch.values) == 5
    config = load(
        "eval", ["scenario=driving/merge", f"system1.checkpoint={_checkpoint(thinking_run)}"]
    )
    world = registry.make("driving/merge")
    engine = make_engine(config, SPEC).engine
    policy = assembly.make_policy(config, SPEC, engine)
    ahead = done[branch.tick : branch.tick + 10]
    way = Junction(world, branch.seed, branch.commands)
    told = plan_alone(branch).guidance
    at = branch.tick
    same = realised_return(world, policy, way, Way(ahead, told), at, 0.9, len(ahead))
    wanted = sum(0.9**k * r for k, r in enumerate(reward[branch.tick : branch.tick + 10]))
    assert same == pytest.approx(wanted, abs=1e-9), "doing the same again gives the same again"
    brake = np.tile(np.array([-5.0, 0.0], np.float32), (16, 1))
    slow, fast = (
        realised_return(world, policy, way, Way(c, told), at, 0.9, 30) for c in (brake, ahead)
    )
    assert slow < fast, "System 1 goes on after the chunk; braking costs speed"
    anew = Junction(world, branch.seed, branch.commands)
    assert fast == realised_return(world, policy, anew, Way(ahead, told), at, 0.9, 30)
    onward = gone_on_from(branch)
    assert [len(w.carried) for w in onward] == [0] * 5
    ends = [realised_return(world, policy, anew, w, at, 0.9, 30) for w in onward]
    assert len(set(ends)) > 1, "the candidate is where System 1 goes on from"
    np.testing.assert_array_equal(carried_out(branch)[2].carried, branch.candidates[2])
    world.close()


@pytest.mark.parametrize("first", ["thought", "guidance"])
def test_candidates_are_those_of_the_guidance_in_either_order(first: str, tmp_path: Path) -> None:
    """Two episodes with equal request numbers; in each the first guidance is not yet final."""
    empty = np.zeros(0, np.float32)
    with LogWriter(tmp_path / "log.mcap", {}) as log:
        for epoch, sequence in ((0, 0), (0, 1), (1, 2), (1, 3)):
            final = sequence % 2 == 1
            stamp = Stamp(7, epoch, sequence, 2, 0)
            chunks = np.full((2, 4, 2), sequence, np.float32)
            said = Guidance(stamp, 1, 0, empty, chunks[0], 0.0, final, 0, "plan: go")
            behind = Thought(stamp, 1, {}, {}, chunks, np.arange(2.0), 1, {})
            pair = [("thought", behind), ("guidance", said)]
            for topic, message in pair if first == "thought" else reversed(pair):
                log.write(topic, message)
        for epoch in (0, 1):
            for tick in range(4):
                done = Stamp(7, epoch, tick, tick, 0)
                log.write("command", Command(done, np.full(2, tick), "system1", (), -1, 0))
    rows = [{"scenario": "driving/merge", "seed": 5 + epoch, "epoch": epoch} for epoch in (0, 1)]
    (tmp_path / "results.json").write_text(json.dumps({"config": {}, "episodes": rows}))
    _, found = branches(tmp_path)
    assert [(b.seed, b.tick, len(b.commands)) for b in found] == [(5, 2, 2), (6, 2, 2)]
    assert [b.candidates[0, 0, 0] for b in found] == [1, 3]
    assert [b.guidance.stamp.sequence for b in found] == [1, 3]


def _checkpoint(run: Path) -> str:
    name: str = json.loads((run / "results.json").read_text())["system1"]["checkpoint"]
    return name


def test_a_branch_that_is_over_has_no_return(thinking_run: Path) -> None:
    branch = branches(thinking_run)[1][0]
    onward = np.tile(np.array([5.0, 0.0], np.float32), (400, 1))
    over = Branch(
        branch.scenario, 3, 400, onward, branch.candidates, branch.values, branch.guidance
    )
    world = registry.make("driving/merge")
    way = Junction(world, over.seed, over.commands)
    assert realised_return(world, None, way, carried_out(over)[0], over.tick, 0.9, 4) is None
    world.close()


def test_perfect_values_rank_perfectly_and_noise_does_not() -> None:
    rng = np.random.default_rng(1)
    returns = rng.normal(size=(300, 5))
    alone = returns.mean(1)
    episode = np.arange(300) // 3
    perfect = rank(returns, returns, alone, episode)
    assert (perfect.states, perfect.episodes) == (300, 100)
    assert perfect.over_alone == pytest.approx(perfect.argmax_gain)
    assert perfect.spearman == pytest.approx(1.0)
    assert perfect.beats_random == pytest.approx(0.9), "a random pick is the best one at times"
    noise = rank(rng.normal(size=(300, 5)), returns, alone, episode)
    assert noise.spearman_ci95[0] < 0 < noise.spearman_ci95[1]
    assert noise.beats_random_ci95[0] < 0.5 < noise.beats_random_ci95[1]
    assert noise.argmax_gain_ci95[0] < 0 < noise.argmax_gain_ci95[1]


def test_states_without_a_difference_say_nothing() -> None:
    even = rank(np.arange(10.0).reshape(2, 5), np.ones((2, 5)), np.ones(2), np.array([0, 1]))
    assert (even.beats_random, even.argmax_gain) == (0.5, 0.0)
    assert np.isnan([even.spearman, *even.spearman_ci95]).all()
    assert ranged(even.spearman, even.spearman_ci95, ".2f") == "-"
    assert ranged(None, (None, None), ".2f") == "-", "so a file tells it"
    assert ranged(0.25, (0.1, 0.4), ".2f") == "0.25 (0.10 .. 0.40)"


def test_many_states_of_few_drives_say_little() -> None:
    rng = np.random.default_rng(2)
    drives, each = 8, 50
    names = np.array([f"driving/merge {seed}" for seed in range(drives)]).repeat(each)
    returns = rng.normal(size=(drives, 5)).repeat(each, 0)  # all states of a drive are alike
    values, alone = returns + rng.normal(size=(drives, 5)).repeat(each, 0), returns.mean(1)
    by_drive = rank(values, returns, alone, names)
    by_state = rank(values, returns, alone, np.arange(drives * each))
    for name in ("spearman_ci95", "argmax_gain_ci95", "over_alone_ci95", "beats_random_ci95"):
        wide, narrow = (np.ptp(getattr(found, name)) for found in (by_drive, by_state))
        assert wide > 4 * narrow, name
    assert by_drive.argmax_gain == by_state.argmax_gain
    assert np.isnan(rank(values, returns, alone, np.zeros(len(names))).argmax_gain_ci95).all()
