from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from dualsys.learning.fit_heads import Readings
from dualsys.learning.joined import open_datasets
from dualsys.learning.samples import system1_samples
from dualsys.learning.thoughts import read_and_plan, views_of
from dualsys.learning.views import Views
from dualsys.system2 import checkpoint as checkpoints
from dualsys.system2.grammar import AnswerGrammar
from dualsys.system2.questions import chain
from sim.driving.spec import SPEC


def test_readings_are_what_a_prompt_gives(
    drives: Path, planner_folder: Path, untrained: Path
) -> None:
    planning = checkpoints.load(planner_folder)
    dataset = open_datasets(str(drives))
    views = views_of(planning, dataset, np.arange(0, 70), str(untrained))
    readings = Readings(planning, dataset, views, 0)
    inputs = views.prompt([68], np.array([False]))
    with torch.inference_mode():
        hidden = planning.language.model(**inputs, output_hidden_states=True).hidden_states[-1]
    own, there = readings._hidden[68].float(), readings._there[68]
    drawn = np.random.default_rng(0).random(70) < 0.5
    same = torch.allclose(own[there], hidden[0], atol=2e-2)
    assert same != bool(drawn[68]), "with visual prompts the reading is another one"


def test_a_batch_is_answered_as_a_run_answers_one_request(
    drives: Path, planner_folder: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In half precision a tie could fall otherwise than in a run, which reads in single precision.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    planning = checkpoints.load(planner_folder)
    dataset = open_datasets(str(drives))
    views = views_of(planning, dataset, np.arange(0, 70, 20), str(untrained))
    places, drawn = list(range(len(views))), np.ones(len(views), bool)
    question = chain(SPEC)[-1]
    grammar = AnswerGrammar(question, planning.language.tokenize)
    said = set()
    for seed in range(6):  # an untrained model always answers the same; six say several things
        torch.manual_seed(seed)
        for tensor in planning.language.model.lm_head.parameters():
            tensor.data.normal_()
        reading, plans = read_and_plan(planning, views, places, drawn)
        for place, plan in zip(places, plans.tolist(), strict=True):
            prefix = planning.language.read(views._images(place, True), views._text(place))
            answer = planning.language.answer(prefix, question.phrasings[0], grammar)
            assert tuple(answer.words.values()) == (SPEC.plans[plan],)
            there = reading.there[place]
            torch.testing.assert_close(
                reading.hidden[place][there], prefix.hidden[0], atol=1e-4, rtol=1e-4
            )
            said.add(SPEC.plans[plan])
    assert len(said) > 1
    assert any("change" in plan for plan in said), "an answer of several choices is among them"


def test_proposals_are_numbers_where_they_are_drawn(drives: Path, planner_folder: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 1, (10, 3, 16, 2)).astype(np.float32)
    dataset, language = open_datasets(str(drives)), checkpoints.load(planner_folder).language
    views = Views(dataset, language, np.arange(0, 10), samples)
    places, drawn = [0, 1, 2], np.array([True, False, True])
    found = views.proposals(places, drawn, 20)
    assert found.shape == (3, 20, 2)
    assert (found.abs().sum((1, 2)) > 0).tolist() == drawn.tolist()
    torch.testing.assert_close(found[:, 16:], found[:, 15:16].expand(3, 4, 2))
    norm = views.normalisation
    told = found[2, :16].numpy() * norm["action_std"] + norm["action_mean"]
    np.testing.assert_allclose(told, samples[2, 0], atol=1e-4)


def test_system_1_is_sampled_as_often_as_the_planner_is_to_see_it(
    drives: Path, untrained: Path
) -> None:
    dataset = open_datasets(str(drives))
    one, three = (system1_samples(untrained, dataset, np.arange(5), count) for count in (1, 3))
    assert (one.shape, three.shape) == ((5, 1, 16, 2), (5, 3, 16, 2))
    np.testing.assert_allclose(three[:, :1], one, atol=1e-5)
    assert (np.abs(three[:, 1] - three[:, 2]).max(1) > 1e-3).all(), "other noise, other chunks"
