from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dualsys.config import load
from dualsys.errors import DualsysError
from dualsys.learning.conversation import Conversations
from dualsys.learning.fit_planner import fit_planner
from dualsys.learning.joined import open_datasets
from dualsys.learning.scene_targets import motion_fields
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
