"""Reward-instruct: plans tried out in the simulator change what the planner prefers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.learning.dataset import Dataset
from dualsys.learning.fit_instruct import fit_instruct
from dualsys.learning.joined import open_datasets
from dualsys.learning.plan_labels import label_plans
from dualsys.learning.thoughts import read
from dualsys.learning.train_instruct import advantages, forks
from dualsys.learning.tried_plans import ASKED, Tried, held_out
from dualsys.learning.views import Views
from dualsys.system2 import checkpoint as checkpoints
from dualsys.system2.grammar import AnswerGrammar
from dualsys.system2.questions import asked, chain
from dualsys.whatif.plan_scores import PlanScores, save_scores
from sim.driving.spec import SPEC
from sim.driving.terms import Terms


def test_advantages_compare_within_a_state() -> None:
    scores = torch.tensor([[0.2, 0.4, 0.6], [0.5, 0.5, 0.5]])
    found = advantages(scores)
    torch.testing.assert_close(found.sum(1), torch.zeros(2))
    assert found[0].argmax() == 2
    assert (found[1] == 0).all(), "equal plans teach nothing"


def test_probabilities_are_those_of_the_grammar(planner_folder: Path, drives: Path) -> None:
    """One plan's share against its answer's, decoded token by token from the same prompt."""
    planning = checkpoints.load(planner_folder)
    dataset = open_datasets(str(drives))
    views = Views(dataset, planning.language, np.array([0, 5]), None)
    held = np.array([False, True])
    tried = Tried(planning, views, np.zeros((2, len(SPEC.plans))), np.array([0, 1]), held)
    assert sorted([*tried.taught, *tried.held]) == [0, 1]
    assert not tried.chance.any(), "no plan is better than another"
    share = tried.before.exp()
    torch.testing.assert_close(share.sum(-1), torch.ones(2, 2))
    assert share.std() > 0
    language, questions = planning.language, asked(SPEC, "short")
    for place in (0, 1):
        prefix, lead = views.read(place, False), []
        for how in range(len(ASKED)):
            wanted = _log_probabilities(planning, views, place, lead)
            np.testing.assert_allclose(tried.before[how, place].numpy(), wanted, atol=0.05)
            for question in questions[:-1]:
                grammar = AnswerGrammar(question, language.tokenize)
                answer = language.answer(prefix, question.phrasings[0], grammar)
                lead += [*language.tokenize(f" {question.phrasings[0]}"), *answer.tokens]
    assert len(questions) == 2, "the plan comes after another question"


def _log_probabilities(planning: Any, views: Views, place: int, lead: list[int]) -> np.ndarray:
    """Of every plan's answer, decoded token by token after what is said before."""
    question = chain(SPEC)[-1]
    asked_for = planning.language.tokenize(f" {question.phrasings[0]}")
    found = np.zeros(len(SPEC.plans))
    for number, plan in enumerate(SPEC.plans):
        grammar, told = AnswerGrammar(question, planning.language.tokenize), ()
        while allowed := grammar.allowed(told):
            reading = read(planning, views, [place], np.zeros(1, bool), [*lead, *asked_for, *told])
            parts = reading.logits[0, allowed].log_softmax(-1)
            at = next(
                i for i, token in enumerate(allowed) if _can_become(grammar, (*told, token), plan)
            )
            found[number] += float(parts[at])
            told = (*told, allowed[at])
    return found


def _can_become(grammar: AnswerGrammar, told: tuple[int, ...], plan: str) -> bool:
    following = grammar.allowed(told)
    if not following:
        return plan in grammar.parse(told).values()
    return any(_can_become(grammar, (*told, token), plan) for token in following)


