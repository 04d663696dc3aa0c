from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.learning.conversation import Conversations
from dualsys.learning.fit_heads import Readings, fit_heads
from dualsys.learning.fit_planner import fit_planner
from dualsys.learning.joined import open_datasets
from dualsys.learning.samples import system1_samples
from dualsys.learning.scene_targets import motion_fields
from dualsys.learning.thoughts import read_and_plan, views_of
from dualsys.learning.train_system2 import (
    PlannerModule,
    ReadBatch,
    converse,
    heads_losses,
    planner_losses,
)
from dualsys.learning.trainer import OptimiserConfig, Trainer
from dualsys.learning.views import Views
from dualsys.system2 import checkpoint as checkpoints
from dualsys.system2.grammar import AnswerGrammar
from dualsys.system2.questions import chain
from sim.driving.spec import SPEC

OBJECTS = len(motion_fields(SPEC))


@pytest.fixture(scope="module")
def conversations(drives: Path, planner_folder: Path) -> Conversations:
    dataset = open_datasets(str(drives))
    planning = checkpoints.load(planner_folder)
    rows = np.arange(0, len(dataset.state), 2)
    samples = np.zeros((len(rows), 1, 16, 2), np.float32)
    views = Views(dataset, planning.language, rows, samples)
    return Conversations(dataset, views, planning.heads.config)


def test_the_answers_in_a_turn_are_what_the_grammar_reads(conversations: Conversations) -> None:
    batch = conversations.of_step(0, 0, 24)
    tokenize = conversations._views._language.tokenize
    grammars = [AnswerGrammar(question, tokenize) for question in chain(SPEC)]
    turns = set()
    for said, flags, there in zip(batch.said, batch.answer, batch.said_mask, strict=True):
        assert not (flags & ~there).any(), "padding is no answer"
        plan = said[flags & there].tolist()[-len(tokenize(" cruise.")) :]
        assert grammars[-1].parse(plan)["plan"] in SPEC.plans
        edges = int((flags.int().diff(prepend=torch.zeros(1)) == 1).sum())
        turns.add(edges)
    assert turns == {1, 2, len(grammars)}, "plan alone, hazard and plan, the whole chain"


def test_ticks_without_a_plan_are_not_talked_about(drives: Path, planner_folder: Path) -> None:
    dataset, planning = open_datasets(str(drives)), checkpoints.load(planner_folder)
    rows = np.arange(12)
    dataset.plan = np.where(np.arange(len(dataset.plan)) % 3 > 0, -1, dataset.plan)
    views = Views(dataset, planning.language, rows, None)
    talks = Conversations(dataset, views, planning.heads.config)
    for step in range(3):
        assert (talks.of_step(0, step, 8).plan.sum(1) == 1).all()
    dataset.plan[:] = -1
    with pytest.raises(DualsysError, match="none of the 12 ticks has a plan"):
        Conversations(dataset, views, planning.heads.config)


