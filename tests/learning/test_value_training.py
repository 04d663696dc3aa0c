from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.learning.dataset import Dataset
from dualsys.learning.fit_value import Replay, fit_value, return_scales
from dualsys.learning.from_log import collect_runs
from dualsys.learning.joined import open_datasets
from dualsys.learning.shards import finalise, write_shard
from dualsys.learning.thoughts import Thoughts, read_and_plan, think_at, views_of
from dualsys.learning.train_value import Critics, Transitions, value_losses
from dualsys.messages import Action, Command, Outcome
from dualsys.runtime.log import read_log
from dualsys.system2 import checkpoint as checkpoints
from dualsys.system2.heads import ValueHead
from dualsys.system2.sizes import HeadsConfig
from dualsys.whatif.candidate_trials import carry_out
from dualsys.whatif.candidates import branches
from dualsys.whatif.junction import Junction
from sim import registry
from sim.driving.spec import SPEC
from tests.learning.conftest import with_success

SIZES = HeadsConfig(text_width=8, state_size=2, action_size=2, plans=3, stride_ticks=1, knots=8,
                    width=16, heads=2)  # fmt: skip


def transitions(count: int, worth: torch.Tensor, bootstrap: float) -> Transitions:
    """Chunks whose reward is `worth` (B,), told by the first command; the rest is noise."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(count, 3, 16, generator=generator)
    chunk = torch.randn(count, 8, 2, generator=generator)
    chunk[:, :4] = worth[:, None, None]
    proposed = torch.randn(count, 5, 8, 2, generator=generator)
    mask = torch.full((count,), bootstrap)
    return Transitions(tokens, chunk, proposed, worth, mask, worth, tokens, proposed)


def fitted(batch: Transitions, alpha: float) -> torch.Tensor:
    torch.manual_seed(0)
    critics = Critics(ValueHead(SIZES))
    optimiser = torch.optim.Adam(critics.value.parameters(), 3e-3)
    for _ in range(200):
        parts = value_losses(critics, batch)
        optimiser.zero_grad()
        (parts["difference"] + alpha * parts["conservative"]).backward()
        optimiser.step()
    chunks = torch.cat([batch.chunk[:, None], batch.proposed], 1)
    return critics.value(batch.tokens, chunks).detach()


def test_the_value_of_a_terminated_chunk_is_its_reward() -> None:
    worth = torch.linspace(-1, 1, 32)
    found = fitted(transitions(32, worth, bootstrap=0.0), alpha=0.0)[:, 0]
    assert (found - worth[:, None]).abs().mean() < 0.15


def test_what_was_never_done_is_not_valued_above_what_was() -> None:
    worth = torch.linspace(-1, 1, 32)
    plain = fitted(transitions(32, worth, bootstrap=0.0), alpha=0.0)
    wary = fitted(transitions(32, worth, bootstrap=0.0), alpha=1.0)

    def lead(values: torch.Tensor) -> float:
        return float((values[:, 0] - values[:, 1:].mean(1)).mean())

    assert lead(wary) > lead(plain) + 0.2


def test_candidates_that_were_tried_are_not_distrusted() -> None:
    worth = torch.linspace(-1, 1, 32)
    batch = transitions(32, worth, bootstrap=0.0)
    tried = msgspec.structs.replace(batch, monte_carlo=torch.full((32,), torch.nan))
    torch.manual_seed(0)
    critics = Critics(ValueHead(SIZES))
    assert value_losses(critics, tried)["conservative"] == 0.0
    parts = value_losses(critics, batch)
    assert parts["conservative"] != 0.0
    both = Transitions(*(torch.cat([getattr(b, name) for b in (batch, tried)])
                         for name in Transitions.__struct_fields__))  # fmt: skip
    torch.testing.assert_close(value_losses(critics, both)["conservative"], parts["conservative"])


def test_a_run_becomes_data_as_it_was_driven(run_folder: Path, tmp_path: Path) -> None:
    seen = []
    collect_runs([run_folder], tmp_path / "data", seen.append)
    dataset = Dataset(tmp_path / "data")
    log = [message for _, message in read_log(run_folder / "log.mcap")]
    commands = [m.command for m in log if isinstance(m, Command)]
    np.testing.assert_array_equal(dataset.executed, np.stack(commands))
    outcomes = [m for m in log if isinstance(m, Outcome)]
    np.testing.assert_allclose(dataset.reward, [m.reward for m in outcomes], rtol=1e-6)
    np.testing.assert_array_equal(dataset.terminated, [m.terminated for m in outcomes])
    alone = sum(isinstance(m, Action) and m.guidance_sequence < 0 for m in log)
    assert 0 < (dataset.plan < 0).sum() <= alone, "the first ticks had no plan"
    assert (dataset.plan >= 0).any()
    assert dataset.episodes["seed"].to_pylist() == [1_000_000, 1_000_001]
    assert len(seen) == 2


def test_one_episode_in_two_runs_is_refused(run_folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run_folder, tmp_path / "other")
    with pytest.raises(DualsysError, match=r"seed 1000000 is in .* and in "):
        collect_runs([run_folder, other], tmp_path / "data", lambda episode: None)
    with pytest.raises(DualsysError, match="is not the folder of a run"):
        collect_runs([tmp_path], tmp_path / "data", lambda episode: None)


def test_training_changes_the_value_head_alone(
    outcomes: Path, untrained: Path, planner_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(planner_folder, tmp_path / "planner")
    planning = checkpoints.load(folder)
    scored = msgspec.structs.replace(planning.card, scores={"success": 0.9})
    checkpoints.save_heads(folder, planning.heads, planning.normalisation, scored)
    words = [f"planner={folder}", f"data=[{outcomes}]", f"prompts_from={untrained}", "steps=3"]
    fixed = ["batch_size=8", "every_ticks=4", "device=cpu", "threads=1"]
    config = load("train value", words + fixed)
    heard: list[tuple[int, str]] = []
    fit_value(config, lambda step, parts: heard.extend((step, name) for name in parts))
    assert (0, "reading") in heard, "reading takes longer than the steps"
    before = checkpoints.load(planner_folder).heads.state_dict()
    trained = checkpoints.load(folder)
    for name, tensor in trained.heads.state_dict().items():
        assert torch.equal(tensor, before[name]) != name.startswith("value."), name
    told = trained.card.training["value"]
    assert told["gamma"] == 0.8
    assert all(std > 0 for _, std in told["return_mean_and_std"].values())
    assert told["episodes"] == {"succeeded": 1, "failed": 1, "not_followed": 0}
    assert told["prompts_from"] == str(untrained)
    assert trained.card.scores == {}, "those of other weights say nothing of these"


@pytest.mark.parametrize(
    ("success", "told"),
    [((True, True), "2 succeeded and 0 failed"), ((False, False), "0 succeeded and 2 failed")],
)
def test_values_are_learned_from_both_outcomes(
    drives: Path, planner_folder: Path, tmp_path: Path, success: tuple[bool, bool], told: str
) -> None:
    data = with_success(drives, tmp_path / "data", *success)
    with pytest.raises(DualsysError, match=told):
        fit_value(load("train value", [f"planner={planner_folder}", f"data={data}"]), never)


def never(step: int, parts: dict[str, float]) -> None:
    pytest.fail("nothing is trained")


@pytest.fixture(scope="module")
def trials(thinking_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two candidates of a thought, carried out under another plan than the planner answered."""
    root = tmp_path_factory.mktemp("trials")
    branch = branches(thinking_run)[1][0]
    other = (branch.guidance.plan + 1) % len(SPEC.plans)
    guidance = msgspec.structs.replace(branch.guidance, plan=other)
    world = registry.make(branch.scenario)
    for number in (0, 1):
        junction = Junction(world, branch.seed, branch.commands)
        told = msgspec.structs.replace(branch, guidance=guidance)
        episode = carry_out(world, junction, told, number)
        assert episode is not None
        write_shard(root, episode, SPEC)
    world.close()
    finalise(root, SPEC)
    return root


