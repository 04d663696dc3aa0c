"""`dualsys score`: how well a planner answers, proposes and compresses on recorded ticks.

Answers are compared word by word under teacher forcing: token accuracy per question, beside the
share of the most frequent answer, which a blind planner would reach. Intervals draw whole
episodes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from dualsys.device import device_of
from dualsys.learning.conversation import knots, padded, truth
from dualsys.learning.joined import JoinedDataset, open_datasets
from dualsys.learning.plan_labels import label_plans
from dualsys.learning.preparation import spans
from dualsys.learning.thoughts import views_of
from dualsys.learning.trainer import to_device
from dualsys.learning.views import Views
from dualsys.runtime.results import git_state, machine, versions
from dualsys.spec import require_same
from dualsys.statistics import bootstrap_by
from dualsys.system2 import checkpoint
from dualsys.system2.checkpoint import Planning
from dualsys.system2.coding import measured_bits
from dualsys.system2.questions import chain

SCHEMA = "dualsys-planner-score/2"


def score_planner(config: dict[str, Any]) -> dict[str, Any]:
    """Score the planner on drawn rows of the data; writes the report to `config["out"]` (JSON)."""
    torch.set_num_threads(config["threads"])
    git, out = git_state(), Path(config["out"])
    planning = checkpoint.load(Path(config["planner"]), device=device_of(config["device"]))
    dataset = open_datasets(config["data"])
    require_same(planning.card.spec, dataset.spec, "the planner", "the data")
    usable = np.flatnonzero(dataset.plan >= 0)  # where no plan was in force, none can be scored
    rng = np.random.default_rng(config["seed"])
    rows = np.sort(rng.choice(usable, min(config["ticks"], len(usable)), replace=False))
    label_plans(dataset, config["plans"], rows)
    views = views_of(planning, dataset, rows, config["prompts_from"])
    report = {
        "schema": SCHEMA,
        "ticks": len(rows),
        "episodes": len(np.unique(dataset.episode_bounds()[0][rows])),
        "questions": _questions(planning, dataset, views, config["batch_size"]),
        **_heads(planning, dataset, views, config),
        "config": config,
        "versions": versions(),
        "machine": machine(),
        "git": git,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    return report


class Reply(msgspec.Struct, frozen=True):
    """The true answer to one question, and how many of its tokens were said."""

    true: str
    right: int
    tokens: int


@torch.inference_mode()
def _questions(
    planning: Planning, dataset: JoinedDataset, views: Views, batch_size: int
) -> dict[str, Any]:
    """Per question: tokens right, answers right, and the share of the most frequent answer."""
    replies: dict[str, list[Reply]] = {question.name: [] for question in chain(dataset.spec)}
    for places in spans(len(views), batch_size):
        answers = [truth(dataset, int(views.rows[place])) for place in places]
        turns = [_turn(views, given) for given in answers]
        logits, said = _forced(planning, views, places, [t for t, _ in turns])
        hit = (logits.argmax(-1) == said).numpy()
        for n, (_, places_of) in enumerate(turns):
            for name, (first, last) in places_of.items():
                given = int(hit[n, first:last].sum())
                replies[name].append(Reply(answers[n][name], given, last - first))
    episode = dataset.episode_bounds()[0][views.rows]
    return {name: _accuracy(found, episode) for name, found in replies.items()}


def _accuracy(replies: list[Reply], episode: np.ndarray) -> dict[str, Any]:
    """What the replies (N,) come to; intervals draw whole episodes (N,)."""
    tokens = np.array([reply.tokens for reply in replies], float)
    right = np.array([reply.right for reply in replies])
    true, which = np.unique([reply.true for reply in replies], return_inverse=True)
    whole, often = right == tokens, np.bincount(which)
    return {
        "token_accuracy": float(right.sum() / tokens.sum()),
        "token_accuracy_ci95": bootstrap_by(episode, right / tokens, tokens),
        "answer_accuracy": float(whole.mean()),
        "answer_accuracy_ci95": bootstrap_by(episode, whole),
        # Every answer counts alike, however rare: what never answering the rare ones costs.
        "balanced_accuracy": float(np.mean(np.bincount(which, whole) / often)),
        "most_frequent": float(often.max() / len(replies)),
        "answers_seen": len(true),
    }


def _turn(views: Views, answers: dict[str, str]) -> tuple[list[int], dict[str, tuple[int, int]]]:
    """Tokens of the whole chain, and where each answer stands in them."""
    tokens: list[int] = []
    spans = {}
    for question in chain(views.spec):
        given, replied = views.exchange(question.phrasings[0], answers[question.name])
        spans[question.name] = (
            len(tokens) + len(given),
            len(tokens) + len(given) + len(replied),
        )
        tokens += given + replied
    return tokens, spans


def _forced(
    planning: Planning, views: Views, places: list[int], turns: list[list[int]]
) -> tuple[Tensor, Tensor]:
    """Logits (B, K, V) for the turns' tokens (B, K), each seeing the true ones before it."""
    from dualsys.learning.train_system2 import converse_with

    said, there = padded(turns)
    prompt = views.prompt(places, np.full(len(places), planning.card.prompts))
    turn = to_device([said, there], str(planning.device))
    _, _, logits = converse_with(planning.language.model, prompt, *turn)
    return logits.cpu(), said


@torch.inference_mode()
def _heads(
    planning: Planning, dataset: JoinedDataset, views: Views, config: dict[str, Any]
) -> dict[str, Any]:
    """Error of each depth's candidate against the expert, and the bits that a code carries."""
    from dualsys.learning.thoughts import think

    thoughts = think(planning, views, config["candidates"], config["seed"], config["batch_size"])
    _, end = dataset.episode_bounds()
    sizes, norm = planning.heads.config, views.normalisation
    expert, mask = knots(dataset.action, views.rows, end, sizes, norm)
    away = (thoughts.candidates - expert[:, None]).square().mean(-1)
    error = (away * mask[:, None]).sum((0, 2)) / mask.sum()
    bottleneck = planning.heads.bottleneck
    return {
        "candidate_rmse": error.sqrt().tolist(),  # in standard deviations of the action
        "bits_nominal": bottleneck.bits,
        "bits_measured": measured_bits(thoughts.code.numpy()),
    }