def test_the_code_is_not_taught_a_plan_where_none_was(
    planner_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dualsys.learning.train_system2.PLAN_DROPOUT", 0.0)
    heads = checkpoints.load(planner_folder).heads
    sizes = heads.config
    torch.manual_seed(0)
    hidden, state = torch.randn(4, 6, sizes.text_width), torch.randn(4, sizes.state_size)
    plan = torch.eye(sizes.plans)[[1, 3, 0, 0]]
    plan[2:] = 0.0

    def code(rows: slice) -> float:
        count = len(plan[rows])
        batch = ReadBatch(
            hidden[rows],
            torch.ones(count, 6, dtype=torch.bool),
            state[rows],
            plan[rows],
            torch.zeros(count, sizes.proposal_ticks, sizes.action_size),
            torch.zeros(count, sizes.knots, sizes.action_size),
            torch.zeros(count, sizes.knots),  # nothing of a chunk: the plan's term alone
        )
        return heads_losses(heads, batch)["code"].item()

    assert code(slice(0, 4)) == pytest.approx(code(slice(0, 2)), rel=1e-5)
    assert code(slice(0, 2)) > 0
    assert code(slice(2, 4)) == 0.0


def test_prompt_states_do_not_depend_on_what_is_said_after(conversations: Conversations) -> None:
    language = conversations._views._language.model
    batch = conversations.of_step(0, 1, 3)
    with torch.no_grad():
        one, mask, _ = converse(language, batch)
        batch.said = batch.said.flip(1)
        two, _, _ = converse(language, batch)
    torch.testing.assert_close(one[mask], two[mask])


def test_equal_steps_draw_equal_batches(conversations: Conversations) -> None:
    one, _, two = (conversations.of_step(3, step, 4) for step in (7, 8, 7))
    torch.testing.assert_close(one.prompt["pixel_values"], two.prompt["pixel_values"])
    torch.testing.assert_close(one.said, two.said)


def test_training_lowers_every_term(
    conversations: Conversations, planner_folder: Path, tmp_path: Path
) -> None:
    planning = checkpoints.load(planner_folder)
    torch.manual_seed(0)
    module = PlannerModule(planning.language.model.train(), planning.heads.train(), OBJECTS)
    module.heads.value.requires_grad_(False)
    config = OptimiserConfig(
        steps=60, batch_size=8, warmup_steps=5, log_every=1, learning_rate=3e-3, save_every=60
    )
    weights = {"answer": 1.0, "flow": 1.0, "code": 0.5, "see": 1.0}
    seen: dict[str, list[float]] = {name: [] for name in weights}
    trainer = Trainer(
        module, lambda batch: planner_losses(module, batch), weights, config, tmp_path
    )
    trainer.run(
        lambda step: conversations.of_step(0, step % 5, 8),
        lambda step, parts: [seen[name].append(value) for name, value in parts.items()] and None,
    )
    for name, values in seen.items():
        assert np.mean(values[-10:]) < 0.95 * np.mean(values[:5]), name


def configuration(drives: Path, out: Path, *words: str) -> dict[str, Any]:
    small = (
        "vision_width=16 vision_layers=1 vision_heads=2 text_width=16 text_layers=1 text_heads=2 \
        key_value_heads=1 vocabulary=600 patch_px=16"
    )
    fixed = [f"model.{word}" for word in small.split()]
    fixed += [
        "heads.width=16",
        "heads.layers=1",
        "steps=4",
        "batch_size=4",
        "device=cpu",
        "threads=1",
    ]
    return load("train system2", [f"data={drives}", f"out={out}", *fixed, *words])


def test_the_trained_folder_opens_as_a_planner(drives: Path, tmp_path: Path) -> None:
    folder = fit_planner(configuration(drives, tmp_path / "out"), lambda step, parts: None)
    planning = checkpoints.load(folder, open_datasets(str(drives)).spec)
    assert planning.card.training["steps"] == 4
    assert planning.language.model.dtype == torch.float32
    assert not planning.card.prompts, "no System 1 was given whose samples could be drawn"
    told = planning.card.model
    assert told["class"] == "Idefics3ForConditionalGeneration"
    assert told["parameters"] == sum(p.numel() for p in planning.language.model.parameters())
    assert told["heads_parameters"] == sum(p.numel() for p in planning.heads.parameters())
    assert (told["base"], told["lora_rank"], told["sizes"]["text_width"]) == (None, 0, 16)
    assert planning.card.training["prompts_from"] is None


def test_a_larger_checkpoint_is_tuned_by_adapters(
    drives: Path, language_folder: Path, tmp_path: Path
) -> None:
    words = [f"base={language_folder}", "lora_rank=2", "learning_rate=0.05", "average_decay=0.5"]
    config = {**configuration(drives, tmp_path / "out", *words), "warmup_steps": 0}
    planning = checkpoints.load(fit_planner(config, lambda step, parts: None))
    before = checkpoints.LanguageModel.load(language_folder).model.state_dict()
    after = planning.language.model.state_dict()
    assert before.keys() == after.keys(), "the adapters are merged"
    attention = {n for n in before if re.search(r"\.([qkvo]|out)_proj\.weight$", n)}
    stored = {name: tensor.to(torch.bfloat16).float() for name, tensor in before.items()}
    changed = {name for name in before if not torch.equal(stored[name], after[name])}
    assert changed == attention, "every adapter has learned, and nothing else"
    assert all((after[n] - stored[n]).abs().max() > 1e-2 for n in changed), "by more than rounding"
    told = planning.card.model
    assert (told["base"], told["lora_rank"]) == (str(language_folder), 2)
    assert told["sizes"] is None, "those of model= are of a model that is built"


def test_the_heads_go_on_learning_on_what_was_read(
    drives: Path, untrained: Path, planner_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(planner_folder, tmp_path / "planner")
    planning = checkpoints.load(folder)
    scored = msgspec.structs.replace(planning.card, scores={"success": 0.9})
    checkpoints.save_heads(folder, planning.heads, planning.normalisation, scored)
    words = [f"planner={folder}", f"data={drives}", f"prompts_from={untrained}", "steps=40"]
    words += ["batch_size=16", "learning_rate=0.01", "threads=1", "device=cpu"]
    seen: list[dict[str, float]] = []
    config = load("train heads", words)
    fit_heads(config, lambda step, parts: seen.append(parts))
    before, after = (checkpoints.load(f) for f in (planner_folder, folder))
    for name, tensor in after.language.model.state_dict().items():
        assert torch.equal(tensor, before.language.model.state_dict()[name]), name
    assert torch.equal(after.heads.value.queries, before.heads.value.queries)
    assert not torch.equal(after.heads.bottleneck.down.weight, before.heads.bottleneck.down.weight)
    assert after.card.training["heads"]["steps"] == 40
    count = sum(parameter.numel() for parameter in after.heads.parameters())
    assert after.card.model["heads_parameters"] == count
    assert after.card.scores == {}, "those of other heads say nothing of these"


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


def test_heads_learn_under_the_planners_own_plans_as_often_as_told(
    drives: Path, planner_folder: Path, untrained: Path
) -> None:
    planning = checkpoints.load(planner_folder)
    dataset = open_datasets(str(drives))
    views = views_of(planning, dataset, np.arange(0, 60), str(untrained))
    places = list(range(60))
    recorded = views.known(places)[1]
    _, answered = read_and_plan(planning, views, places, np.zeros(60, bool))
    own = torch.nn.functional.one_hot(answered, len(SPEC.plans)).float()
    none, some, all_ = (
        Readings(planning, dataset, views, 0, share)._plan for share in (0.0, 0.5, 1.0)
    )
    assert torch.equal(none, recorded)
    assert (all_ == own).float().mean() > 0.9, "visual prompts may change some answers"
    differ = (none != all_).any(1)
    assert differ.sum() > 20
    assert 0.25 < (some[differ] == all_[differ]).all(1).float().mean() < 0.75


def test_heads_learn_to_read_proposals_and_keep_what_they_knew(
    drives: Path, untrained: Path, planner_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(planner_folder, tmp_path / "planner")
    words = [f"planner={folder}", f"data={drives}", f"prompts_from={untrained}", "steps=2"]
    words += ["batch_size=8", "threads=1", "device=cpu", "learning_rate=1e-9"]
    grow = load("train heads", [*words, "proposal_ticks=6"])
    fit_heads(grow, lambda step, parts: None)
    before, after = (checkpoints.load(f) for f in (planner_folder, folder))
    assert (before.heads.config.proposal_ticks, after.heads.config.proposal_ticks) == (12, 6)
    kept = after.heads.state_dict()
    for name, tensor in before.heads.state_dict().items():
        if "proposal_in" not in name:
            torch.testing.assert_close(kept[name], tensor, atol=1e-5, rtol=1e-5)
    fit_heads(grow, lambda step, parts: None)  # it goes on from its own state
    with pytest.raises(DualsysError, match=r"begun with proposal_ticks=6, .* proposal_ticks=8"):
        fit_heads(load("train heads", [*words, "proposal_ticks=8"]), lambda step, parts: None)


def test_heads_that_go_on_leave_a_newer_value_alone(
    drives: Path, untrained: Path, planner_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(planner_folder, tmp_path / "planner")
    words = [f"planner={folder}", f"data={drives}", f"prompts_from={untrained}", "steps=2"]
    config = load("train heads", [*words, "batch_size=8", "threads=1", "device=cpu"])
    fit_heads(config, lambda step, parts: None)
    planning = checkpoints.load(folder)
    torch.nn.init.constant_(planning.heads.value.bias, 7.0)  # as if its value was trained now
    checkpoints.save_heads(folder, planning.heads, planning.normalisation, planning.card)
    fit_heads(config, lambda step, parts: None)
    assert (checkpoints.load(folder).heads.value.bias == 7.0).all()


@pytest.mark.parametrize(
    ("word", "told"),
    [("own_plans=7", "from 0 to 1, it is 7"), ("proposal_ticks=-3", "zero .* or more, it is -3")],
)
def test_shares_and_ticks_that_are_none_are_refused(
    drives: Path, planner_folder: Path, word: str, told: str
) -> None:
    with pytest.raises(DualsysError, match=told):
        fit_heads(
            load("train heads", [f"planner={planner_folder}", f"data={drives}", word]),
            lambda step, parts: None,
        )


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