def test_the_verdict_draws_whole_seeds(
    planner_folder: Path, drives: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planning = checkpoints.load(planner_folder)
    rows, episodes = np.arange(80), np.arange(80) // 10
    views = Views(open_datasets(str(drives)), planning.language, rows, None)
    scores = np.zeros((80, len(SPEC.plans)))
    scores[:, 1] = np.where(episodes < 4, -1.0, 1.0)  # some drives lose by it, others gain
    monkeypatch.setattr(
        Tried, "probabilities", lambda _, places, how: torch.eye(5)[[0] * len(places)]
    )
    tried = Tried(planning, views, scores, episodes, held_out(episodes))
    kept = episodes[tried.held]
    assert len(np.unique(kept)) == 2, "a quarter of eight"
    monkeypatch.setattr(
        Tried, "probabilities", lambda _, places, how: torch.eye(5)[[how] * len(places)]
    )
    told = tried.verdict()
    away = scores[tried.held, 1]
    assert set(away) == {-1.0, 1.0}, "one drive of either kind"
    assert (told["held_out_states"], told["held_out_seeds"]) == (20, 2)
    assert told["at_once"]["difference"] == 0, "as before"
    after = told["after_questions"]
    assert after["difference"] == pytest.approx(away.mean())
    # Two drives drawn with replacement: either one alone is among the draws.
    assert after["difference_ci95"] == [away.min(), away.max()]


def test_states_are_drawn_as_often_as_their_plans_differ(
    planner_folder: Path, drives: Path
) -> None:
    planning = checkpoints.load(planner_folder)
    rows = np.arange(0, 40, 5)
    views = Views(open_datasets(str(drives)), planning.language, rows, None)
    scores = np.zeros((len(rows), len(SPEC.plans)))
    scores[:, 0] = np.arange(len(rows))
    tried = Tried(planning, views, scores, rows, held_out(rows))
    np.testing.assert_allclose(tried.chance, tried.taught / tried.taught.sum())
    drawn = tried.of_step(np.random.default_rng(0), 200).scores[:, 0].numpy()
    assert set(drawn) <= set(tried.taught) - {0}
    assert drawn.mean() == pytest.approx((tried.taught**2).sum() / tried.taught.sum(), rel=0.1)


def test_plans_part_where_their_words_do() -> None:
    answers = [[5, 1], [6, 1], [7, 8, 2, 1], [7, 8, 3, 1]]
    found = forks([9, 9], answers)
    assert [way for way, _ in found] == [[9, 9, 7, 8]] * 2, "one turn leads to both places"
    first, second = (fork for _, fork in found)
    assert (first.at, first.tokens, first.taken) == (2, (5, 6, 7), (0, 1, 2, 2))
    assert (second.at, second.tokens, second.taken) == (4, (2, 3), (-1, -1, 0, 1))
    two = forks([9], [[1, 2, 0], [1, 3, 0], [4, 2, 0], [4, 3, 0]])
    assert sorted({fork.said for _, fork in two}) == [0, 1]
    assert {tuple(way) for way, _ in two} == {(9, 1), (9, 4)}


def configuration(
    planner: Path, scores: Path, data: Path, system1: Path, out: Path, *words: str
) -> dict[str, Any]:
    fixed = [f"planner={planner}", f"scores={scores}", f"data={data}", f"out={out}"]
    fixed += [f"prompts_from={system1}", "device=cpu", "threads=1", "batch_size=2", "states=2"]
    return load("train instruct", [*fixed, *words])


def test_the_planner_learns_to_prefer_what_scored_best(
    planner_folder: Path,
    drives: Path,
    untrained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = np.random.default_rng(0)
    rows = sorted(rng.choice(len(Dataset(drives).state), 16, replace=False).tolist())
    good, bad = Terms(1.0, 1.0, 1.0, 1.0), Terms(1.0, 0.0, 0.0, 0.0)
    best = SPEC.plans.index("yield")
    terms = [[good if p == best else bad for p in range(len(SPEC.plans))] for _ in rows]
    scores = PlanScores("dualsys-plan-scores/1", str(drives), rows, SPEC.plans, terms, {})
    save_scores(scores, tmp_path / "scores.json")
    words = ["steps=40", "learning_rate=0.01", "weights.answer=0.0", "average_decay=0.5"]
    config = configuration(
        planner_folder, tmp_path / "scores.json", drives, untrained, tmp_path / "out", *words
    )
    folder = fit_instruct(config, lambda step, parts: None)
    after = checkpoints.load(folder, SPEC)
    before = checkpoints.load(planner_folder).heads.value.state_dict()
    for name, tensor in after.heads.value.state_dict().items():
        assert torch.equal(tensor, before[name]), "its training is another"
    assert "value" not in after.card.training, "it was trained on what another model read"
    assert f"train it again: dualsys train value planner={folder}" in capsys.readouterr().err
    told = after.card.training["instruct"]
    start, _ = Dataset(drives).episode_bounds()
    sizes = np.unique(start[rows], return_counts=True)[1]
    assert told["held_out_states"] in sizes, "one of the two episodes"
    for way in (told[name] for name in ASKED):
        assert way["score_after"] == pytest.approx(told["score_of_best_plan"])
        assert way["difference"] == pytest.approx(way["score_after"] - way["score_before"])
        assert way["difference_ci95"] == [None, None], "one drive tells no spread"
    assert told["held_out_seeds"] == 1
    assert told["score_of_foretold_plan"] == pytest.approx(told["score_of_best_plan"])
    assert 0 < told["foretold_states"] <= len(Dataset(drives).state) / 5, "every fifth tick"


def test_the_supervised_terms_teach_the_plans_that_are_foretold_to_be_best(
    planner_folder: Path, drives: Path, untrained: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """The rules' would pull away from what the reward teaches. Held-out drives teach nothing."""
    asked: list[tuple[str, list[int]]] = []

    def label(dataset: Any, source: str, rows: np.ndarray, worth: Any) -> None:
        asked.append((source, rows.tolist()))
        label_plans(dataset, source, rows, worth)

    monkeypatch.setattr("dualsys.learning.fit_instruct.label_plans", label)
    apart = [int(start) for start in np.unique(Dataset(drives).episode_bounds()[0])[:2]]
    terms = [[Terms(1.0, c, c, c) for c in np.linspace(0, 1, len(SPEC.plans)).tolist()]] * 2
    path = tmp_path / "scores.json"
    save_scores(
        PlanScores("dualsys-plan-scores/1", str(drives), apart, SPEC.plans, terms, {}), path
    )
    words = ["steps=1", "every_ticks=7"]
    config = configuration(planner_folder, path, drives, untrained, tmp_path / "out", *words)
    fit_instruct(config, lambda step, parts: None)
    seeds = Dataset(drives).seeds()
    held = held_out(seeds[apart])
    taught = np.arange(0, len(seeds), 7)[seeds[::7] != seeds[apart][held]]
    assert asked == [("foretold", taught.tolist())]
    assert 0 < len(taught) < len(seeds) / 7


def test_scores_of_other_plans_are_refused(
    planner_folder: Path, drives: Path, untrained: Path, tmp_path: Path
) -> None:
    scores = PlanScores("dualsys-plan-scores/1", str(drives), [0], ("go", "stop"), [[]], {})
    save_scores(scores, tmp_path / "scores.json")
    config = configuration(planner_folder, tmp_path / "scores.json", drives, untrained, tmp_path)
    with pytest.raises(DualsysError, match=r"of the plans \['go', 'stop'\], the planner knows"):
        fit_instruct(config, lambda step, parts: None)


def test_scores_that_teach_nothing_are_refused(
    planner_folder: Path, drives: Path, untrained: Path, tmp_path: Path
) -> None:
    episodes, _ = Dataset(drives).episode_bounds()
    apart = [int(start) for start in np.unique(episodes)[:2]]
    same = [[Terms(1.0, 1.0, 1.0, 1.0)] * len(SPEC.plans)] * 2
    path = tmp_path / "scores.json"
    for rows, reason in (([0, 1], "are of one seed"), (apart, "does it matter which plan")):
        save_scores(
            PlanScores("dualsys-plan-scores/1", str(drives), rows, SPEC.plans, same, {}), path
        )
        config = configuration(planner_folder, path, drives, untrained, tmp_path / "out")
        with pytest.raises(DualsysError, match=reason):
            fit_instruct(config, lambda step, parts: None)