def test_chunks_are_valued_under_the_plans_of_a_run(
    run_folder: Path,
    trials: Path,
    outcomes: Path,
    untrained: Path,
    planner_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collect_runs([run_folder], tmp_path / "run", lambda episode: None)
    dataset = open_datasets([str(tmp_path / "run"), str(trials), str(outcomes)])
    sizes = [len(part.state) for part in dataset.parts]
    mine = np.repeat([False, True, False], sizes)
    np.testing.assert_array_equal(dataset.trials(), mine)
    thought: list[np.ndarray] = []

    def think(planning: Any, dataset: Any, rows: np.ndarray, *words: Any, **more: Any) -> Thoughts:
        thought.append(rows)
        return think_at(planning, dataset, rows, *words, **more)

    monkeypatch.setattr("dualsys.learning.fit_value.think_at", think)
    planning = checkpoints.load(planner_folder)
    words = [f"planner={planner_folder}", "data=DIR", f"prompts_from={untrained}", "every_ticks=16"]
    replay = Replay(planning, dataset, load("train value", words))
    (rows,) = thought
    under = replay._thoughts.plan.numpy()
    views = views_of(planning, dataset, rows, str(untrained))
    places = list(range(len(rows)))
    _, own = read_and_plan(planning, views, places, np.ones(len(rows), bool))
    np.testing.assert_array_equal(under, np.where(mine[rows], dataset.plan[rows], own.numpy()))
    assert (dataset.plan[rows] != own.numpy())[mine[rows]].all(), "the trial's plan was another"
    assert (dataset.plan[rows] != own.numpy())[~mine[rows]].any(), "so was what runs recorded"


@pytest.mark.parametrize("terminated", [False, True])
def test_chunks_that_nobody_carried_out_teach_nothing(
    drives: Path,
    planner_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    terminated: bool,
) -> None:
    """Beyond the end of an episode that stopped, its last command is no command that was given."""
    dataset = open_datasets(str(drives))
    start, end = dataset.episode_bounds()
    rows = np.arange(len(start))
    last = rows == end - 1
    monkeypatch.setattr(type(dataset), "terminated", last & terminated)
    dataset.executed = np.repeat(rows[:, None], 2, 1).astype(np.float32)  # tells the row it is of

    def think(planning: Any, dataset: Any, rows: np.ndarray, *words: Any, **more: Any) -> Thoughts:
        return Thoughts(*(torch.zeros(len(rows), 1, 1, 1) for _ in range(4)))

    monkeypatch.setattr("dualsys.learning.fit_value.think_at", think)
    planning = checkpoints.load(planner_folder)
    words = [f"planner={planner_folder}", "data=DIR", "every_ticks=4"]
    replay = Replay(planning, dataset, load("train value", words))
    taught = replay._chunk[replay._drawn, :, 0].numpy()  # eight knots of two ticks
    first = taught[:, 0] - 0.5
    grid = ((rows - start) % 4 == 0) | last
    whole = rows + 16 <= end
    if terminated:
        assert replay._bootstrap[replay._drawn[first + 16 > end[first.astype(int)]]].max() == 0
        np.testing.assert_array_equal(np.ceil(first), rows[grid])
    else:
        np.testing.assert_array_equal(first, rows[grid & whole])
        np.testing.assert_array_equal(np.diff(taught), 2.0)
    after = replay._after[replay._drawn]
    assert 0 <= after.min() <= after.max() < len(replay._chunk)
    # Where what follows is not learned, the return that was seen stands for it.
    settled = ~np.isin(after, replay._drawn)
    assert settled.any() == (not terminated)
    assert (replay._bootstrap[replay._drawn] > 0).numpy()[~settled].any()
    assert (replay._bootstrap[replay._drawn] == 0).numpy()[settled].all()
    reward, seen = (getattr(replay, f"_{n}")[replay._drawn] for n in ("reward", "monte_carlo"))
    torch.testing.assert_close(reward[settled], seen[settled])


def test_values_need_chunks_that_were_carried_out(drives: Path, planner_folder: Path) -> None:
    dataset = open_datasets(str(drives))
    words = [f"planner={planner_folder}", "data=DIR", "every_ticks=4"]
    planning = checkpoints.load(planner_folder)
    planning.heads.config.stride_ticks = 8  # the drives have forty ticks
    with pytest.raises(DualsysError, match="no chunk of 64 ticks was carried out to its end"):
        Replay(planning, dataset, load("train value", words))


def test_values_need_to_know_how_episodes_ended(
    outcomes: Path, untrained: Path, planner_folder: Path
) -> None:
    words = [f"planner={planner_folder}", f"data=[{outcomes}]", "every_ticks=7"]
    config = load("train value", words)
    with pytest.raises(DualsysError, match="every_ticks=7 does not divide"):
        fit_value(config, lambda step, parts: None)
    config["every_ticks"] = 4
    with pytest.raises(DualsysError, match="give prompts_from=FOLDER"):
        fit_value(config, lambda step, parts: None)


def test_every_scenario_has_its_own_scale() -> None:
    returns = np.array([0.0, 2.0, 1000.0, 1002.0, 7.0, 7.0])
    scales = return_scales(returns, np.array(["a", "a", "b", "b", "c", "c"]))
    assert scales["b"][0] == 1001.0
    assert scales["c"] == (7.0, returns.std() / 20)
    assert scales["a"][1] == pytest.approx(max(1.0, returns.std() / 20))


def test_a_scale_needs_a_whole_episode() -> None:
    names = np.array(["a", "a", "b"])
    assert return_scales(np.array([1.0, np.nan, 3.0]), names)["a"][0] == 1.0
    with pytest.raises(DualsysError, match="no episode of b was followed to its end"):
        return_scales(np.array([1.0, 2.0, np.nan]), names)
